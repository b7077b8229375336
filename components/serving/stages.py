"""Latency by stage, read from a server's own histograms."""

from collections import defaultdict

_HISTOGRAM = "towerline_stage_seconds"


def stage_milliseconds(exposition: str) -> dict[str, dict[str, float]]:
    """Per stage `{"count", "mean", "p50", "p99"}` in milliseconds, from the text of `/metrics`.

    Quantiles are interpolated inside a bucket, as Prometheus' `histogram_quantile` does; past the last bound the bound
    itself is given. Stages that were never measured are left out. `count` are observations: a batch is one of a stage.
    """
    from prometheus_client.parser import text_string_to_metric_families

    buckets: dict[str, list[tuple[float, float]]] = defaultdict(list)
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(exposition):
        if family.name != _HISTOGRAM:
            continue
        for sample in family.samples:
            stage = sample.labels["stage"]
            if sample.name.endswith("_bucket"):
                buckets[stage].append((float(sample.labels["le"]), sample.value))
            elif sample.name.endswith("_sum"):
                sums[stage] = sample.value
    found = {}
    for stage, cumulative in buckets.items():
        cumulative.sort()
        count = cumulative[-1][1]
        if count:
            seconds = {
                "mean": sums[stage] / count,
                "p50": _quantile(cumulative, 0.5),
                "p99": _quantile(cumulative, 0.99),
            }
            found[stage] = {"count": int(count), **{name: round(value * 1e3, 3) for name, value in seconds.items()}}
    return found


def _quantile(cumulative: list[tuple[float, float]], share: float) -> float:
    """The quantile of a histogram given as (upper bound, observations up to it), ascending."""
    wanted = share * cumulative[-1][1]
    low, before = 0.0, 0.0
    for bound, count in cumulative:
        if count >= wanted and count > before:
            return low if bound == float("inf") else low + (bound - low) * (wanted - before) / (count - before)
        low, before = bound, count
    return low
