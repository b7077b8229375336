"""Which release answers: promotions, rollbacks, broken releases, canaries."""

from dataclasses import replace
from pathlib import Path

import pytest

from components.common.errors import NotFound
from components.common.files import read_json, write_json, write_text
from components.common.manifest import rollout_path, set_current
from components.serving.loaded_release import LoadedRelease
from components.serving.metrics import Metrics
from components.serving.release_loader import ReleaseLoader
from components.serving.requests import SearchRequest
from components.serving.rollout import CanaryBudget, ReleaseTable
from components.serving.settings import ServingSettings
from tests.serving.fakes import fake_release, open_fake, write_manifest

SETTINGS = ServingSettings(watch_seconds=3600, canary_min_requests=20, canary_window=50, canary_p99_ms=100)


class Opened:
    """Opens fakes and remembers what was opened and closed."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.closed: list[str] = []

    def __call__(self, workdir: Path, release_id: str) -> LoadedRelease:
        release = open_fake(workdir, release_id)
        self.opened.append(release_id)
        release.close = lambda: self.closed.append(release_id)
        return release


@pytest.fixture
def opened() -> Opened:
    return Opened()


@pytest.fixture
def loader(tmp_path: Path, metrics: Metrics, opened: Opened) -> ReleaseLoader:
    """Serves release-a; release-b and release-c lie beside it."""
    for name in ("release-a", "release-b", "release-c"):
        write_manifest(tmp_path, name, current=name == "release-a")
    made = ReleaseLoader(tmp_path, opened, SETTINGS, metrics)
    made.start()
    return made


def roles(loader: ReleaseLoader) -> dict[str, str]:
    return {role: release.release_id for role, release in loader.table.roles().items()}


def test_without_a_promoted_release_the_sentence_says_how_to_make_one(tmp_path: Path, metrics: Metrics) -> None:
    with pytest.raises(NotFound, match=r"pipeline\.py run"):
        ReleaseLoader(tmp_path, open_fake, SETTINGS, metrics).start()


def test_a_promotion_is_followed_and_the_one_before_stays_loaded(loader: ReleaseLoader, opened: Opened) -> None:
    set_current(loader.workdir, "release-b")
    loader.check()
    assert roles(loader) == {"stable": "release-b", "previous": "release-a"}
    set_current(loader.workdir, "release-c")
    loader.check()
    assert roles(loader) == {"stable": "release-c", "previous": "release-b"}
    assert opened.closed == ["release-a"]


def test_a_rollback_loads_nothing(loader: ReleaseLoader, opened: Opened) -> None:
    """The previous release is still in memory, so going back is one assignment."""
    for name in ("release-b", "release-a"):
        set_current(loader.workdir, name)
        loader.check()
    assert roles(loader) == {"stable": "release-a", "previous": "release-b"}
    assert opened.opened == ["release-a", "release-b"]


def test_after_a_restart_the_previous_release_is_loaded_from_the_record(loader: ReleaseLoader) -> None:
    """Withdrawn promotions do not count; a record that makes no sense changes nothing."""
    record = loader.workdir / "releases" / "promoted.json"
    entries = [("release-c", None), ("release-b", "2026-01-02"), ("release-a", None)]
    write_json(record, [{"release": name, "withdrawn": withdrawn} for name, withdrawn in entries])
    loader.load_previous()
    assert roles(loader) == {"stable": "release-a", "previous": "release-c"}
    loader.check()
    assert roles(loader) == {"stable": "release-a", "previous": "release-c"}


def test_a_pointer_of_broken_bytes_leaves_the_served_release_in_place(loader: ReleaseLoader) -> None:
    (loader.workdir / "current").write_bytes(b"\xff\xfe release-b")
    loader.check()
    assert roles(loader) == {"stable": "release-a"}


@pytest.mark.parametrize("record", ["{", "[1, 2]", "5", "null", '[{"release": "gone", "withdrawn": null}]'])
def test_a_record_of_promotions_that_makes_no_sense_changes_nothing(loader: ReleaseLoader, record: str) -> None:
    (loader.workdir / "releases" / "promoted.json").write_text(record)
    loader.load_previous()
    assert roles(loader) == {"stable": "release-a"}


def test_an_unchanged_work_directory_changes_nothing(loader: ReleaseLoader, opened: Opened) -> None:
    table = loader.table
    for _ in range(3):
        loader.check()
    assert loader.table is table
    assert opened.opened == ["release-a"]


@pytest.mark.parametrize("pointer", ["release-b", "no-such-release", "../../etc/passwd", "\x00"])
def test_a_release_that_cannot_be_loaded_leaves_the_served_one_in_place(
    loader: ReleaseLoader, metrics: Metrics, pointer: str
) -> None:
    write_json(loader.workdir / "releases" / "release-b" / "faults.json", {"broken": True})
    write_text(loader.workdir / "current", pointer)
    for _ in range(3):
        loader.check()
    assert roles(loader) == {"stable": "release-a"}


def test_a_failed_release_is_tried_again_when_its_manifest_is_rewritten(
    loader: ReleaseLoader, metrics: Metrics
) -> None:
    faults = loader.workdir / "releases" / "release-b" / "faults.json"
    write_json(faults, {"broken": True})
    set_current(loader.workdir, "release-b")
    loader.check()
    loader.check()
    assert metrics.release_events.labels("load_failed")._value.get() == 1
    faults.unlink()
    write_manifest(loader.workdir, "release-b")
    loader.check()
    assert roles(loader)["stable"] == "release-b"


def test_a_served_release_whose_manifest_is_rewritten_is_loaded_anew(loader: ReleaseLoader, opened: Opened) -> None:
    write_manifest(loader.workdir, "release-a")
    loader.check()
    assert roles(loader) == {"stable": "release-a"}
    assert opened.opened == ["release-a", "release-a"]


def test_a_search_under_way_keeps_its_release_open(loader: ReleaseLoader, opened: Opened) -> None:
    """A retired release closes when the last search on it ends, and takes no new one."""
    old = loader.table.stable
    with old.lease() as open_:
        assert open_
        for name in ("release-b", "release-c"):
            set_current(loader.workdir, name)
            loader.check()
        assert opened.closed == []
    assert opened.closed == ["release-a"]
    with old.lease() as open_:
        assert not open_


def canary(loader: ReleaseLoader, percent: float, stable: str = "release-a") -> None:
    write_json(rollout_path(loader.workdir), {"stable": stable, "canary": "release-b", "percent": percent})
    loader.check()


@pytest.mark.parametrize("percent", [0.0, 10.0, 50.0, 100.0])
def test_a_canary_gets_its_share_of_the_shoppers(loader: ReleaseLoader, percent: float) -> None:
    canary(loader, percent)
    requests = [SearchRequest("lamp", user_id=f"u{number}") for number in range(2000)]
    share = sum(loader.table.choose(request).release_id == "release-b" for request in requests) / len(requests)
    assert share == pytest.approx(percent / 100, abs=0.03)


def test_the_share_is_sticky_by_shopper_and_grows_without_moving_anybody_back(loader: ReleaseLoader) -> None:
    def chosen() -> set[int]:
        asked = ((n, SearchRequest(f"query {n % 7}", user_id=f"u{n}")) for n in range(500))
        return {n for n, request in asked if loader.table.choose(request).release_id == "release-b"}

    canary(loader, 20)
    few = chosen()
    assert few == chosen()
    canary(loader, 40)
    assert few < chosen()


def test_the_share_is_drawn_by_shopper_else_by_session_else_by_query() -> None:
    table = ReleaseTable(fake_release("release-a"), canary=fake_release("release-b"), percent=50.0)

    def answered_by(**more: str) -> set[str]:
        asked = [
            SearchRequest(f"query {n}", **{name: text.format(n=n) for name, text in more.items()}) for n in range(50)
        ]
        return {table.choose(request).release_id for request in asked}

    assert len(answered_by(user_id="u1", session_id="s{n}")) == 1
    assert len(answered_by(session_id="s1")) == 1
    assert answered_by() == {"release-a", "release-b"}


def test_another_canary_draws_another_share_of_the_shoppers() -> None:
    def chosen(canary: str) -> set[int]:
        table = ReleaseTable(fake_release("release-a"), canary=fake_release(canary), percent=50.0)
        return {n for n in range(200) if table.choose(SearchRequest("lamp", user_id=f"u{n}")).release_id == canary}

    both = chosen("release-b") & chosen("release-c")
    assert 20 < len(both) < 80, "half of the first canary's shoppers, not all or none"


def test_a_canary_for_another_stable_release_is_ignored(loader: ReleaseLoader) -> None:
    canary(loader, 50, stable="release-c")
    assert roles(loader) == {"stable": "release-a"}


def test_a_share_of_nobody_loads_no_canary(loader: ReleaseLoader, opened: Opened) -> None:
    canary(loader, 0)
    assert opened.opened == ["release-a"]


def test_a_promoted_canary_becomes_stable_without_loading_again(loader: ReleaseLoader, opened: Opened) -> None:
    canary(loader, 50)
    set_current(loader.workdir, "release-b")
    loader.check()
    assert roles(loader) == {"stable": "release-b", "previous": "release-a"}
    assert opened.opened == ["release-a", "release-b"]


@pytest.mark.parametrize(
    "body", ["[]", "{", '{"stable": 1, "canary": "release-b", "percent": 5}', '{"canary": "x", "percent": "5"}']
)
def test_a_rollout_file_that_says_nothing_sensible_changes_nothing(loader: ReleaseLoader, body: str) -> None:
    write_text(rollout_path(loader.workdir), body)
    loader.check()
    assert roles(loader) == {"stable": "release-a"}


@pytest.mark.parametrize(("failed", "seconds", "named"), [(True, 0.01, "failed"), (False, 0.5, "p99")])
def test_a_canary_that_breaks_its_budget_is_stopped_for_good(
    loader: ReleaseLoader, failed: bool, seconds: float, named: str
) -> None:
    """At once in memory, then in rollout.json with the reason; the next look at the file does not revive it."""
    canary(loader, 50)
    for _ in range(30):
        loader.record("release-b", failed, seconds)
    assert roles(loader) == {"stable": "release-a"}
    body = read_json(rollout_path(loader.workdir))
    assert body["percent"] == 0
    assert named in body["stopped"]["reason"]
    loader.check()
    assert roles(loader) == {"stable": "release-a"}


def test_a_stopped_canary_that_is_started_again_is_served_again(loader: ReleaseLoader) -> None:
    canary(loader, 50)
    for _ in range(30):
        loader.record("release-b", True, 0.01)
    loader.check()
    canary(loader, 10)
    assert roles(loader) == {"stable": "release-a", "canary": "release-b"}


def test_a_stopped_canary_stays_off_when_its_file_cannot_be_rewritten(
    loader: ReleaseLoader, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary(loader, 50)

    def refuse(*_: object) -> None:
        raise OSError("read-only")

    monkeypatch.setattr("components.serving.release_loader.write_json", refuse)
    for _ in range(30):
        loader.record("release-b", True, 0.01)
    loader.check()
    assert roles(loader) == {"stable": "release-a"}
    assert opened.opened == ["release-a", "release-b"], "a stopped canary is not loaded at every look"


def test_a_healthy_canary_and_a_failing_stable_release_stop_nothing(loader: ReleaseLoader) -> None:
    canary(loader, 50)
    for _ in range(200):
        loader.record("release-b", False, 0.01)
        loader.record("release-a", True, 5.0)
    assert roles(loader) == {"stable": "release-a", "canary": "release-b"}


def test_few_requests_prove_nothing() -> None:
    budget = CanaryBudget(SETTINGS)
    assert [budget.record("release-b", True, 9.0) for _ in range(SETTINGS.canary_min_requests - 1)][-1] is None


def test_a_few_slow_answers_in_a_hundred_break_the_budget_and_a_few_failures_within_it_do_not() -> None:
    assert SETTINGS.canary_error_share >= 0.01
    settings = replace(SETTINGS, canary_window=200)
    slow, failing = CanaryBudget(settings), CanaryBudget(settings)
    sound = CanaryBudget(replace(settings, canary_error_share=0.0))
    verdicts = [slow.record("release-b", False, 0.5 if n % 25 == 0 else 0.01) for n in range(200)]
    assert "p99" in next(verdict for verdict in verdicts if verdict)
    assert {failing.record("release-b", n % 200 == 150, 0.01) for n in range(200)} == {None}
    assert {sound.record("release-b", False, 0.01) for _ in range(200)} == {None}


def test_a_new_canary_does_not_answer_for_the_failures_of_the_one_before() -> None:
    budget = CanaryBudget(SETTINGS)
    for _ in range(SETTINGS.canary_min_requests - 1):
        budget.record("release-b", True, 9.0)
    assert {budget.record("release-c", False, 0.01) for _ in range(SETTINGS.canary_window)} == {None}


def test_a_request_may_name_a_loaded_release_by_role_or_id() -> None:
    table = ReleaseTable(fake_release("release-b"), fake_release("release-a"))
    chosen = {
        name: table.choose(SearchRequest("x", release=name)).release_id for name in ("previous", "stable", "release-a")
    }
    assert chosen == {"previous": "release-a", "stable": "release-b", "release-a": "release-a"}
