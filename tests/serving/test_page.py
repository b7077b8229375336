"""The search page in a real browser: typing searches, a shopper personalises, a click moves the results."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from components.common.files import write_json
from tests.serving.axe import violations
from tests.serving.browser import BINARY, Browser
from tests.serving.conftest import RunningServer
from tests.serving.fakes import write_golden, write_manifest

pytestmark = pytest.mark.skipif(BINARY is None, reason="no chromium on this machine (apt-get install chromium)")

TITLES = "[...document.querySelectorAll('#{} .title')].map((item) => item.textContent)"
UNNAMED = """[...document.querySelectorAll('input, select, button')].filter((item) => item.offsetParent !== null
  && !item.labels?.length && !item.getAttribute('aria-label') && !item.textContent).map((item) => item.outerHTML)"""
REASONS = "[...document.querySelectorAll('#right .why')].map((item) => item.textContent)"


@pytest.fixture(scope="module", params=[(1280, 900), (390, 844)], ids=["desktop", "phone"])
def browser(request: pytest.FixtureRequest) -> Iterator[Browser]:
    width, height = request.param
    with Browser(width, height) as opened:
        yield opened


@pytest.fixture(scope="module")
def desktop() -> Iterator[Browser]:
    with Browser(1280, 900) as opened:
        yield opened


def titles(browser: Browser, column: str) -> list[str]:
    return browser.run(TITLES.format(column))


def text_of(browser: Browser, name: str) -> str:
    return browser.run(f"document.getElementById('{name}').textContent")


def hidden(browser: Browser, name: str) -> bool:
    return browser.run(f"document.getElementById('{name}').hidden")


def test_typing_and_picking_a_shopper_shows_both_lists_and_a_click_moves_the_personal_one(
    browser: Browser, server: RunningServer
) -> None:
    user = f"page-{browser.run('innerWidth')}"
    browser.open(f"{server.url}/")
    browser.type("query", "lamp")
    browser.wait_for(lambda: len(titles(browser, "right")) == 12, "anonymous products")
    assert hidden(browser, "left")
    anonymous = titles(browser, "right")
    browser.type("user", user)
    browser.wait_for(lambda: titles(browser, "left") == anonymous, "the list for nobody beside it")
    browser.wait_for(lambda: not hidden(browser, "history"), "the history of a new shopper")
    assert "a new shopper" in text_of(browser, "history")
    assert titles(browser, "right") == anonymous
    browser.run("document.querySelectorAll('#right .title')[11].click()")
    browser.wait_for(lambda: titles(browser, "right")[0] == anonymous[11], "the clicked product on top")
    assert titles(browser, "left") == anonymous
    browser.wait_for(lambda: anonymous[11] in text_of(browser, "history"), "the click in the history")
    assert "click taken in" in text_of(browser, "status")
    assert browser.errors == []


def test_nothing_hangs_over_the_edge_and_every_control_has_a_name(browser: Browser, server: RunningServer) -> None:
    browser.open(f"{server.url}/?q=acme+lamp&user=u1")
    browser.wait_for(lambda: len(browser.run(REASONS)) > 0, "reasons")
    assert browser.run("document.documentElement.scrollWidth <= innerWidth") is True
    assert browser.run(UNNAMED) == []
    assert browser.run("document.querySelectorAll('h1').length") == 1
    assert browser.run("document.documentElement.lang") == "en"
    assert "brand: Acme" in browser.run(REASONS)[0]
    assert browser.run("document.querySelectorAll('#history .bar').length") == 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("query", ["?q=acme+lamp&user=u1", "?q=lamp&beside=lexical", "?user=u1", ""])
def test_axe_finds_nothing_wrong(browser: Browser, server: RunningServer, query: str, scheme: str) -> None:
    browser.prefer(scheme)
    browser.open(f"{server.url}/{query}")
    browser.wait_for(lambda: "release-a" in text_of(browser, "about"), "the releases")
    wanted = "acme" in query
    browser.wait_for(lambda: not wanted or len(browser.run(REASONS)) > 0, "reasons")
    browser.wait_for(lambda: "q=" not in query or len(titles(browser, "right")) > 0, "products")
    assert violations(browser) == []


def test_a_phone_shows_one_list_at_a_time(browser: Browser, server: RunningServer) -> None:
    browser.open(f"{server.url}/?q=acme+lamp&user=u1")
    browser.wait_for(lambda: not hidden(browser, "history"), "the history")
    shown = "['left', 'right', 'history'].filter((id) => document.getElementById(id).offsetParent !== null)"
    if browser.run("innerWidth") > 600:
        assert browser.run(shown) == ["left", "right", "history"]
        return
    assert browser.run(shown) == ["right"]
    browser.run("document.querySelector('[data-view=history]').click()")
    assert browser.run(shown) == ["history"]
    assert browser.run("document.querySelector('[data-view=history]').getAttribute('aria-pressed')") == "true"


def test_the_page_works_by_keyboard_and_the_focus_stays(desktop: Browser, server: RunningServer) -> None:
    desktop.open(f"{server.url}/?q=desk&user=keys")
    desktop.wait_for(lambda: not hidden(desktop, "history"), "the history")
    desktop.run("document.getElementById('against').focus()")
    desktop.press("Tab")
    focused = "document.activeElement.dataset.does"
    first = desktop.run(focused)
    assert first.endswith(" click")
    desktop.press("Tab")
    assert desktop.run(focused) == first.replace(" click", " cart")
    desktop.press("Enter")
    desktop.wait_for(lambda: "cart taken in" in text_of(desktop, "status"), "the behaviour")
    desktop.wait_for(lambda: "put into the cart" in text_of(desktop, "history"), "it in the history")
    assert desktop.run(focused) == first.replace(" click", " cart")


def test_anyone_of_the_log_can_be_picked(desktop: Browser, server: RunningServer) -> None:
    desktop.open(f"{server.url}/?q=lamp")
    desktop.wait_for(lambda: desktop.run("!document.getElementById('anyone').disabled"), "the shoppers")
    desktop.run("document.getElementById('anyone').click()")
    desktop.wait_for(lambda: not hidden(desktop, "history"), "the shopper's history")
    assert desktop.run("document.getElementById('user').value") == "u1"
    assert desktop.run("location.search") == "?q=lamp&user=u1"


def test_lists_are_compared_with_search_by_words(desktop: Browser, server: RunningServer) -> None:
    desktop.open(f"{server.url}/?q=lamp&beside=lexical")
    desktop.wait_for(lambda: len(titles(desktop, "left")) == 12, "the list by words")
    assert titles(desktop, "left") == [f"Product {number}" for number in range(12)]
    marks = desktop.run("[...document.querySelectorAll('#right .move')].map((item) => item.textContent)")
    places = {title: rank for rank, title in enumerate(titles(desktop, "left"), 1)}
    for rank, (title, mark) in enumerate(zip(titles(desktop, "right"), marks, strict=True), 1):
        before = places.get(title)
        steps = 0 if before is None else before - rank
        assert mark == ("new" if before is None else "=" if steps == 0 else f"{'▲' if steps > 0 else '▼'}{abs(steps)}")


def test_an_empty_page_offers_searches_of_the_log(
    desktop: Browser, start_server: Callable[..., RunningServer], tmp_path: Path
) -> None:
    write_manifest(tmp_path, "release-a", current=True)
    write_golden(tmp_path, "release-a")
    running = start_server().wait()
    desktop.open(f"{running.url}/")
    offered = "[...document.querySelectorAll('#examples button')].map((item) => item.textContent)"
    desktop.wait_for(lambda: desktop.run(offered) == ["red shoes", "lamp"], "the examples")
    desktop.run("document.querySelectorAll('#examples button')[1].click()")
    desktop.wait_for(lambda: len(titles(desktop, "right")) == 12, "products")
    assert hidden(desktop, "examples")
    desktop.type("query", "")
    desktop.run("document.getElementById('query').value = ''; document.getElementById('ask').requestSubmit()")
    desktop.wait_for(lambda: not hidden(desktop, "examples"), "the examples again")
    running.stop()
    desktop.type("query", "lamps")
    desktop.wait_for(lambda: "does not answer" in text_of(desktop, "problem"), "the sentence")
    desktop.errors.clear()


def test_a_degraded_answer_says_so(
    desktop: Browser, start_server: Callable[..., RunningServer], tmp_path: Path
) -> None:
    write_manifest(tmp_path, "release-a", current=True)
    write_json(tmp_path / "releases" / "release-a" / "faults.json", {"poisoned": "p3"})
    running = start_server().wait()
    desktop.open(f"{running.url}/?q=lamp&user=u1")
    desktop.wait_for(lambda: not hidden(desktop, "degraded"), "the sentence")
    assert "tower" in text_of(desktop, "degraded")
    assert len(titles(desktop, "right")) == 12
    desktop.errors.clear()


def test_a_slow_answer_is_announced(
    desktop: Browser, start_server: Callable[..., RunningServer], tmp_path: Path
) -> None:
    write_manifest(tmp_path, "release-a", current=True)
    write_json(tmp_path / "releases" / "release-a" / "faults.json", {"slow_tower": 1.0})
    running = start_server("tower_budget_ms=5000").wait()
    desktop.open(f"{running.url}/?q=lamp")
    desktop.wait_for(lambda: text_of(desktop, "status") == "Searching…", "the status")
    assert desktop.run("document.getElementById('columns').getAttribute('aria-busy')") == "true"
    desktop.wait_for(lambda: "12 products" in text_of(desktop, "status"), "products")
    assert desktop.run("document.getElementById('columns').getAttribute('aria-busy')") == "false"


def test_an_error_is_shown_as_the_servers_sentence(browser: Browser, server: RunningServer) -> None:
    browser.open(f"{server.url}/?q=lamp")
    browser.wait_for(lambda: len(titles(browser, "right")) == 12, "products")
    browser.run("document.getElementById('query').value = 'x'.repeat(2000)")
    browser.run("document.getElementById('ask').requestSubmit()")
    browser.wait_for(lambda: "2000 bytes" in text_of(browser, "problem"), "the sentence")
    assert not hidden(browser, "problem")
    browser.errors.clear()
