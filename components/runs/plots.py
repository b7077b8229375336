"""The report's pictures: matplotlib figures as inline SVG in the page's colours, each with its figures as a table."""

import hashlib
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

LIGHT = ("#0072b2", "#c04e00", "#007a59", "#a8487f", "#7d5d00", "#6a4fc0", "#666666")
DARK = ("#56b4e9", "#ff8a50", "#3ccb9b", "#e79bc6", "#e9b949", "#b9a7ff", "#a7b0ba")
"""Series colours on a light and a dark page, after Okabe and Ito's, told apart by readers with any colour vision and
at least 3:1 against the page; lines differ by marker as well."""
_MARKERS = "os^Dv*x"
_INK = "#010203"
_SIZES = {"wide": (7.6, 3.3), "narrow": (3.7, 3.3)}

Point = tuple[float, float] | tuple[float, float, float, float]
"""x and y, or x, y and the bounds of y."""


@dataclass(frozen=True)
class Chart:
    """A figure of the report: its title, its SVG for wide and narrow pages, and the same figures as a table."""

    title: str
    svg: Mapping[str, str]
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def line_chart(
    title: str,
    series: Mapping[str, Sequence[Point]],
    axes_labels: tuple[str, str],
    log_x: bool = False,
    colours: Mapping[str, int] | None = None,
    shared_x: bool = True,
) -> Chart | None:
    """Lines of (x, y) or (x, y, low, high) by name; None when there is nothing to draw.

    `colours` fixes the colour's number of a name, so that a method looks alike in all charts. `shared_x` gives the
    table a row per x and a column per name; without it each point has a row.
    """
    drawn = {name: points for name, points in series.items() if points}
    if not drawn:
        return None
    number = {name: (colours or {}).get(name, place) for place, name in enumerate(drawn)}

    def draw(figure: Any, kind: str) -> None:
        axes = _axes(figure)
        for name, points in drawn.items():
            xs, ys = [point[0] for point in points], [point[1] for point in points]
            colour = LIGHT[number[name] % len(LIGHT)]
            marker = _MARKERS[number[name] % len(_MARKERS)]
            axes.plot(xs, ys, label=name, marker=marker, markersize=4, linewidth=1.6, color=colour)
            bounds = [point[2:] for point in points if len(point) == 4]
            if len(bounds) == len(points):
                axes.fill_between(xs, *zip(*bounds, strict=True), color=colour, alpha=0.18, linewidth=0)
        if log_x:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(_short)
            axes.xaxis.set_minor_formatter("")
        axes.set_xlabel(axes_labels[0])
        axes.set_ylabel(axes_labels[1])
        _legend(figure, len(drawn), kind)

    xs = sorted({point[0] for points in drawn.values() for point in points})
    if shared_x:
        by_name = {name: {point[0]: point for point in points} for name, points in drawn.items()}
        head = [axes_labels[0], *drawn]
        rows = [[_text(x), *(_cell(by_name[name].get(x)) for name in drawn)] for x in xs]
    else:
        head = ["", *axes_labels]
        rows = [[name, _text(point[0]), _text(point[1])] for name, points in drawn.items() for point in points]
    return Chart(title, _both(draw), head, rows)


def interval_chart(
    title: str,
    groups: Sequence[str],
    series: Mapping[str, Mapping[str, Point]],
    x_label: str,
    colours: Mapping[str, int],
) -> Chart | None:
    """A row per group with a dot and its interval per series: `series[name][group]` is (0, value, low, high)."""
    names = [name for name, points in series.items() if points]
    if not names or not groups:
        return None

    def draw(figure: Any, kind: str) -> None:
        figure.set_size_inches(_SIZES[kind][0], 0.8 + 0.16 * len(groups) * (len(names) + 1))
        axes = _axes(figure, "x")
        for place, name in enumerate(names):
            number = colours.get(name, place)
            for row, group in enumerate(groups):
                if group not in series[name]:
                    continue
                _, value, low, high = series[name][group]  # type: ignore[misc]
                height = row + (place - (len(names) - 1) / 2) * 0.75 / len(names)
                axes.errorbar(
                    [value], [height], xerr=[[max(0.0, value - low)], [max(0.0, high - value)]], markersize=4,
                    label=name if row == 0 else None, color=LIGHT[number], fmt=_MARKERS[number], linewidth=1.2,
                )  # fmt: skip
        axes.set_yticks(
            range(len(groups)), [group.replace(" ", "\n", 1) if kind == "narrow" else group for group in groups]
        )
        axes.set_ylim(len(groups) - 0.5, -0.5)
        axes.set_xlabel(x_label)
        _legend(figure, len(names), kind)

    rows = [[group, *(_cell(series[name].get(group)) for name in names)] for group in groups]
    return Chart(title, _both(draw), ["", *names], rows)


def day_panels(
    title: str,
    days: Sequence[str],
    panels: Mapping[str, Sequence[float | None]],
    bounds: Mapping[str, tuple[float, float]] = MappingProxyType({}),
) -> Chart | None:
    """One small panel a measure over the same days, each from 0, the newest day marked; None without days.

    `bounds` gives a panel dashed lines where a multiple of the usual warns and dotted ones where it stops, above and
    below, and the table a row of each.
    """
    shown = {name: values for name, values in panels.items() if any(value is not None for value in values)}
    if not days or not shown:
        return None

    def draw(figure: Any, kind: str) -> None:
        columns = 3 if kind == "wide" else 2
        lines = -(-len(shown) // columns)
        figure.set_size_inches(_SIZES[kind][0], 1.45 * lines)
        for place, (name, values) in enumerate(shown.items()):
            axes = _axes(figure, "y", (lines, columns, place + 1))
            known = [(day, value) for day, value in enumerate(values) if value is not None]
            xs, ys = zip(*known, strict=True)
            axes.plot(xs, ys, color=LIGHT[0], linewidth=1.6)
            axes.plot(xs[-1:], ys[-1:], "o", color=LIGHT[1], markersize=5)
            axes.set_title(name, fontsize=9, color=_INK, loc="left")
            warn, stop = bounds.get(name, (0.0, 0.0))
            for limit, style in ((warn, "--"), (stop, ":")):
                for height in (limit, 1 / limit) if limit else ():
                    axes.axhline(height, color=LIGHT[1], linestyle=style, linewidth=1.1)
            axes.set_ylim(0, max(*ys, stop) * 1.12 or 1)
            axes.set_xlim(-0.5, len(days) - 0.5)
            axes.set_xticks(
                [0, len(days) - 1] if len(days) > 1 else [0], [day[5:] for day in {days[0]: 0, days[-1]: 0}]
            )
            axes.locator_params(axis="y", nbins=3)
            axes.yaxis.set_major_formatter(_short)

    rows = [[day, *(_text(values[place]) for values in shown.values())] for place, day in enumerate(days)]
    for word, place in (("warns", 0), ("stops", 1)) if bounds else ():
        limits = [bounds[name][place] for name in shown]
        rows.append(
            [f"{word} beyond", *(f"{_text(1 / limit)} or {_text(limit)}" if limit else "-" for limit in limits)]
        )
    return Chart(title, _both(draw), ["day", *shown], rows)


def _axes(figure: Any, grid: str = "y", place: tuple[int, int, int] = (1, 1, 1)) -> Any:
    axes = figure.add_subplot(*place)
    for item in ("top", "right"):
        axes.spines[item].set_visible(False)
    for item in ("bottom", "left"):
        axes.spines[item].set_color(_INK)
    axes.tick_params(colors=_INK, labelsize=8.5)
    axes.xaxis.label.set(color=_INK, size=9)
    axes.yaxis.label.set(color=_INK, size=9)
    axes.grid(axis=grid, color=_INK, alpha=0.15)
    return axes


def _legend(figure: Any, names: int, kind: str) -> None:
    if names > 1:
        columns = min(names, 4 if kind == "wide" else 2)
        figure.legend(loc="outside upper left", ncols=columns, frameon=False, labelcolor=_INK, fontsize=8.5)


def _both(draw: Callable[[Any, str], None]) -> dict[str, str]:
    from matplotlib.figure import Figure

    found = {}
    for kind, size in _SIZES.items():
        figure = Figure(figsize=size, layout="constrained")
        draw(figure, kind)
        found[kind] = _svg(figure)
    return found


def _svg(figure: Any) -> str:
    """The figure as an <svg> element: colours become the page's, ids its own, and the text its font."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "towerline", "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(_INK, "currentColor")
    for number, colour in enumerate(LIGHT):
        text = text.replace(colour, f"var(--series-{number})")
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font: \1 system-ui, sans-serif", text)
    mark = f"c{hashlib.blake2s(text.encode()).hexdigest()[:8]}-"
    text = re.sub(r'\bid="', f'id="{mark}', text)
    text = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{mark}", text)
    return re.sub(r'width="[^"]*pt" height="[^"]*pt"', 'aria-hidden="true"', text, count=1)


def _short(value: float, _: int) -> str:
    return f"{value / 1e6:g}M" if value >= 1e6 else f"{value / 1e3:g}k" if value >= 1e3 else f"{value:g}"


def _text(value: float | None) -> str:
    if value is None:
        return "-"
    if float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.3g}"


def _cell(point: Point | None) -> str:
    if point is None:
        return "-"
    if len(point) == 4:
        return f"{point[1]:.3f} ({point[2]:.3f} to {point[3]:.3f})"
    return f"{point[1]:.4g}"
