"""The log at a glance, from the data gate's verdict: volumes by day, the funnel, alarms, and why rows are bad."""

from typing import Any

from components.runs.plots import Chart, day_panels

_PANELS = {
    "searches": "searches",
    "shoppers": "shoppers",
    "impression": "impressions",
    "click": "clicks",
    "order": "orders",
    "clicks_per_impression": "clicks per impression",
}
_STEPS = (("impression", "shown"), ("click", "clicked"), ("cart", "put into the cart"), ("favourite", "favourited"),
          ("order", "ordered"))  # fmt: skip


def log_view(verdict: dict[str, Any]) -> dict[str, Any]:
    """What the report shows of a verdict (`data_gate.json`).

    Returns `{"reason", "rows", "alarms", "compared_with", "quarantine", "unreadable", "judged", "notes",
    "day_chart", "limit_chart", "funnel", "funnel_days"}`; `funnel` is a list of `{"step", "events", "share": of the
    largest step, "of_clicks"}` over the days that have impressions, `funnel_days` of them, or over all days where none
    has.
    """
    days = verdict.get("days", [])
    shown = [day for day in days if day.get("impression")]
    panels = {label: [day.get(name) for day in days] for name, label in _PANELS.items()}
    return {
        "reason": verdict["reason"],
        "rows": verdict.get("rows", {}),
        "alarms": sorted(verdict.get("alarms", []), key=lambda alarm: alarm["severity"] != "stop"),
        "compared_with": verdict.get("compared_with", []),
        "quarantine": verdict.get("quarantine", []),
        "unreadable": verdict.get("unreadable_files", {}),
        "judged": _span(verdict.get("judged_days") or [verdict.get("newest_day") or "The log"]),
        "notes": verdict.get("notes", []),
        "day_chart": day_panels("Each day of the log, the newest marked", [day["day"] for day in days], panels),
        "limit_chart": _limit_chart([day["day"] for day in days], verdict.get("limits", [])),
        "funnel": _funnel(shown or days),
        "funnel_days": len(shown),
    }


def _limit_chart(days: list[str], limits: list[dict[str, Any]]) -> Chart | None:
    names = [item["measure"] if item["measure"] == "searches" else f"{item['measure']}s" for item in limits]
    panels = {name: item["times"] for name, item in zip(names, limits, strict=True)}
    bounds = {name: (item["warn"], item["stop"]) for name, item in zip(names, limits, strict=True)}
    return day_panels("Each day's volume in usual days, with the limits of the gate", days, panels, bounds)


def _span(days: list[str]) -> str:
    return days[0] if len(days) == 1 else f"Each of the {len(days)} days from {days[0]} to {days[-1]}"


def _funnel(days: list[dict[str, Any]]) -> list[dict[str, Any]]:
    totals = {name: sum(day.get(name) or 0 for day in days) for name, _ in _STEPS}
    top = max(totals.values(), default=0)
    if not top:
        return []
    clicks = totals["click"]
    return [
        {
            "step": label,
            "events": totals[name],
            "share": totals[name] / top,
            "of_clicks": totals[name] / clicks if clicks and name not in ("impression", "click") else None,
        }
        for name, label in _STEPS
        if totals[name]
    ]
