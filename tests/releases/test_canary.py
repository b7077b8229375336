import json

import pytest

from components.common.errors import BadSetting, GateClosed, NotFound
from components.common.manifest import current_release_id, rollout_path
from components.releases.ledger import read_rollout
from components.releases.operations import list_releases, promote, rollback
from components.releases.rollout import abort, advance, finish, promote_to_share, start_canary
from components.runs.commands import main
from components.serving.rollout import read_rollout as read_as_serving
from components.serving.rollout import stopped_rollout
from tests.releases.conftest import A, B, C


@pytest.fixture
def served(workdir, make, blessings):
    make(A, B, C)
    promote(workdir, A, **blessings(A))


pytestmark = pytest.mark.usefixtures("served")


def test_a_canary_gets_its_share_and_the_served_release_stays(workdir, blessings):
    start_canary(workdir, B, 5, **blessings(B))
    assert current_release_id(workdir) == A
    seen = read_as_serving(workdir)
    assert (seen.stable, seen.canary, seen.percent) == (A, B, 5)
    assert {row["release_id"]: row["state"] for row in list_releases(workdir)} == {
        A: "served",
        B: "canary",
        C: "candidate",
    }
    advance(workdir, 50)
    assert read_as_serving(workdir).percent == 50


def test_only_a_share_of_everybody_is_a_promotion(workdir, blessings):
    assert promote_to_share(workdir, B, 99.9, **blessings(B)) == A == current_release_id(workdir)
    assert promote_to_share(workdir, B, 100, **blessings(B)) == B == current_release_id(workdir)


@pytest.mark.parametrize("gate", ["quality", "infrastructure"])
def test_a_canary_needs_both_gates(workdir, blessings, gate):
    both = blessings(B)
    both[gate]["open"] = False
    with pytest.raises(GateClosed):
        start_canary(workdir, B, 5, **both)
    assert read_as_serving(workdir) is None


def test_finishing_promotes_the_canary_with_the_blessings_it_started_with(workdir, blessings):
    start_canary(workdir, B, 5, **blessings(B))
    assert finish(workdir) == B == current_release_id(workdir)
    assert read_as_serving(workdir) is None
    assert rollback(workdir) == A


def test_aborting_takes_the_canary_back_and_says_why(workdir, blessings):
    start_canary(workdir, B, 5, **blessings(B))
    rollout = abort(workdir, "Too many complaints.")
    assert rollout["stopped"]["reason"] == "Too many complaints."
    assert abort(workdir, "Again.") == rollout
    assert read_as_serving(workdir) is None
    assert current_release_id(workdir) == A
    with pytest.raises(NotFound, match="no canary"):
        finish(workdir)


def test_a_canary_that_serving_stopped_can_be_neither_advanced_nor_finished(workdir, blessings):
    start_canary(workdir, B, 5, **blessings(B))
    body = stopped_rollout(json.loads(rollout_path(workdir).read_text()), "3 % failed.", "2026-01-05T00:00:00+00:00")
    rollout_path(workdir).write_text(json.dumps(body))
    for operation in (lambda: advance(workdir, 50), lambda: finish(workdir)):
        with pytest.raises(GateClosed, match=r"was stopped: 3 % failed\."):
            operation()
    assert abort(workdir, "seen")["stopped"]["reason"] == "3 % failed."
    start_canary(workdir, B, 1, **blessings(B))
    assert read_as_serving(workdir).percent == 1


def test_another_promotion_ends_the_canary_for_good(workdir, blessings):
    start_canary(workdir, B, 5, **blessings(B))
    promote(workdir, C, **blessings(C))
    assert read_rollout(workdir)["canary"] is None
    assert rollback(workdir) == A
    assert read_as_serving(workdir) is None
    assert read_rollout(workdir) == {"stable": A, "canary": None, "percent": 0}


@pytest.mark.parametrize("percent", [-1, 101, float("nan"), "5", True, None])
def test_a_share_out_of_range_is_refused(workdir, blessings, percent):
    with pytest.raises(BadSetting, match="0 to 100 percent"):
        start_canary(workdir, B, percent, **blessings(B))


def test_the_served_release_cannot_be_its_own_canary(workdir, blessings):
    with pytest.raises(BadSetting, match="served to everybody"):
        start_canary(workdir, A, 5, **blessings(A))


def test_nothing_to_advance_without_a_canary(workdir):
    with pytest.raises(NotFound, match="no canary"):
        advance(workdir, 5)
    assert abort(workdir, "nothing")["canary"] is None


@pytest.fixture
def command(workdir, capsys):
    """`python pipeline.py canary ...`: its exit code and what it said."""

    def call(*words):
        code = main(lambda **_: None, ["canary", *words, "--workdir", str(workdir)])
        said = capsys.readouterr()
        return code, (said.out or said.err).strip()

    return call


def test_the_command_starts_moves_and_promotes_a_canary(workdir, blessings, command):
    promote(workdir, B, **blessings(B))
    rollback(workdir)
    assert command() == (0, f"release {A} is served to everybody; there is no canary.")
    assert command(B, "--share", "10") == (0, f"release {B} is served to 10 % of the shoppers, {A} to the others.")
    assert command("--share", "2.5")[1].startswith(f"release {B} is served to 2.5 %")
    assert read_as_serving(workdir).percent == 2.5
    code, state = command("--promote", "--json")
    assert (code, json.loads(state)["stable"], json.loads(state)["canary"]) == (0, B, None)
    assert current_release_id(workdir) == B


def test_the_command_stops_a_canary_which_may_come_back(workdir, blessings, command):
    start_canary(workdir, B, 5, **blessings(B))
    assert command("--stop") == (
        0,
        f"release {A} is served to everybody; the canary {B} was stopped: it was stopped by hand.",
    )
    assert read_as_serving(workdir) is None
    assert command(B, "--share", "1")[0] == 0
    assert read_as_serving(workdir).percent == 1


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        ([C, "--share", "10"], 3, "has no blessing of the quality gate"),
        ([A, "--share", "10"], 2, "served to everybody already"),
        ([B], 2, "give a release with its --share"),
        (["--share", "10", "--stop"], 2, "give a release with its --share"),
        (["--share", "101"], 2, "0 to 100 percent"),
        (["--share", "10"], 2, "there is no canary"),
        (["--promote"], 2, "there is no canary"),
        (["--stop"], 2, "no canary to stop"),
        (["20990101-000000-ffffff", "--share", "10"], 2, "there is no release"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_its_exit_code(command, words, code, sentence):
    given, said = command(*words)
    assert given == code
    assert sentence in said
    assert len(said.splitlines()) == 1


def test_promoting_a_stopped_canary_is_a_closed_gate(workdir, blessings, command):
    start_canary(workdir, B, 5, **blessings(B))
    body = stopped_rollout(json.loads(rollout_path(workdir).read_text()), "3 % failed.", "2026-01-05T00:00:00+00:00")
    rollout_path(workdir).write_text(json.dumps(body))
    assert command("--promote")[0] == 3
    assert "3 % failed." in command()[1]


@pytest.mark.parametrize("text", ["", '{"stable": ', "[1]"])
def test_a_damaged_file_of_a_canary_holds_up_no_rollback(workdir, blessings, text):
    promote(workdir, B, **blessings(B))
    rollout_path(workdir).write_text(text)
    assert read_rollout(workdir)["canary"] is None
    assert rollback(workdir) == A
    assert not rollout_path(workdir).exists()
