"""Does a claim hold? Paired differences over searches and seeds, with bootstrap intervals."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.ablations.experiment import World, read_run
from bench.ablations.tables import Claim, rows_of

SAMPLES, EDGE = 2_000, 0.025


@dataclass(frozen=True)
class Verdict:
    """What was found of a claim. value, low, high: our difference (or share of the steps) and its 95 % interval."""

    claim: Claim
    better: float | None
    worse: float | None
    value: float | None
    low: float | None
    high: float | None
    seeds: int
    searches: int
    verdict: str

    def describe(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def judge(claim: Claim, runs: dict[str, list[Path]], world: World) -> Verdict:
    """Compares the runs of both sides. `runs`: row -> folders of its seeds.

    Verdicts: "holds" and "does not hold (the opposite does)" where the interval lies on one side of 0 (of 1/2 for
    steps); "undecided" where it does not; "not measured" where the metric or the slice is missing.
    """
    better = runs[rows_of(claim.better, list(runs))[0]]
    worse = _best_on_validation([runs[name] for name in rows_of(claim.worse, list(runs))])
    if claim.kind == "steps":
        return _steps(claim, better, worse)
    left, searches = _values(better, claim)
    right, _ = _values(worse, claim)
    if left is None or right is None:
        return Verdict(claim, None, None, None, None, None, 0, 0, "not measured")
    seeds = max(len(left), len(right))
    difference = np.resize(left, (seeds, left.shape[1])) - np.resize(right, (seeds, right.shape[1]))  # [S, n]
    low, high = interval(difference, world.test.clusters[searches], world.settings.seed)
    verdict = "holds" if low > 0 else "does not hold (the opposite does)" if high < 0 else "undecided"
    measured = ~np.isnan(difference[0])
    value = float(np.nanmean(difference))
    means = float(np.nanmean(left)), float(np.nanmean(right))
    return Verdict(claim, *means, value, low, high, seeds, int(measured.sum()), verdict)


def interval(difference: np.ndarray, clusters: np.ndarray, seed: int) -> tuple[float, float]:
    """95 % interval of the mean of `difference` [seeds, searches]: seeds and clusters of searches are both resampled.

    With few seeds their part of the interval is rough, but leaving it out would take the luck of a start for an effect.
    """
    measured = ~np.isnan(difference[0])
    _, members = np.unique(clusters[measured], return_inverse=True)
    counts = np.bincount(members).astype(np.float64)  # [G]
    sums = np.stack([np.bincount(members, row[measured]) for row in difference])  # [S, G]
    random = np.random.default_rng(seed)
    means = np.empty(SAMPLES)
    for sample in range(SAMPLES):
        times = np.bincount(random.integers(len(counts), size=len(counts)), minlength=len(counts))  # [G]
        chosen = sums[random.integers(len(sums), size=len(sums))].mean(0)  # [G]
        means[sample] = times @ chosen / (times @ counts)
    low, high = np.quantile(means, [EDGE, 1 - EDGE])
    return float(low), float(high)


def _values(folders: list[Path], claim: Claim) -> tuple[np.ndarray | None, np.ndarray]:
    """The metric of every search of the claim's slice for each seed [S, n], and which searches these are."""
    rows, searches = [], np.zeros(0, np.int64)
    for folder in folders:
        table = read_run(folder)[1]
        mine = table.filter(np.asarray(table["slice"]) == claim.slice)
        if claim.metric not in mine.column_names or not mine.num_rows:
            return None, searches
        searches = mine["search"].to_numpy()
        rows.append(mine[claim.metric].to_numpy())
    values = np.stack(rows)
    return (None, searches) if np.isnan(values).all() else (values, searches)


def _best_on_validation(candidates: list[list[Path]]) -> list[Path]:
    """The row with the best mean validation recall; the only one where there is but one."""
    if len(candidates) == 1:
        return candidates[0]
    return max(candidates, key=lambda folders: float(np.mean([read_run(f)[0]["best_validation"] for f in folders])))


def _steps(claim: Claim, better: list[Path], worse: list[Path]) -> Verdict:
    """Steps `better` needs to the best validation recall of `worse`, as a share of those `worse` needed, by seed."""
    shares = []
    for left, right in zip(better, worse, strict=False):
        fast, slow = (read_run(folder)[0]["curve"] for folder in (left, right))
        metric = next(name for name in (claim.metric, *fast[0]["validation"]) if name in fast[0]["validation"])
        goal = max(point["validation"][metric] for point in slow)
        needed = next(point["step"] for point in slow if point["validation"][metric] >= goal)
        reached = [point["step"] for point in fast if point["validation"][metric] >= goal]
        shares.append(reached[0] / needed if reached else float("inf"))
    low, high, value = min(shares), max(shares), float(np.median(shares))
    verdict = "holds" if high <= 0.5 else "does not hold (the opposite does)" if low > 1 else "undecided"
    if not np.isfinite([value, low, high]).all():
        return Verdict(claim, None, None, None, None, None, len(shares), 0, "does not hold (never reached)")
    return Verdict(claim, None, None, value, low, high, len(shares), 0, verdict)
