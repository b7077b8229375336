"""`search` asks the server that runs on the work directory, and tells a dead announcement from a live one."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.common.errors import BadInput, NotFound, Unavailable
from components.common.files import write_json
from components.serving.client import running_server, search
from tests.serving.conftest import RunningServer
from tests.serving.fakes import brand_of


def test_the_running_server_is_asked_and_titles_come_from_the_release_that_answered(server: RunningServer) -> None:
    index = server.workdir / "releases" / "release-a" / "index"
    index.mkdir(exist_ok=True)
    numbers = range(50)
    table = pa.table(
        {
            "product_id": [f"p{n}" for n in numbers],
            "title": [f"Product {n}" for n in numbers],
            "brand": [brand_of(n) for n in numbers],
        }
    )
    pq.write_table(table, index / "products.parquet")
    answer = search(server.workdir, "lamp", "u1", 3)
    assert (answer["release"], answer["degraded"], len(answer["products"])) == ("release-a", False, 3)
    assert all(product["title"] == f"Product {product['product_id'][1:]}" for product in answer["products"])
    assert answer != search(server.workdir, "lamp", None, 3)


def dead_pid() -> int:
    """The id of a process that has ended."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


@pytest.mark.parametrize(
    "announcement",
    [None, {}, [], {"pid": "x", "url": "y"}, {"pid": os.getpid(), "url": "http://127.0.0.1:1"}],
)
def test_an_announcement_without_a_server_behind_it_is_no_server(tmp_path: Path, announcement: Any) -> None:
    if announcement is not None:
        write_json(tmp_path / "server.json", announcement)
    assert running_server(tmp_path) is None


def test_a_killed_servers_announcement_is_not_believed_even_if_its_port_answers(
    tmp_path: Path, server: RunningServer
) -> None:
    write_json(tmp_path / "server.json", {"pid": dead_pid(), "url": server.url})
    assert running_server(tmp_path) is None


def test_a_bad_question_is_refused_before_anybody_is_asked(tmp_path: Path) -> None:
    for query, k in (("", 5), ("lamp", 0), ("a\x00", 5)):
        with pytest.raises(BadInput):
            search(tmp_path, query, None, k)


def test_nobody_to_ask_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no promoted release"):
        search(tmp_path, "lamp")
    with pytest.raises(Unavailable, match="does not answer"):
        search(tmp_path, "lamp", url="http://127.0.0.1:1")
