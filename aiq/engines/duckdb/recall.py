"""Statements whose answers the session has already: evaluated once, with neither stages nor passes to plan for them.

Nothing is asked here. What turns out to have no answer is left to the ordinary way of running a statement.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

import duckdb

from aiq.batch.slots import Pass
from aiq.batch.statement import Statement
from aiq.config.endpoint import Config
from aiq.engines.duckdb import connection as engine
from aiq.engines.duckdb.frames import read_once, variables_of_caller
from aiq.engines.duckdb.prepare import Parameters, Preparation, Read
from aiq.engines.duckdb.prepared import Prepared
from aiq.engines.duckdb.results import Results
from aiq.engines.duckdb.rewrite.lift import Lifted
from aiq.engines.duckdb.rewrite.recalled import Recalling, recalling
from aiq.engines.duckdb.words import in_users_words
from aiq.errors import AiqError
from aiq.functions.call_site import CallSite

KEPT_TEXTS = 64
_Key = tuple[str, str]


class _Known(NamedTuple):
    """A statement that may come again: how it was read, and under which configuration its calls were compiled.

    `plan` is None where it cannot be evaluated without one for passes. `sites` are its calls by their numbers.
    `prepared` is the statement as written, with numbered calls; `columns` are those that it had when its plan was made,
    `names` what its columns are called where a temporary table calls them so.
    """

    read: Read
    config: Config
    plan: Recalling | None
    sites: dict[int, CallSite]
    prepared: Prepared | None = None
    columns: list[tuple[str, str]] | None = None
    names: tuple[list[str], list[str]] | None = None


class Recalled(NamedTuple):
    """The result of a statement that needed no other answers. `relation` is None where it has no rows."""

    relation: duckdb.DuckDBPyRelation | None


class Recall:
    """Runs what one session can run without asking, and remembers the latest `KEPT_TEXTS` of such statements."""

    def __init__(self, con: duckdb.DuckDBPyConnection, preparation: Preparation, results: Results) -> None:
        self._con, self._preparation, self._results = con, preparation, results
        self._known: OrderedDict[_Key, _Known] = OrderedDict()

    def read(self, text: str, params: Parameters, dialect: str) -> Read | None:
        """How a statement was read before, where it would be read so again."""
        known = self._known.get((text, dialect)) if params is None else None
        if known is None:
            return None
        assert known.read.names is not None
        variables = variables_of_caller(known.read.names)
        same = known.config is self._preparation.gateway.config and not read_once(variables)
        if not same or engine.definitions_used(self._con, known.read.written) != known.read.definitions:
            del self._known[text, dialect]
            return None
        self._known.move_to_end((text, dialect))
        return known.read._replace(variables=variables)

    def run(self, read: Read, statement: Statement, key: _Key) -> Recalled | None:
        """Evaluates a statement without asking. None where it has to run in the ordinary way: nothing was changed then.

        `key` is its text and dialect. Raises StatementCancelled, and errors of its answers.
        """
        if read.by_name or read.reason is not None or not engine.Transaction(self._con).own:
            return None
        known = self._known.get(key) if read.names is not None else None
        if known is None:
            known = self._compiled(read, statement)
            if read.names is not None:
                self._known[key] = known
                while len(self._known) > KEPT_TEXTS:
                    self._known.popitem(last=False)
        plan = known.plan
        if plan is None:
            return None
        with engine.sites_of(statement, known.sites) as free:
            found = self._evaluated(plan, key, known, read, statement) if free else None
        if found is None and plan.in_stages:  # its other answers may be far
            self._known[key] = known._replace(plan=None)
        return found

    def learn(self, key: _Key, prepared: Prepared, sites: dict[int, CallSite]) -> None:
        """Takes how a SELECT has run to its end in passes, where `run` knew no way: the next time one will do."""
        known, plan = self._known.get(key), prepared.plan
        if known is None or known.plan is not None or not isinstance(plan, Lifted):
            return
        if plan.kind == "select" and not plan.waits and (plan.rows is None or not plan.rows.stages):
            recalling = Recalling(plan.query, stages=len(plan.stages), in_stages=True, rows=plan.rows)
            columns = self._columns(prepared)
            self._known[key] = known._replace(plan=recalling, sites=sites, prepared=prepared, columns=columns)

    def _compiled(self, read: Read, statement: Statement) -> _Known:
        sites: dict[int, CallSite] = {}
        config = self._preparation.gateway.config
        try:
            prepared = self._preparation.rewrite(read, statement, lambda *_: next(engine.numbers), sites)
        except AiqError:  # the ordinary way says so, or knows better
            return _Known(read, config, None, {})
        plan = recalling(prepared.text)
        if plan is not None and plan.makes and read.values is not None:
            plan = None  # a column may be named after a parameter
        return _Known(read, config, plan, sites, prepared)

    def _evaluated(
        self, plan: Recalling, key: _Key, known: _Known, read: Read, statement: Statement
    ) -> Recalled | None:
        written = known.prepared
        assert written is not None
        prepared = written._replace(text=plan.text, variables=read.variables)
        statement.running = run = Pass(plan.stages - 1, most=0)
        try:
            if plan.makes:
                return Recalled(None) if self._makes(plan, prepared, run) else None
            self._results.drop_unused()
            if plan.rows is not None:
                if self._columns(prepared._replace(text=written.text)) != known.columns:
                    return None  # its tables have other columns now, and the plan knows the old ones
                self._results.fill(plan.rows.table, plan.rows.query, prepared)
            name = engine.new_table()
            rows = self._results.fill(name, plan.text, prepared)
            if run.complete and run.looked_up:
                return Recalled(self._results.relation(name, self._names(name, key, known, prepared), rows))
            self._results.forget(name)
        except duckdb.Error:
            if statement.stopped:
                raise
        finally:
            statement.running = None
            if plan.rows is not None:
                self._results.forget(plan.rows.table)
        return None

    def _names(self, table: str, key: _Key, known: _Known, prepared: Prepared) -> list[str]:
        """What the columns of a result are called: asked for once, as long as the table calls them the same."""
        columns = self._results.columns(table)
        if known.names is None or known.names[0] != columns:
            assert known.prepared is not None
            described = self._columns(prepared._replace(text=known.prepared.text))
            known = known._replace(names=(columns, [in_users_words(name, prepared.calls) for name, _ in described]))
            if key in self._known:
                self._known[key] = known
        assert known.names is not None
        return known.names[1]

    def _columns(self, prepared: Prepared) -> list[tuple[str, str]]:
        """Names and types of a statement's columns, as DuckDB has them now."""
        return [(row[0], row[1]) for row in prepared.execute(self._con, f"DESCRIBE\n{prepared.text}").fetchall()]

    def _makes(self, plan: Recalling, prepared: Prepared, run: Pass) -> bool:
        """Makes a table; takes it back where an answer was missing."""
        with engine.Transaction(self._con) as transaction:
            if plan.made is not None and engine.table_exists(self._con, plan.made):
                return False
            prepared.execute(self._con, plan.text).fetchall()
            if run.complete and run.looked_up:
                return True
            transaction.restart()
            return False
