"""Every shell block of the documents, run page by page as a reader would run it, with its output looked at."""

import json
import re

import pytest

from tests.docs.pages import CLUSTER, DOCS, blocks, pages
from tests.docs.session import run_page, scratch

pytestmark = pytest.mark.e2e

GOES_ON = [
    path for path in pages() if path.name != "tutorial.md" and path != CLUSTER and any(b.runs for b in blocks(path))
]


def test_the_tutorial_does_what_it_says(tutorial):
    done, _, _ = tutorial
    assert done.problems == [], "\n\n".join(done.problems)


@pytest.mark.parametrize("path", GOES_ON, ids=[str(path.relative_to(DOCS)) for path in GOES_ON])
def test_a_page_does_what_it_says(path, request, tmp_path):
    shop = server = None
    if wants_a_shop(path):
        _, _, shop = request.getfixturevalue("tutorial")
        server = request.getfixturevalue("served")
    done = run_page(path, scratch(tmp_path / "towerline", shop), server)
    assert done.problems == [], "\n\n".join(done.problems)


def wants_a_shop(path):
    """Whether a page's blocks look at a work directory or serve one, so that there must be a promoted release."""
    return any(block.runs and re.search(r"\.towerline|pipeline\.py serve", block.text) for block in blocks(path))


def test_the_page_about_nights_has_every_field_of_run_json(tutorial):
    _, _, shop = tutorial
    run = json.loads(max(shop.glob("runs/*/run.json")).read_text())
    rows = [line for line in (DOCS / "how-to" / "watch-a-night.md").read_text().splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    assert set(run) - {"run", "tasks"} <= named
    assert {name for task in run["tasks"] for name in task} <= named
