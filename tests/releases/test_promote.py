import pytest

from components.common.errors import BadInput, GateClosed, NotFound
from components.common.manifest import current_release_id, release_directory, set_current
from components.releases.ledger import Promotion, read_record, withdraw
from components.releases.operations import list_releases, promote, rollback
from tests.releases.conftest import A, B, C


def served_in_order(workdir, make, blessings, *ids):
    make(*ids)
    for release_id in ids:
        promote(workdir, release_id, **blessings(release_id))


def states(workdir):
    return {row["release_id"]: row["state"] for row in list_releases(workdir)}


def test_promotion_makes_a_release_the_served_one_and_records_why(workdir, make, blessings):
    make(A, B)
    assert promote(workdir, A, **blessings(A)) == A
    assert promote(workdir, B, **blessings(B)) == B
    assert current_release_id(workdir) == B
    first, second = read_record(workdir)
    assert (first.release, first.previous, second.previous) == (A, None, A)
    assert second.quality["reason"] == "better."
    assert second.infrastructure["reason"] == "answers."


def test_promoting_the_served_release_again_changes_nothing(workdir, make, blessings):
    served_in_order(workdir, make, blessings, A, B)
    before = read_record(workdir)
    promote(workdir, B, **blessings(B))
    assert read_record(workdir) == before


def spoiled(both, gate, changes):
    return {**both, gate: {**both[gate], **changes}}


@pytest.mark.parametrize("gate", ["quality", "infrastructure"])
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"open": False, "reason": "it is worse."}, "is closed: it is worse"),
        ({"open": "true"}, "is closed"),
        ({"open": None}, "is closed"),
        ({"gate": "another"}, "has no blessing of the"),
        ({"towers": "other towers"}, "speaks of other towers"),
        ({"towers": None}, "speaks of other towers"),
    ],
)
def test_a_gate_that_is_not_open_for_these_towers_stops_the_promotion(
    workdir, make, blessings, gate, changes, sentence
):
    served_in_order(workdir, make, blessings, A)
    make(B)
    with pytest.raises(GateClosed, match=sentence):
        promote(workdir, B, **spoiled(blessings(B), gate, changes))
    assert current_release_id(workdir) == A
    assert [entry.release for entry in read_record(workdir)] == [A]


def test_the_infrastructure_blessing_of_another_release_does_not_count(workdir, make, blessings):
    make(A)
    with pytest.raises(GateClosed, match=f"is for release '{C}', not {A}"):
        promote(workdir, A, blessings(A)["quality"], {**blessings(A)["infrastructure"], "release": C})
    assert current_release_id(workdir) is None


@pytest.mark.parametrize("missing", [None, {}, [], "open"])
def test_a_missing_blessing_stops_the_promotion(workdir, make, blessings, missing):
    make(A)
    with pytest.raises(GateClosed, match="has no blessing of the quality gate"):
        promote(workdir, A, missing, blessings(A)["infrastructure"])
    with pytest.raises(GateClosed, match="has no blessing of the infrastructure gate"):
        promote(workdir, A, blessings(A)["quality"], missing)


def test_a_file_changed_after_the_gates_stops_the_promotion(workdir, make, blessings):
    make(A)
    both = blessings(A)
    (release_directory(workdir, A) / "index" / "vectors.npy").write_text("other vectors")
    with pytest.raises(BadInput, match=r"index/vectors\.npy was changed"):
        promote(workdir, A, **both)
    assert current_release_id(workdir) is None


def test_rollback_goes_one_further_back_each_time(workdir, make, blessings):
    served_in_order(workdir, make, blessings, A, B, C)
    assert states(workdir) == {A: "standby", B: "standby", C: "served"}
    assert rollback(workdir) == B == current_release_id(workdir)
    assert states(workdir) == {A: "standby", B: "served", C: "withdrawn"}
    assert rollback(workdir) == A
    with pytest.raises(NotFound, match="no earlier release"):
        rollback(workdir)
    assert current_release_id(workdir) == A


def test_rollback_to_a_named_release_and_forward_again(workdir, make, blessings):
    served_in_order(workdir, make, blessings, A, B, C)
    assert rollback(workdir, A) == A
    assert rollback(workdir, C) == C
    assert states(workdir) == {A: "standby", B: "withdrawn", C: "served"}
    assert rollback(workdir) == A
    assert rollback(workdir, A) == A


def test_a_later_rollback_does_not_change_when_an_earlier_one_was():
    record = [Promotion(A, "1", "promote"), Promotion(B, "2", "promote"), Promotion(C, "3", "promote", withdrawn="4")]
    first, second, third = withdraw(record, 0)
    assert (first.withdrawn, third.withdrawn) == (None, "4")
    assert second.withdrawn not in (None, "4")


def test_a_withdrawn_release_can_be_promoted_again(workdir, make, blessings):
    served_in_order(workdir, make, blessings, A, B)
    rollback(workdir)
    promote(workdir, B, **blessings(B))
    assert current_release_id(workdir) == B
    assert rollback(workdir) == A


def test_rollback_never_serves_what_no_gate_opened_for(workdir, make, blessings):
    served_in_order(workdir, make, blessings, A)
    make(B)
    with pytest.raises(GateClosed, match="was never promoted"):
        rollback(workdir, B)
    with pytest.raises(NotFound, match="no release"):
        rollback(workdir, C)
    with pytest.raises(BadInput, match="not a release id"):
        rollback(workdir, "../../etc")
    assert current_release_id(workdir) == A


def test_rollback_passes_over_a_broken_release(workdir, make, blessings):
    served_in_order(workdir, make, blessings, A, B, C)
    (release_directory(workdir, B) / "index" / "vectors.npy").unlink()
    assert rollback(workdir) == A


def test_a_named_release_whose_files_were_changed_is_not_rolled_back_to(workdir, make, blessings):
    served_in_order(workdir, make, blessings, A, B)
    (release_directory(workdir, A) / "index" / "vectors.npy").write_text("others")
    with pytest.raises(BadInput, match=r"index/vectors\.npy was changed"):
        rollback(workdir, A)
    assert current_release_id(workdir) == B


def test_rollback_finds_a_lost_pointer_again(workdir, make, blessings):
    make(A, B)
    promote(workdir, A, **blessings(A))
    promote(workdir, B, **blessings(B))
    (workdir / "current").unlink()
    assert rollback(workdir) == current_release_id(workdir) == B
    assert rollback(workdir) == current_release_id(workdir) == A


def test_a_release_that_misses_a_file_is_listed_as_broken(workdir, make, blessings):
    make(A)
    promote(workdir, A, **blessings(A))
    (workdir / "releases" / A / "index" / "vectors.npy").unlink()
    (row,) = list_releases(workdir)
    assert (row["current"], row["state"]) == (True, "broken")
    assert row["problem"] == f"release {A} misses its file index/vectors.npy; roll back or rebuild it."


def test_rollback_of_nothing_says_so(workdir):
    with pytest.raises(NotFound, match="holds no release"):
        rollback(workdir)
    assert not workdir.exists()


def test_a_release_set_by_hand_is_entered_and_can_be_rolled_back_from(workdir, make, blessings):
    served_in_order(workdir, make, blessings, A)
    make(B)
    set_current(workdir, B)
    assert rollback(workdir) == A
    assert [entry.action for entry in read_record(workdir)] == ["promote", "adopt"]


def test_the_list_shows_every_release_with_its_state(workdir, make, blessings):
    served_in_order(workdir, make, blessings, A)
    make(B, C)
    (release_directory(workdir, C) / "release.json").write_text("{")
    rows = list_releases(workdir)
    assert [(row["release_id"], row["state"], row["current"]) for row in rows] == [
        (A, "served", True),
        (B, "candidate", False),
        (C, "broken", False),
    ]
    assert rows[0]["promoted_at"] is not None
    assert rows[1]["promoted_at"] is None
    assert rows[0]["model"] == "mgdspr"
    assert rows[0]["simulated"] is True


@pytest.mark.parametrize("text", ['[{"who": 1}]', "[{", "3"])
def test_an_unreadable_record_is_named_with_what_to_do(workdir, make, blessings, text):
    served_in_order(workdir, make, blessings, A)
    (workdir / "releases" / "promoted.json").write_text(text)
    with pytest.raises(BadInput, match=r"promoted\.json is not a record of promotions: .*restore it from a backup"):
        list_releases(workdir)
