"""Category paths written with another separator than the contract's: nothing is broken, but their levels are lost."""

from collections.abc import Mapping

from components.validation.alarms import WARN, Alarms
from components.validation.baseline import read_summary
from components.validation.comparison import percent
from components.validation.night import Night

_OTHERS = ("/", "|", "::", "»", "›", "\\", ";")
_MOST = 0.5
"""Share of the products with a category from which on a sign in it is taken for a separator."""


def judge_categories(night: Night, alarms: Alarms) -> None:
    """Warns where no category has levels as the contract writes them and most look as if they had some."""
    if not night.outcomes["products"].good:
        return
    counts = read_summary(night.statistics, "products").heavy["category"].counts()
    found = other_separator(counts)
    if found is None:
        return
    sign, share, example = found
    levels = " > ".join(part.strip() for part in example.split(sign))
    text = (
        f"{percent(share)} of the products have a category such as {example[:80]!r}, and none has a level below "
        f'another: levels are separated by ">". If {sign!r} separates them, write {levels[:80]!r}.'
    )
    alarms.add("category_separator", text, WARN)


def other_separator(counts: Mapping[str, float]) -> tuple[str, float, str] | None:
    """The sign that seems to separate levels, the share of rows whose category holds it, and the commonest such one.

    Args:
        counts: rows of each category. None where some category holds the contract's ">", or most hold no such sign.
    """
    total = sum(counts.values())
    if not total or any(">" in category for category in counts):
        return None
    for sign in _OTHERS:
        held = {category: count for category, count in counts.items() if sign in category.strip(sign)}
        if sum(held.values()) > _MOST * total:
            return sign, sum(held.values()) / total, max(held, key=lambda category: held[category])
    return None
