"""Milliseconds from the last key to the first product on the page, in a real browser, for nobody and for a shopper.

    python -m bench.serving.page --url http://127.0.0.1:8080 --user u00000280

The server must serve the sample marketplace (simulated). Needs Debian's chromium.
"""

import argparse
import threading
from typing import Any

import numpy as np

from tests.serving.browser import Browser

QUERIES = (
    "running shoes", "garden lamp", "oak desk", "red dress", "coffee machine", "wireless headphones", "hiking boots",
    "kettle", "blue rug", "phone case",
)  # fmt: skip
_KEY_SECONDS = 0.08  # a quick typist
_WATCH = """(() => {
  const [query, columns] = [document.getElementById('query'), document.getElementById('columns')];
  query.addEventListener('input', () => { window.keyed = performance.now(); window.shown = 0; }, true);
  new MutationObserver(() => {
    const whole = columns.dataset.query === query.value && document.querySelector('#right .title');
    if (whole && !window.shown) window.shown = performance.now();
  }).observe(columns, { childList: true, subtree: true });
})()"""


def main() -> None:
    """Types every query and prints the median and the slowest for nobody, and for the shopper if one is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--user", default="")
    options = parser.parse_args()
    for user in dict.fromkeys(("", options.user)):
        times = measure(f"{options.url.rstrip('/')}/?user={user}")
        print(
            f"{user or 'nobody'}: {len(times)} searches, median {np.median(times):.0f} ms, "
            f"p90 {np.percentile(times, 90):.0f} ms, slowest {max(times):.0f} ms"
        )


def measure(url: str) -> list[float]:
    """Milliseconds from the last key of each query to the first product shown after it."""
    times: list[float] = []
    with Browser() as browser:
        browser.open(url)
        browser.run(_WATCH)
        for query in QUERIES:
            browser.run("document.getElementById('query').value = ''; document.getElementById('query').focus()")
            for letter in query:
                for kind in ("keyDown", "keyUp"):
                    text: dict[str, Any] = {"text": letter} if kind == "keyDown" else {}
                    browser.send("Input.dispatchKeyEvent", type=kind, key=letter, **text)
                threading.Event().wait(_KEY_SECONDS)
            browser.wait_for(lambda: browser.run("(window.shown || 0) > window.keyed"), "products")
            times.append(browser.run("window.shown - window.keyed"))
    return times


if __name__ == "__main__":
    main()
