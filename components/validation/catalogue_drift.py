"""The catalogue against the one that the served release was trained on: size, prices, titles, categories, brands."""

from collections import Counter
from collections.abc import Iterable, Mapping

from components.validation.alarms import Finding
from components.validation.comparison import distribution_gap, divergence, factor, largest_moves, severity
from components.validation.drift import null_drift
from components.validation.identity import top_levels
from components.validation.settings import ValidationSettings
from components.validation.summaries import Summary

_LABEL = "the catalogue of the served release"


def catalogue_drift(now: Summary, before: Summary, settings: ValidationSettings) -> Iterable[Finding]:
    """Findings on the catalogue as a whole; both summaries are of the table products."""
    if level := severity(factor(now.rows, before.rows), settings.products_count):
        text = f"The catalogue has {now.rows:,} products, {_LABEL} had {before.rows:,}."
        yield Finding("catalogue_size", text, level)
    if min(now.rows, before.rows) < settings.sample_minimum:
        return
    yield from _prices(now, before, settings)
    new, old = now.quantiles["title_length"], before.quantiles["title_length"]
    if level := severity(distribution_gap(new, old), settings.products_titles):
        text = (
            f"Half of the titles are longer than {float(new.quantile(0.5)):.0f} characters, against "
            f"{float(old.quantile(0.5)):.0f} in {_LABEL}."
        )
        yield Finding("title_length", text, level)
    categories = _by_top(now.heavy["category"].counts()), _by_top(before.heavy["category"].counts())
    if level := severity(divergence(*categories), settings.products_category_mix):
        text = f"The catalogue's categories differ from {_LABEL}: {largest_moves(*categories)}."
        yield Finding("category_mix", text, level)
    brands = now.heavy["brand"].counts(), before.heavy["brand"].counts()
    if level := severity(divergence(*brands), settings.products_brand_mix):
        yield Finding("brand_mix", f"The catalogue's brands differ from {_LABEL}: {largest_moves(*brands)}.", level)
    yield from null_drift("the catalogue", "products", now, before, _LABEL, settings.null_share)


def _prices(now: Summary, before: Summary, settings: ValidationSettings) -> Iterable[Finding]:
    new, old = now.quantiles["price"], before.quantiles["price"]
    level = severity(distribution_gap(new, old), settings.products_prices)
    if not level:
        return
    middle, usual = float(new.quantile(0.5)), float(old.quantile(0.5))
    times = middle / usual if usual > 0 else 0.0
    hint = ""
    if 80 <= times <= 125:
        hint = ", which looks like prices in cents instead of whole currency units"
    elif 0.008 <= times <= 0.0125:
        hint = ", which looks like prices in whole currency units instead of cents"
    text = f"The median price is {middle:,.2f}, against {usual:,.2f} in {_LABEL}{hint}."
    yield Finding("prices", text, level)


def _by_top(counts: Mapping[str, float]) -> dict[str, float]:
    total: Counter[str] = Counter()
    for name, count in counts.items():
        total[top_levels(name)] += count  # type: ignore[assignment]
    return dict(total)
