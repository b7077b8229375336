"""The search page over a real release: products, reasons, a behaviour that moves the list, no accessibility fault."""

import pytest

from components.serving.client import running_server
from tests.serving.axe import violations
from tests.serving.browser import BINARY, Browser

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(BINARY is None, reason="no chromium on this machine (apt-get install chromium)"),
]
TITLES = "[...document.querySelectorAll('#right .title')].map((item) => item.textContent)"
SHOWN = "!document.getElementById('history').hidden"


@pytest.mark.parametrize("size", [(1280, 900), (390, 844)], ids=["desktop", "phone"])
def test_a_click_moves_the_list_and_says_why(server, size):
    with Browser(*size) as browser:
        browser.open(f"{running_server(server.workdir)}/?q=sofa&user=page-{size[0]}")
        browser.wait_for(lambda: browser.run(SHOWN), "the history of a new shopper")
        before = browser.run(TITLES)
        browser.run("document.querySelectorAll('#right .title')[9].click()")
        browser.wait_for(lambda: browser.run(TITLES) != before, "another list")
        browser.wait_for(
            lambda: before[9] in browser.run("document.getElementById('history').textContent"), "the click"
        )
        browser.wait_for(lambda: browser.run("document.querySelectorAll('#right .why').length") > 0, "reasons")
        for scheme in ("light", "dark"):
            browser.prefer(scheme)
            found = violations(browser)
            assert found == [], found
        assert browser.errors == []
