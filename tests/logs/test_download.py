"""Downloads: from a server on this machine; checked, resumed, and clear about what went wrong."""

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.common import progress
from components.common.errors import BadInput, BadSetting, Unavailable
from components.logs import download
from components.logs.contract import Log
from components.logs.download import Remote, fetch
from components.logs.step import load_log

BODY = bytes(range(256)) * 4096
WANDS = {
    "query.csv": b"query_id\tquery\tquery_class\n7\tchair\tChairs\n",
    "product.csv": b"product_id\tproduct_name\tcategory hierarchy\tproduct_description\tproduct_features\t"
    b"average_rating\treview_count\n0\tsalon chair\tFurniture / Chairs\tsoft\tfeet : 4\t4.5\t12.0\n",
    "label.csv": b"id\tquery_id\tproduct_id\tlabel\n0\t7\t0\tExact\n",
}


class Shelf(http.server.BaseHTTPRequestHandler):
    """Serves BODY under /file, with ranges; notes each request; breaks the first one off when asked to."""

    ranges: list[str | None]
    break_off = 0
    bodies: dict[str, bytes]

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        type(self).ranges.append(wanted)
        if self.path not in type(self).bodies:
            self.send_error(404)
            return
        body = type(self).bodies[self.path]
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        if type(self).break_off:
            self.wfile.write(body[start : start + type(self).break_off])
            type(self).break_off = 0
            self.connection.close()
            return
        self.wfile.write(body[start:])

    def log_message(self, *_: object) -> None:
        """Nothing: tests are quiet."""


@pytest.fixture
def server() -> Iterator[str]:
    Shelf.ranges, Shelf.break_off, Shelf.bodies = [], 0, {"/file": BODY}
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Shelf) as shelf:
        thread = threading.Thread(target=shelf.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{shelf.server_address[1]}"
        shelf.shutdown()
        thread.join()


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch):
    """A set of one file; call it with what the publisher states."""

    def publish(**stated: object) -> None:
        monkeypatch.setitem(download.SETS, "wands", (Remote("file.csv", "file", **stated),))

    return publish


STATED = {"sha256": hashlib.sha256(BODY).hexdigest(), "size": len(BODY)}


def test_a_file_is_fetched_once_and_checked(server, published, tmp_path):
    published(**STATED)
    folder = fetch("wands", server, tmp_path)
    assert (folder / "file.csv").read_bytes() == BODY
    fetch("wands", server, tmp_path)
    assert Shelf.ranges == [None]


def test_a_part_left_by_an_interruption_is_continued(server, published, tmp_path):
    published(**STATED)
    (tmp_path / "file.csv.part").write_bytes(BODY[:1000])
    fetch("wands", server, tmp_path)
    assert Shelf.ranges == ["bytes=1000-"]
    assert (tmp_path / "file.csv").read_bytes() == BODY


def test_a_connection_that_breaks_off_is_taken_up_again(server, published, tmp_path):
    published(**STATED)
    Shelf.break_off = 300_000
    fetch("wands", server, tmp_path)
    assert (tmp_path / "file.csv").read_bytes() == BODY
    assert len(Shelf.ranges) == 2


def test_another_file_than_the_published_one_is_refused_and_not_kept(server, published, tmp_path):
    published(sha256="0" * 64)
    with pytest.raises(BadInput, match="is not the published file: its SHA-256 is"):
        fetch("wands", server, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_copy_is_fetched_again_also_where_no_sum_is_published(server, published, tmp_path):
    published()
    fetch("wands", server, tmp_path)
    (tmp_path / "file.csv").write_bytes(b"damaged")
    fetch("wands", server, tmp_path)
    assert (tmp_path / "file.csv").read_bytes() == BODY
    assert Shelf.ranges == [None, None]


def test_without_network_the_sentence_says_what_to_do(published, tmp_path):
    published(**STATED)
    with pytest.raises(Unavailable, match=r"could not be fetched .* give its folder with --data to --source wands"):
        fetch("wands", "http://127.0.0.1:9", tmp_path)


def test_an_address_that_is_gone_is_said_to_be(server, monkeypatch, tmp_path):
    monkeypatch.setitem(download.SETS, "wands", (Remote("file.csv", "gone"),))
    with pytest.raises(Unavailable, match="gone could not be fetched"):
        fetch("wands", server, tmp_path)


@pytest.fixture
def wands(server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The address of a mirror that holds a set of WANDS at its published paths."""
    remotes = []
    for remote in download.SETS["wands"]:
        body = WANDS[remote.name]
        Shelf.bodies[f"/{remote.path}"] = body
        remotes.append(Remote(remote.name, remote.path, hashlib.sha256(body).hexdigest(), len(body)))
    monkeypatch.setitem(download.SETS, "wands", tuple(remotes))
    monkeypatch.setenv("TOWERLINE_CACHE", str(tmp_path / "cache"))
    return server


def test_a_run_without_data_downloads_the_set_shows_progress_and_loads_it(wands, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("TOWERLINE_MIRROR", f"{wands}/")
    monkeypatch.setattr(progress, "_LINE_SECONDS", 0.0)
    load_log("wands", "", "{}", tmp_path / "log", tmp_path / "truth")
    log = Log(tmp_path / "log")
    assert log.products()["title"].to_pylist() == ["salon chair"]
    assert log.judgements()["grade"].to_pylist() == [2.0]
    shown = capsys.readouterr().err
    for name, body in WANDS.items():
        assert f"{name}: 100% {len(body)}/{len(body)} bytes" in shown


def test_a_run_without_data_and_network_says_what_to_do(wands, monkeypatch, tmp_path):
    monkeypatch.setenv("TOWERLINE_MIRROR", "http://127.0.0.1:9")
    with pytest.raises(Unavailable, match=r"check the network and run again .* give its folder with --data"):
        load_log("wands", "", "{}", tmp_path / "log", tmp_path / "truth")
    assert not (tmp_path / "log").exists()


def test_a_source_without_an_address_needs_data(tmp_path):
    with pytest.raises(BadSetting, match="source jdsearch has no public address"):
        fetch("jdsearch", folder=tmp_path)


def test_sets_lie_below_the_cache_folder(monkeypatch):
    monkeypatch.setenv("TOWERLINE_CACHE", "/cache")
    assert download.cache_folder("esci") == Path("/cache/esci")


def test_every_published_file_is_pinned_to_a_commit():
    for remotes in download.SETS.values():
        for remote in remotes:
            commit = remote.path.split("/raw/")[1].split("/")[0]
            assert len(commit) == 40
            assert set(commit) <= set("0123456789abcdef")
