"""A disk that is full while a release is written: the served one answers on, nothing half-made stays, a rerun works."""

import contextlib
import resource
import shutil

import numpy as np
import pytest

from components.common.manifest import current_release_id, list_release_ids, read_release, verify_files
from components.index.golden import read_golden
from components.index.search import open_search
from components.index.upsert import upsert_products
from components.releases.garbage import collect_garbage
from components.runs.commands import main
from tests.index.test_upsert import CHANGES, COLUMNS, write


@pytest.fixture
def workdir(shop, tmp_path, fake_towers):
    """A work directory of its own with the promoted release of the shop."""
    shutil.copytree(shop[1], tmp_path / "work")
    return tmp_path / "work"


@contextlib.contextmanager
def no_file_above(size):
    """Every write past `size` bytes of a file fails with an OSError, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def largest_files(workdir):
    """Sizes of the served release's files: a limit just below each stops the writing of another one."""
    release = read_release(workdir, "release-1")
    return sorted({(release.directory / name).stat().st_size for name in release.files}, reverse=True)


def test_a_disk_full_at_any_file_leaves_the_served_release_and_a_rerun_completes(workdir, tmp_path):
    changes = write(tmp_path / "c.parquet", CHANGES, COLUMNS)
    failed = 0
    for size in largest_files(workdir)[:6]:
        with no_file_above(size // 2), contextlib.suppress(OSError):
            upsert_products(workdir, changes, release_id="child-1")
        if "child-1" in list_release_ids(workdir):
            break
        failed += 1
        release = read_release(workdir, str(current_release_id(workdir)))
        assert release.release_id == "release-1"
        verify_files(release)
        collect_garbage(workdir)
        assert {path.name for path in (workdir / "releases").iterdir()} <= {
            "release-1",
            ".lock",
            ".owner",
            "promoted.json",
        }
    assert failed >= 3
    with open_search(release) as searcher:
        golden = read_golden(release.directory)
        found = searcher.search(np.array([one["vector"] for one in golden], dtype=np.float32), 10)
        assert [[hit.product_id for hit in hits] for hits in found] == [one["products"] for one in golden]
    shutil.rmtree(workdir / "releases" / "child-1", ignore_errors=True)
    assert upsert_products(workdir, changes, release_id="child-2") == "child-2"
    verify_files(read_release(workdir, "child-2"))


def test_a_full_disk_is_one_sentence_and_exit_code_1(workdir, tmp_path, capsys):
    changes = write(tmp_path / "c.parquet", CHANGES, COLUMNS)
    with no_file_above(largest_files(workdir)[0] // 2):
        code = main(lambda **_: None, ["upsert", "--products", str(changes), "--workdir", str(workdir)])
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert code == 1
    assert said.startswith("upsert: a file could not be written or read (")
    assert "what is served is whole" in said
    assert current_release_id(workdir) == "release-1"
