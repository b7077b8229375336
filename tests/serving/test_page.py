"""The search page in a real browser: typing searches, a shopper personalises, a click moves the results."""

from collections.abc import Iterator

import pytest

from tests.serving.browser import BINARY, Browser
from tests.serving.conftest import RunningServer

pytestmark = pytest.mark.skipif(BINARY is None, reason="no chromium on this machine (apt-get install chromium)")

TITLES = "[...document.querySelectorAll('#{} .title')].map((item) => item.textContent)"
UNNAMED = """[...document.querySelectorAll('input, select, button')].filter((item) => item.offsetParent !== null
  && !item.labels?.length && !item.getAttribute('aria-label')).map((item) => item.outerHTML)"""


@pytest.fixture(scope="module", params=[(1280, 900), (390, 844)], ids=["desktop", "phone"])
def browser(request: pytest.FixtureRequest) -> Iterator[Browser]:
    width, height = request.param
    with Browser(width, height) as opened:
        yield opened


def titles(browser: Browser, column: str) -> list[str]:
    return browser.run(TITLES.format(column))


def test_typing_and_picking_a_shopper_shows_both_lists_and_a_click_moves_the_personal_one(
    browser: Browser, server: RunningServer
) -> None:
    user = f"page-{browser.run('innerWidth')}"
    browser.open(f"{server.url}/")
    browser.type("query", "lamp")
    browser.wait_for(lambda: len(titles(browser, "left")) == 12, "anonymous products")
    assert browser.run("document.getElementById('right').hidden") is True
    browser.type("user", user)
    browser.wait_for(lambda: titles(browser, "right") == titles(browser, "left"), "the list of a cold shopper")
    before = titles(browser, "right")
    browser.run("document.querySelectorAll('#right li')[11].querySelector('button').click()")
    browser.wait_for(lambda: titles(browser, "right")[0] == before[11], "the clicked product on top")
    assert titles(browser, "left") == before
    assert before[11] in browser.run("document.querySelector('#history .behaviours').textContent")
    assert "click taken in" in browser.run("document.getElementById('status').textContent")
    assert browser.errors == []


def test_nothing_hangs_over_the_edge_and_every_control_has_a_name(browser: Browser, server: RunningServer) -> None:
    browser.open(f"{server.url}/?q=acme+lamp&user=u1")
    browser.wait_for(lambda: len(titles(browser, "right")) > 0, "personal products")
    assert browser.run("document.documentElement.scrollWidth <= innerWidth") is True
    assert browser.run(UNNAMED) == []
    assert browser.run("document.querySelectorAll('h1').length") == 1
    assert browser.run("document.documentElement.lang") == "en"
    assert "brand: Acme" in browser.run("document.querySelector('#right .why').textContent")
    assert browser.run("document.querySelectorAll('#history .bar').length") == 3


def test_an_error_is_shown_as_the_servers_sentence(browser: Browser, server: RunningServer) -> None:
    browser.open(f"{server.url}/?q=lamp")
    browser.wait_for(lambda: len(titles(browser, "left")) == 12, "products")
    browser.run("document.getElementById('query').value = 'x'.repeat(2000)")
    browser.run("document.getElementById('ask').requestSubmit()")
    browser.wait_for(
        lambda: "2000 bytes" in browser.run("document.getElementById('problem').textContent"), "the sentence"
    )
    assert browser.run("document.getElementById('problem').hidden") is False
    browser.errors.clear()
