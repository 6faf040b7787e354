"""The numbers of a board's widgets: runs the query of each dataset once, and what widgets ask of its rows.

Values are bound and never pasted. What is not shown of many rows is said in `Figures.note`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

import duckdb

from aiq.dashboards.allowed_files import in_words
from aiq.dashboards.default_names import with_full_names
from aiq.dashboards.expressions import check_query, is_aggregate, same_in_duckdb, to_sql
from aiq.dashboards.filters import Condition, PageScope, condition_sql
from aiq.dashboards.model import Board, Dataset, Selection, WidgetQuery
from aiq.dashboards.parameters import bound, names_in, plain_text, typed_value
from aiq.errors import AiqError

if TYPE_CHECKING:
    from aiq.engines.duckdb.session import DuckDBSession

MAX_ROWS = 200_000
"""Rows that a widget may have for one chart, before it is cut to what can be seen."""
_OPTIONS = 1_000
"""Values that a filter offers."""


_NUMBERS = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Figures:
    """The rows of a widget's query. `types` are DuckDB's names; `total` counts the rows that the query has."""

    names: tuple[str, ...]
    types: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    total: int
    note: str = ""

    def column(self, name: str) -> int | None:
        """The place of a field, None where there is none."""
        return self.names.index(name) if name in self.names else None


class Numbers:
    """What one opening of a board computes, in temporary tables of a session, in UTC. To be closed."""

    def __init__(self, session: DuckDBSession, board: Board, now: datetime | None = None) -> None:
        self._session, self._board = session, board
        self.now = now or datetime.now(UTC)
        self._tables: dict[tuple[str, str], str | AiqError] = {}
        self._zone = session.con.execute("SELECT current_setting('TimeZone')").fetchall()[0][0]
        session.con.execute("SET TimeZone = 'UTC'")

    def close(self) -> None:
        """Drops the rows of the datasets, and gives the session its time zone back."""
        for table in self._tables.values():
            if isinstance(table, str):
                self._session.con.execute(f"DROP TABLE IF EXISTS temp.{table}")
        self._tables.clear()
        self._session.con.execute("SET TimeZone = $1", [self._zone])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def figures(
        self,
        query: WidgetQuery,
        scope: PageScope,
        limit: int = MAX_ROWS,
        *,
        sampled: bool = False,
        shape: Callable[[str, list[str]], str] | None = None,
    ) -> Figures:
        """The rows of a widget's query, at most `limit`: the first ones, or (`sampled`) evenly from all of them.

        `shape` may put a query around it: from its text and the names of its columns. Raises AiqError in words for
        the widget's tile.
        """
        try:
            return self._figures(query, scope, limit, sampled, shape)
        except duckdb.Error as error:
            raise AiqError(in_words(error)) from None

    def options(self, query: WidgetQuery, name: str, scope: PageScope) -> list[str]:
        """The values of a filter's field, as texts, in order. Raises AiqError."""
        wanted = [each for each in query.fields if each.name == name]
        found = self.figures(WidgetQuery(query.name, query.dataset, tuple(wanted)), scope, _OPTIONS)
        return [plain_text(row[0]) for row in sorted(row for row in found.rows if row[0] is not None)]

    def _figures(
        self,
        query: WidgetQuery,
        scope: PageScope,
        limit: int,
        sampled: bool,
        shape: Callable[[str, list[str]], str] | None,
    ) -> Figures:
        dataset = self._dataset(query.dataset)
        chosen = scope.values.get(dataset.name, {}) | dict(query.values)
        table = self._table(dataset, chosen)
        if not query.fields:
            raise AiqError("the widget asks for no fields")
        sqls = [to_sql(each.expression, dataset.columns) for each in query.fields]
        where, params = self._where(dataset, query, table, scope.conditions.get(dataset.name, ()))
        orders = [self._order(query, dataset, *order) for order in query.orders]
        keys = [str(number) for number, sql in enumerate(sqls, 1) if not is_aggregate(sql)]
        grouped = not query.rows_as_they_are or len(keys) < len(sqls)  # pivots aggregate all the same
        names = [f"field_{number}" for number in range(1, len(sqls) + 1)]

        def text_of(spelled: Sequence[str]) -> str:
            text = "SELECT " + ", ".join(f"{sql} AS {name}" for sql, name in zip(spelled, names, strict=True))
            text += f"\nFROM {table}" + (f"\nWHERE {' AND '.join(where)}" if where else "")
            text += f"\nGROUP BY {', '.join(keys)}" if grouped and keys else ""
            return text + (f"\nORDER BY {', '.join(orders)}" if orders else "")

        relation = None
        if shape is None and not where and all(order.split()[0].isdecimal() for order in orders):
            relation = self._untranslated(table, sqls, text_of)
        if relation is None:
            text = text_of(sqls) if shape is None else shape(text_of(sqls), names)
            values = self._bound(dataset, chosen, text) | params
            relation = self._session.sql(text, values or None, dialect="databricks")
        assert relation is not None
        fields = tuple(each.name for each in query.fields) if shape is None else tuple(relation.columns)
        types = tuple(str(each) for each in relation.types)
        rows = relation.limit(limit + 1).fetchall()
        if len(rows) <= limit:
            return Figures(fields, types, rows, len(rows))
        total = int(relation.aggregate("count(*)").fetchall()[0][0])
        if not sampled:
            return Figures(fields, types, rows[:limit], total, f"The first {limit:,} of {total:,} rows.")
        step = -(-total // limit)
        numbered = "SELECT *, row_number() OVER () AS row_number_of_all FROM every_row"
        picked = f"SELECT * EXCLUDE row_number_of_all FROM ({numbered}) WHERE row_number_of_all % {step} = 1"
        sample = relation.query("every_row", picked)
        assert sample is not None
        return Figures(fields, types, sample.fetchall(), total, f"Every {_nth(step)} of {total:,} rows.")

    def _untranslated(
        self, table: str, sqls: Sequence[str], text_of: Callable[[Sequence[str]], str]
    ) -> duckdb.DuckDBPyRelation | None:
        """A widget's query that means the same to DuckDB, run by it: a translation takes longer than most queries.

        None where it may mean something else: SUM adds texts and refuses booleans in Databricks SQL.
        """
        columns = self._session.con.table(f"temp.{table}")
        kinds = dict(zip(map(str.lower, columns.columns), map(str, columns.types), strict=True))
        spelled = [same_in_duckdb(sql, kinds) for sql in sqls]
        return None if None in spelled else self._session.con.sql(text_of([each for each in spelled if each]))

    def has(self, dataset: str) -> bool:
        """Whether the board has a dataset of this name."""
        return dataset in self._board.datasets

    def _dataset(self, name: str) -> Dataset:
        if name not in self._board.datasets:
            raise AiqError(f"the file has no dataset {name!r}" if name else "the widget names no dataset")
        return self._board.datasets[name]

    def _bound(self, dataset: Dataset, chosen: Mapping[str, Selection], text: str) -> dict[str, Any]:
        """The dataset's parameters that the text of a widget names itself."""
        own = {each.keyword for each in dataset.parameters} & names_in(text)
        if not own:
            return {}
        return bound(Dataset(dataset.name, dataset.title, text, dataset.parameters), chosen, self.now)

    def _table(self, dataset: Dataset, chosen: Mapping[str, Selection]) -> str:
        """The temporary table with the rows of a dataset, made where it is not there."""
        values = bound(dataset, chosen, self.now)
        key = (dataset.name, repr(sorted(values.items())))
        found = self._tables.get(key)
        if found is None:
            found = self._tables[key] = self._made(dataset, values)
        if isinstance(found, AiqError):
            raise found
        return found

    def _made(self, dataset: Dataset, values: Mapping[str, Any]) -> str | AiqError:
        table = f"dataset_{next(_NUMBERS)}"
        try:
            text = with_full_names(check_query(dataset.text, dataset.title), dataset)
            relation = self._session.sql(text, dict(values) or None, dialect="databricks")
            if relation is None:
                return AiqError(f"the dataset {dataset.title} gives no rows")
            relation.query("every_row", f"CREATE TEMP TABLE {table} AS SELECT * FROM every_row")
            return table
        except duckdb.Error as error:
            return AiqError(in_words(error))
        except AiqError as error:
            return error

    def _where(
        self, dataset: Dataset, query: WidgetQuery, table: str, conditions: Sequence[Condition]
    ) -> tuple[list[str], dict[str, Any]]:
        """The conditions of the query itself and of filters, and the values to bind."""
        found = [f"({to_sql(each, dataset.columns)})" for each in query.conditions]
        params: dict[str, Any] = {}
        for number, condition in enumerate(conditions, 1):
            sql = to_sql(condition.expression, dataset.columns)
            typed = self._typed(condition, sql, table)
            if not typed:  # a number or time that is empty chooses nothing
                continue
            text, values = condition_sql(sql, condition, typed, f"chosen_{number}")
            found.append(text)
            params |= values
        return found, params

    def _typed(self, condition: Condition, sql: str, table: str) -> list[Any]:
        """The values of a condition, as the expression's type compares them."""
        selection = condition.selection
        if condition.match:
            return list(selection.values)
        described = self._session.sql(f"SELECT {sql} AS field_1 FROM {table} LIMIT 0", dialect="databricks")
        assert described is not None
        data_type = _typed_as(str(described.types[0]))

        def typed(text: str | None, *, high: bool = False) -> Any:
            if text is None:
                return None
            if data_type == "BOOLEAN":
                return text.lower() == "true"
            return typed_value(text, data_type, self.now, high=high, of=sql)

        if selection.is_range:
            return [typed(selection.low), typed(selection.high, high=True)]
        return [typed(value) for value in selection.values if value or data_type == "STRING"]

    def _order(self, query: WidgetQuery, dataset: Dataset, expression: str, descends: bool) -> str:
        """What ORDER BY needs: the place of a field that has this expression or name, else the expression."""
        places = [n for n, each in enumerate(query.fields, 1) if expression in (each.expression, f"`{each.name}`")]
        sql = str(places[0]) if places else to_sql(expression, dataset.columns)
        return sql + (" DESC NULLS LAST" if descends else " ASC NULLS FIRST")


def _typed_as(duckdb_type: str) -> str:
    """Databricks' name of the kind of value that a column has."""
    if duckdb_type.startswith("TIMESTAMP"):
        return "DATETIME"
    if duckdb_type in ("DATE", "BOOLEAN"):
        return duckdb_type
    if duckdb_type.startswith(("DECIMAL", "DOUBLE", "FLOAT")):
        return "DECIMAL"
    return "INTEGER" if "INT" in duckdb_type else "STRING"


def _nth(number: int) -> str:
    end = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{end}"
