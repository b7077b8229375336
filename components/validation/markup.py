"""HTML of another library reduced to harmless content: known tags without attributes but their class."""

from html import escape
from html.parser import HTMLParser

_KEPT = frozenset({"div", "span", "p", "h4", "h5", "h6", "strong", "em", "i", "ul", "ol", "li", "code", "pre"}) | {
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
}
_SKIPPED = frozenset({"script", "style", "footer", "svg", "button", "form"})


def content_only(html: str) -> str:
    """The kept tags and the text of `html`, balanced; links lose their target, scripts and footers vanish.

    Any other tag is shown as the text it was written as.
    """
    parser = _Content()
    parser.feed(html)
    parser.close()
    return "".join(parser.out) + "".join(f"</{tag}>" for tag in reversed(parser.open))


class _Content(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.out: list[str] = []
        self.open: list[str] = []
        self._skip: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _SKIPPED:
            self._skip.append(tag)
        elif self._skip or tag in ("a", "img", "input", "label", "hr"):
            return
        elif tag == "br":
            self.out.append("<br>")
        elif tag in _KEPT:
            kinds = escape(dict(attrs).get("class") or "")
            self.out.append(f'<{tag} class="{kinds}">' if kinds else f"<{tag}>")
            self.open.append(tag)
        else:
            self.out.append(escape(self.get_starttag_text() or ""))

    def handle_endtag(self, tag: str) -> None:
        if self._skip:
            if tag == self._skip[-1]:
                self._skip.pop()
        elif tag in self.open:
            while self.open:
                last = self.open.pop()
                self.out.append(f"</{last}>")
                if last == tag:
                    break

    def handle_data(self, data: str) -> None:
        if not self._skip:
            self.out.append(escape(data))
