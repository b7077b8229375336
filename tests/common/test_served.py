import pytest

from components.common.errors import NotFound
from components.common.served import served_release_id


@pytest.fixture
def workdir(tmp_path):
    return tmp_path / "a shop's"


def test_the_served_release_is_one_that_is_there(workdir):
    (workdir / "releases" / "r1").mkdir(parents=True)
    (workdir / "releases" / "r1" / "release.json").touch()
    (workdir / "current").write_text("r1\n")
    assert served_release_id(workdir) == "r1"


def test_without_one_the_command_that_makes_one_is_named_and_can_be_pasted(workdir):
    with pytest.raises(NotFound, match="has no promoted release") as raised:
        served_release_id(workdir)
    assert f"""python pipeline.py run --workdir '{workdir.parent}/a shop'"'"'s'`""" in str(raised.value)
    assert not workdir.exists()


@pytest.mark.parametrize("text", [b"20200101-000000-abcdef", b"../../x", b"\xff\xfe\x00", b"x" * 5000])
def test_one_that_is_gone_leads_to_a_rollback(workdir, text):
    workdir.mkdir()
    (workdir / "current").write_bytes(text)
    with pytest.raises(NotFound, match=r"no release that is there; `python pipeline\.py rollback --workdir") as raised:
        served_release_id(workdir)
    assert len(str(raised.value)) < 500


def test_a_lost_pointer_leads_to_a_rollback_too(workdir):
    (workdir / "releases" / "r1").mkdir(parents=True)
    (workdir / "releases" / "r1" / "release.json").touch()
    (workdir / "releases" / "promoted.json").write_text("[]")
    with pytest.raises(NotFound, match=r"current names no release; `python pipeline\.py rollback --workdir"):
        served_release_id(workdir)
