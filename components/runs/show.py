"""Tables for the terminal: search results and releases."""

import json
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table


def print_search(answer: dict[str, Any], query: str, user: str | None, as_json: bool) -> None:
    """Prints a search's products, the release that answered and whether the answer was degraded."""
    if as_json:
        print(json.dumps(answer, indent=1, ensure_ascii=False))
        return
    who = f"shopper {user}" if user else "anonymous"
    table = Table(title=f"“{escape(query)}”, {escape(who)}", title_justify="left")
    for name in ("", "product", "title", "brand", "score"):
        table.add_column(name, justify="right" if name in ("", "score") else "left")
    for rank, product in enumerate(answer["products"], 1):
        fields = (product["product_id"], product.get("title"), product.get("brand"))
        table.add_row(str(rank), *(escape(str(field or "")) for field in fields), f"{product['score']:.3f}")
    console = _console()
    console.print(table)
    degraded = f"; degraded: {answer['degraded']}" if answer["degraded"] else ""
    console.print(f"release {answer['release']}{escape(degraded)}", style="dim")


def print_releases(releases: list[dict[str, Any]], as_json: bool) -> None:
    """Prints the releases, oldest first, the served one marked."""
    if as_json:
        print(json.dumps(releases, indent=1))
        return
    table = Table()
    for name in ("", "release", "state", "model", "data", "made", "parent"):
        table.add_column(name)
    for release in releases:
        table.add_row(
            "→" if release["current"] else "",
            release["release_id"],
            release["state"],
            release["model"],
            "simulated" if release["simulated"] else "real",
            release["created_at"][:19],
            release["parent"] or "",
        )
    _console().print(table if releases else "no releases yet; `python pipeline.py run` makes the first.")


def canary_sentence(state: dict[str, Any]) -> str:
    """The state of the canary (`releases.rollout.canary_state`) in one sentence."""
    stable, canary, stopped = state["stable"], state["canary"], state["stopped"]
    if stopped:
        why = f"the canary {stopped['release']} was stopped: {stopped['reason']}"
        return f"release {stable} is served to everybody; {why}"
    if canary is None:
        return f"release {stable} is served to everybody; there is no canary."
    return f"release {canary} is served to {state['percent']:g} % of the shoppers, {stable} to the others."


def _console() -> Console:
    """Wide enough for titles and ids when the output is not a terminal."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=120)
