"""How far a day lies from its past, measured so that a small day's noise is not taken for a change."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from components.validation.alarms import STOP, WARN
from components.validation.sketches import Quantiles

Z = 4.0
"""Standard errors below which a change is noise: 1 false alarm in 16,000 comparisons of pure sampling."""


def severity(value: float, limits: Sequence[float]) -> str:
    """ "stop" above the second limit, "warn" above the first, else ""."""
    return STOP if value > limits[1] else WARN if value > limits[0] else ""


def factor(count: float, usual: float) -> float:
    """How many times more, or fewer, `count` is than `usual`; at least 1; infinite when one of them is 0."""
    low, high = sorted((count, usual))
    return 1.0 if low == high else math.inf if low <= 0 else high / low


def volume_change(count: float, days: Sequence[float]) -> tuple[float, float]:
    """(factor, usual count): 1 where the count is within Poisson noise or within the days' own spread.

    The usual count is the median of `days`; their spread is 1.4826 median absolute deviations, used from 5 days on.
    """
    usual = float(np.median(days))
    noise = Z * math.sqrt(max(usual, count, 1.0))
    if len(days) >= 5:
        noise = max(noise, 3 * 1.4826 * float(np.median(np.abs(np.asarray(days) - usual))))
    return (factor(count, usual) if abs(count - usual) > noise else 1.0), usual


def share_change(hits: float, rows: float, base_hits: float, base_rows: float, design: float = 2.0) -> float:
    """Factor between two shares; 1 where they differ by less than Z standard errors.

    `design` is the variance inflation by rows that come in clusters (several events a search).
    """
    if rows <= 0 or base_rows <= 0:
        return 1.0
    together = (hits + base_hits) / (rows + base_rows)
    error = math.sqrt(max(design * together * (1 - together) * (1 / rows + 1 / base_rows), 1e-30))
    one, two = hits / rows, base_hits / base_rows
    return factor(one, two) if abs(one - two) > Z * error else 1.0


def rate_change(events: float, base: float, old_events: float, old_base: float, design: float = 2.0) -> float:
    """Factor between two rates (carts a click, say); 1 where the logarithms differ by less than Z standard errors."""
    one, two = max(events, 0.5) / base, max(old_events, 0.5) / old_base
    error = math.sqrt(design * (1 / max(events, 0.5) + 1 / max(old_events, 0.5)))
    return factor(one, two) if abs(math.log(one / two)) > Z * error else 1.0


def divergence(counts: Mapping[str, float], base: Mapping[str, float], cluster: float = 1.0) -> float:
    """Jensen-Shannon divergence (Lin 1991) in bits, 0..1, of two count tables, less what sampling alone makes of it.

    For two samples of n and m rows of one distribution over k values, 8 ln 2 / (1 / n + 1 / m) times the divergence is
    about chi-squared with k - 1 degrees of freedom; its mean and Z standard deviations are taken off. `cluster` is the
    number of rows that come together and count as one (events a search).
    """
    names = sorted(set(counts) | set(base))
    one = np.array([counts.get(name, 0.0) for name in names])
    two = np.array([base.get(name, 0.0) for name in names])
    if one.sum() <= 0 or two.sum() <= 0:
        return 0.0
    degrees = len(names) - 1
    scale = cluster * (1 / one.sum() + 1 / two.sum()) / (8 * math.log(2))
    noise = (degrees + Z * math.sqrt(2 * degrees)) * scale
    one, two = one / one.sum(), two / two.sum()
    middle = (one + two) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        left = np.where(one > 0, one * np.log2(one / middle), 0.0).sum()
        right = np.where(two > 0, two * np.log2(two / middle), 0.0).sum()
    return float(min(1.0, max(0.0, (left + right) / 2 - noise)))


def distribution_gap(one: Quantiles, two: Quantiles) -> float:
    """Kolmogorov-Smirnov distance less its 0.1 % critical value, not below 0."""
    if one.rows <= 0 or two.rows <= 0:
        return 0.0
    return max(0.0, one.gap(two) - 1.95 * math.sqrt(1 / one.rows + 1 / two.rows))


def largest_moves(counts: Mapping[str, float], base: Mapping[str, float], limit: int = 3) -> str:
    """The values whose shares moved most, in words: "'Garden' from 12% to 31%, ..."."""
    total, base_total = sum(counts.values()) or 1.0, sum(base.values()) or 1.0
    shares = {n: (base.get(n, 0) / base_total, counts.get(n, 0) / total) for n in {*counts, *base}}
    moved = sorted(shares.items(), key=lambda item: (-abs(item[1][1] - item[1][0]), item[0]))[:limit]
    return ", ".join(f"{name!r} from {percent(old)} to {percent(new)}" for name, (old, new) in moved)


def percent(share: float) -> str:
    """A share in percent with two significant digits."""
    return f"{100 * share:.2g}%" if 0 < share < 0.1 else f"{100 * share:.0f}%"
