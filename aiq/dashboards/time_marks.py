"""Marks on the charts that go over time: the rows of a board's dataset `aiq_marks`, columns `mark_time` and `mark`.

The name is ours. To Databricks it is a dataset as any other, and no mark is drawn there.
"""

from __future__ import annotations

from typing import Any

from aiq.dashboards.filters import PageScope
from aiq.dashboards.formats import when
from aiq.dashboards.marks import milliseconds, shown_plain
from aiq.dashboards.model import QueryField, WidgetQuery, at
from aiq.dashboards.numbers import Numbers
from aiq.dashboards.specs import Chart
from aiq.errors import AiqError

DATASET = "aiq_marks"
LAYER = "marks"
MOST = 20
"""More lines hide what they stand on."""
_QUERY = WidgetQuery(
    LAYER,
    DATASET,
    (QueryField("mark_time", "`mark_time`"), QueryField("mark", "`mark`")),
    orders=(("`mark_time`", True),),
)


def with_time_marks(chart: Chart, numbers: Numbers, scope: PageScope) -> Chart:
    """A chart with a line at each mark within its times, the latest ones; other charts as they are."""
    layers = chart.spec["layer"]
    times = [
        row[key]
        for layer in layers
        for row in at(layer, "data", "values") or at(chart.spec, "data", "values") or ()
        for key in ("x", "x_end")
        if isinstance(row.get(key), float)
    ]
    if not numbers.has(DATASET) or not times or at(layers[0], "encoding", "x", "type") != "temporal":
        return chart
    try:
        figures = numbers.figures(_QUERY, scope)
    except AiqError as error:
        return Chart(chart.spec, f"{chart.note} The marks of {DATASET} are not drawn: {error}".strip())
    found: dict[float, dict[str, Any]] = {}
    for moment, words in figures.rows:
        place = milliseconds(moment)
        if place is None or not min(times) <= place <= max(times):
            continue
        mark = found.setdefault(place, {"x": place, "x_text": when(moment), "mark_text": shown_plain(words)})
        if shown_plain(words) not in mark["mark_text"].split("; "):
            mark["mark_text"] += f"; {shown_plain(words)}"
    if not found:
        return chart
    layer = {
        "name": LAYER,
        "data": {"values": list(found.values())[:MOST]},
        "mark": {"type": "rule", "strokeDash": [2, 3], "color": "#888888"},
        "encoding": {
            "x": {"field": "x", "type": "temporal", "scale": {"type": "utc"}},
            "tooltip": [{"field": f"{key}_text", "type": "nominal", "title": title} for key, title in _WORDS],
        },
    }
    note = f"Marks: the {MOST} latest of {len(found):,}." if len(found) > MOST else ""
    return Chart({**chart.spec, "layer": [*layers, layer]}, f"{chart.note} {note}".strip())


_WORDS = (("x", "Mark:"), ("mark", "What:"))
