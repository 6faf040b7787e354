"""What filters choose on a page: values of datasets' parameters, and conditions on their rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiq.dashboards.model import Board, Page, Selection, Widget, at, flag_at, objects_at, text_at
from aiq.dashboards.read import selection_of


@dataclass(frozen=True, slots=True)
class Condition:
    """What the rows of a dataset must meet: an expression is one of the values, or within the range."""

    expression: str
    selection: Selection
    match: str = ""
    """Of a text entry: contains, exact-match or starts-with."""
    excludes: bool = False
    case_sensitive: bool = False


@dataclass(slots=True)
class PageScope:
    """What holds for the datasets of a page, by their names."""

    values: dict[str, dict[str, Selection]] = field(default_factory=dict)
    conditions: dict[str, list[Condition]] = field(default_factory=dict)


def default_of(widget: Widget) -> Selection | None:
    """What a filter chooses before anyone has."""
    return selection_of(at(widget.spec, "selection", "defaultSelection"))


def scope_of(board: Board, page: Page, chosen: Mapping[str, Selection]) -> PageScope:
    """What the filters of a page choose, each by its name in `chosen`, else as the file says."""
    scope = PageScope()
    for widget in board.filters_of(page):
        selection = chosen[widget.name] if widget.name in chosen else default_of(widget)
        if not selection:
            continue
        queries = {query.name: query for query in widget.queries}
        for each in objects_at(widget.spec, "encodings", "fields"):
            query = queries.get(text_at(each, "queryName"))
            if query is None:
                continue
            if parameter := text_at(each, "parameterName"):
                keyword = query.parameters.get(parameter) or parameter
                scope.values.setdefault(query.dataset, {})[keyword] = selection
                continue
            name = text_at(each, "fieldName")
            if not name:
                continue
            expression = next((one.expression for one in query.fields if one.name == name), f"`{name}`")
            text_entry = widget.kind == "filter-text-entry"
            wanted = selection
            if widget.kind == "filter-date-picker" and len(selection.values) == 1:  # the whole of that day
                wanted = Selection((), selection.values[0], selection.values[0], selection.data_type)
            scope.conditions.setdefault(query.dataset, []).append(
                Condition(
                    expression,
                    wanted,
                    (text_at(widget.spec, "matchMode") or "contains") if text_entry else "",
                    flag_at(widget.spec, "exclude"),
                    flag_at(widget.spec, "isCaseSensitive"),
                )
            )
    return scope


def condition_sql(sql: str, condition: Condition, values: list[Any], name: str) -> tuple[str, dict[str, Any]]:
    """A condition as Databricks SQL on the expression `sql`, and its parameters, called `name` and a number.

    `values` are the selection's, typed: low and high of a range.
    """
    params = {f"{name}_{number}": value for number, value in enumerate(values)}
    if condition.match:
        lower = "" if condition.case_sensitive else "lower"
        function = {"starts-with": "startswith", "exact-match": ""}.get(condition.match, "contains")
        tests = [
            f"{function}({lower}(CAST({sql} AS STRING)), {lower}(:{key}))"
            if function
            else f"{lower}(CAST({sql} AS STRING)) = {lower}(:{key})"
            for key in params
        ]
        text = " OR ".join(tests)
    elif condition.selection.is_range:
        low, high = values
        tests = [f"({sql}) >= :{name}_0"] * (low is not None) + [f"({sql}) <= :{name}_1"] * (high is not None)
        params = {key: value for key, value in params.items() if value is not None}
        text = " AND ".join(tests)
    else:
        text = f"({sql}) IN ({', '.join(f':{key}' for key in params)})"
    return (f"NOT COALESCE({text}, FALSE)" if condition.excludes else f"({text})"), params
