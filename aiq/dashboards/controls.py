"""Filters as controls of a form whose state is the page's URL: `?f.endpoint=chat&f.period.from=now-7d/d`.

An empty value is everything; a filter that the URL does not name is as the file has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from urllib.parse import parse_qsl, urlencode

from aiq.dashboards.filters import PageScope, default_of
from aiq.dashboards.model import Board, Page, Selection, Widget, flag_at, objects_at, text_at
from aiq.dashboards.numbers import Numbers
from aiq.errors import AiqError

FORM = "filters"
_RANGES = ("filter-date-range-picker", "range-slider")
_TIMES = ("now-1h", "now-24h", "now/d", "now-7d/d", "now-30d/d", "now-90d/d", "now-12M/M", "now")


def chosen_of(query: str, board: Board) -> dict[str, Selection]:
    """What a URL chooses of a board's filters, by their names."""
    given: dict[str, list[str]] = {}
    for key, value in parse_qsl(query, keep_blank_values=True, max_num_fields=1000):
        given.setdefault(key, []).append(value)
    chosen = {}
    for widget in board.filters():
        key, data_type = f"f.{widget.name}", data_type_of(widget, board)
        if widget.kind in _RANGES:
            ends = [given.get(f"{key}.{end}") for end in ("from", "to")]
            if any(each is not None for each in ends):
                low, high = (each[-1].strip() or None if each else None for each in ends)
                chosen[widget.name] = Selection((), low, high, data_type)
        elif key in given:
            chosen[widget.name] = Selection(tuple(filter(None, given[key])), data_type=data_type)
    return chosen


def state_of(chosen: Mapping[str, Selection], widgets: Iterable[Widget]) -> list[tuple[str, str]]:
    """The part of a URL that chooses this of some filters, as names and values."""
    found = []
    for widget in widgets:
        selection = chosen.get(widget.name)
        if selection is None:
            continue
        if widget.kind in _RANGES:
            found += [(f"f.{widget.name}.from", selection.low or ""), (f"f.{widget.name}.to", selection.high or "")]
        else:
            found += [(f"f.{widget.name}", value) for value in selection.values or ("",)]
    return found


def query_of(chosen: Mapping[str, Selection], board: Board, page: Page, refresh: str) -> str:
    """The query of the URL of a page that chooses this."""
    more = [("refresh", refresh)] if refresh else []
    return urlencode([("page", page.name), *more, *state_of(chosen, board.filters())])


def data_type_of(widget: Widget, board: Board) -> str:
    """The type of what a filter chooses: its default's, its parameter's, else that of its kind."""
    if (default := default_of(widget)) is not None:
        return default.data_type
    datasets = {query.name: board.datasets.get(query.dataset) for query in widget.queries}
    for each in objects_at(widget.spec, "encodings", "fields"):
        dataset = datasets.get(text_at(each, "queryName"))
        for parameter in dataset.parameters if dataset is not None else ():
            if parameter.keyword == text_at(each, "parameterName"):
                return parameter.data_type
    return "DATE" if "date" in widget.kind else "STRING"


def control_html(
    widget: Widget, board: Board, selection: Selection | None, numbers: Numbers, scope: PageScope, title: str
) -> str:
    """The control of a filter. `scope` is what other filters choose."""
    key, name = escape(f"f.{widget.name}"), escape(title)
    selection = selection or Selection()
    if widget.kind in _RANGES:
        ends = (("from", selection.low, "From"), ("to", selection.high, "To"))
        is_time = "date" in widget.kind
        hint = ' list="times" placeholder="2026-11-01 or now-7d/d"' if is_time else ' inputmode="decimal"'
        return "".join(
            f'<label>{words} <input form="{FORM}" name="{key}.{end}" value="{escape(value or "")}"'
            f' aria-label="{name}: {words}"{hint} size="{14 if is_time else 8}"></label> '
            for end, value, words in ends
        )
    if widget.kind in ("filter-text-entry", "filter-date-picker"):
        more = ' list="times" placeholder="2026-11-01 or now/d"' if "date" in widget.kind else ' type="search"'
        value = escape(", ".join(selection.values[:1]))
        return f'<input form="{FORM}" name="{key}" value="{value}" aria-label="{name}"{more}>'
    several = widget.kind == "filter-multi-select"
    try:
        offered = _offered(widget, numbers, scope)
    except AiqError as error:
        return f'<p class="problem">{escape(str(error))}</p>'
    if offered is None:
        value = escape(", ".join(selection.values[:1]))
        return f'<input form="{FORM}" name="{key}" value="{value}" aria-label="{name}">'
    values = list(dict.fromkeys([*selection.values, *offered]))
    options = "".join(
        f'<option value="{escape(value)}"{" selected" if value in selection.values else ""}>{escape(value)}</option>'
        for value in values
    )
    if several:
        hidden = f'<input type="hidden" form="{FORM}" name="{key}" value="">'
        size = min(max(len(values), 2), 4)
        return (
            f'{hidden}<select multiple size="{size}" form="{FORM}" name="{key}" aria-label="{name}">{options}</select>'
        )
    every = "" if flag_at(widget.spec, "disallowAll") else '<option value="">All</option>'
    return f'<select form="{FORM}" name="{key}" aria-label="{name}">{every}{options}</select>'


def _offered(widget: Widget, numbers: Numbers, scope: PageScope) -> list[str] | None:
    """The values of a filter's fields; None where it has only parameters."""
    queries = {query.name: query for query in widget.queries}
    found: list[str] = []
    fields = [each for each in objects_at(widget.spec, "encodings", "fields") if text_at(each, "fieldName")]
    if not fields:
        return None
    problem: AiqError | None = None
    for each in fields:
        query = queries.get(text_at(each, "queryName"))
        if query is None:
            continue
        try:
            found += numbers.options(query, text_at(each, "fieldName"), scope)
        except AiqError as error:
            problem = error
    if not found and problem is not None:
        raise problem
    return sorted(set(found))


def form_html(
    board: Board, page: Page, chosen: Mapping[str, Selection], refresh: str, refreshes: Iterable[tuple[str, str]]
) -> str:
    """The form that the controls belong to: the page, how often it is refreshed, what other pages' filters choose."""
    here = {widget.name for widget in board.filters_of(page)}
    others = state_of(chosen, [widget for widget in board.filters() if widget.name not in here])
    kept = "".join(f'<input type="hidden" name="{escape(key)}" value="{escape(value)}">' for key, value in others)
    options = "".join(
        f'<option value="{value}"{" selected" if value == refresh else ""}>{words}</option>'
        for value, words in refreshes
    )
    times = "".join(f'<option value="{each}">' for each in _TIMES)
    return (
        f'<form id="{FORM}" class="filters" method="get">{kept}'
        f'<input type="hidden" name="page" value="{escape(page.name)}">'
        f'<label>Refresh <select name="refresh">{options}</select></label> <button>Apply</button></form>'
        f'<datalist id="times">{times}</datalist>'
    )
