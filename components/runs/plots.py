"""The report's pictures: matplotlib figures as inline SVG that follow the page's light or dark colours."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")
"""Okabe and Ito's colours, told apart by readers with any colour vision; lines differ by marker as well."""
_MARKERS = "os^Dv*x"


def line_chart(
    series: Mapping[str, Sequence[tuple[float, float]]], x_label: str, y_label: str, log_x: bool = False
) -> str:
    """Lines of (x, y) points by name, as an SVG element; an empty string when there is nothing to draw."""
    figure, axes = _figure()
    drawn = 0
    for index, (name, points) in enumerate(series.items()):
        if not points:
            continue
        xs, ys = zip(*points, strict=True)
        style = {"color": PALETTE[index % len(PALETTE)], "marker": _MARKERS[index % len(_MARKERS)]}
        axes.plot(xs, ys, label=name, markersize=4, linewidth=1.6, **style)
        drawn += 1
    if not drawn:
        return ""
    if log_x:
        axes.set_xscale("log")
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    if drawn > 1:
        axes.legend(frameon=False, labelcolor="#010203")
    return _svg(figure)


def bar_chart(values: Mapping[str, Mapping[str, float]], y_label: str) -> str:
    """Grouped bars: a group per outer key, a bar per inner key; as an SVG element, empty when there is nothing."""
    names = list(dict.fromkeys(name for group in values.values() for name in group))
    if not names:
        return ""
    figure, axes = _figure()
    width = 0.8 / len(names)
    for index, name in enumerate(names):
        heights = [group.get(name, 0.0) for group in values.values()]
        positions = [position + (index - (len(names) - 1) / 2) * width for position in range(len(values))]
        axes.bar(positions, heights, width, label=name, color=PALETTE[index % len(PALETTE)])
    axes.set_xticks(
        range(len(values)),
        list(values),
        rotation=30 if len(values) > 5 else 0,
        ha="right" if len(values) > 5 else "center",
    )
    axes.set_ylabel(y_label)
    if len(names) > 1:
        axes.legend(frameon=False, labelcolor="#010203")
    return _svg(figure)


def _figure() -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.2), layout="constrained")
    axes = figure.subplots()
    for item in ("top", "right"):
        axes.spines[item].set_visible(False)
    for item in ("bottom", "left"):
        axes.spines[item].set_color("#010203")
    axes.tick_params(colors="#010203", labelsize=9)
    axes.xaxis.label.set_color("#010203")
    axes.yaxis.label.set_color("#010203")
    axes.grid(axis="y", color="#010203", alpha=0.15)
    return figure, axes


def _svg(figure: Any) -> str:
    """The figure as an <svg> element; the ink colour #010203 becomes the page's text colour."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "towerline", "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace("#010203", "currentColor")
    return re.sub(r'width="[^"]*pt" height="[^"]*pt"', 'class="chart" role="img" aria-hidden="true"', text, count=1)
