"""Makes a statement's text ready for DuckDB: dialect, parameters, the ledger's tables, and the AI calls.

Knows what a statement says; runs nothing but its constants.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import duckdb

from aiq.batch.statement import Statement
from aiq.config.nearest import nearest
from aiq.engines.duckdb import connection as engine
from aiq.engines.duckdb.dialect import expression_to_duckdb
from aiq.engines.duckdb.frames import read_once, reads_pipe, variables_of_caller
from aiq.engines.duckdb.inner_names import may_be_read, with_names
from aiq.engines.duckdb.prepared import Described, Prepared, error_as_written, quoted
from aiq.engines.duckdb.refused_places import check_places
from aiq.engines.duckdb.rewrite import tree
from aiq.engines.duckdb.rewrite.lift import Lifted, LiftOptions, NotLifted, lift, reason_not_to
from aiq.engines.duckdb.rewrite.numbered import PREFIX, TYPE
from aiq.engines.duckdb.rewrite.parts import parts
from aiq.engines.duckdb.spark_values import needs_values, provide, translated
from aiq.engines.duckdb.views import with_views
from aiq.engines.duckdb.words import REQUEST, error_in_users_words, name_of_call
from aiq.errors import StatementError
from aiq.functions.call_site import CallSite
from aiq.functions.signature import FUNCTION, PARAMETERS, bind, in_pairs
from aiq.gateway import Gateway
from aiq.ledger.gateway_usage import GATEWAY_USAGE_VIEW
from aiq.ledger.prices import price_of
from aiq.ledger.records import CALLS_TABLE, PAYLOAD_SCHEMA, SYSTEM_TABLES
from aiq.sql import calls
from aiq.statements.commit import commit
from aiq.statements.sites import compiled

Parameters = Sequence[Any] | Mapping[str, Any] | None
Numbering = Callable[[Statement, CallSite], int]

_TYPICAL_TOKENS = (200, 100)
_OF_TRANSACTION = re.compile(r"(begin|start\s+transaction|commit|end|rollback|abort)\b", re.IGNORECASE)
_UNTYPED = re.compile(rf"\|\||\b(select|from|over|unnest)\b|{PREFIX}", re.IGNORECASE)
"""In requests of which the type is known to be text, or which must not be written twice."""
_DEFINITION = re.compile(r"(prepare|create|alter)\b", re.IGNORECASE)


class Read(NamedTuple):
    """A statement before its AI calls are compiled. `asks` is false where it has none.

    `reason` says why it must not be evaluated more than once. `names` are the words in it that may be names, None
    where the same text may be read in another way the next time; `definitions` the SQL of the views and macros that it
    uses. `written` is the text before views were put in their places.
    """

    text: str
    values: dict[str, Any] | None
    variables: dict[str, Any]
    asks: bool = False
    by_name: bool = False
    reason: str | None = None
    names: set[str] | None = None
    definitions: Sequence[str] = ()
    written: str = ""


def _with_placeholder(call: calls.Call) -> str:
    """A call's text with `REQUEST` in the place of its request."""
    arguments = []
    for position, argument in enumerate(call.arguments):
        name = argument.name.lower() if argument.name is not None else PARAMETERS[position].lower()
        text = REQUEST if name == "request" else argument.text
        arguments.append(text if argument.name is None else f"{argument.name} := {text}")
    return f"{FUNCTION}({', '.join(arguments)})"


class Preparation:
    """Prepares the statements of one session."""

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        gateway: Gateway,
        expanded: Callable[[str, str], str] = lambda text, _: text,
    ) -> None:
        """`expanded` spells out the kept functions and views of a text in a dialect."""
        self.con, self.gateway, self._expanded = con, gateway, expanded

    def read(self, text: str, params: Parameters, dialect: str) -> Read:
        """A statement as DuckDB reads it, its AI calls still as written. Raises StatementError; no call is made."""
        _check_text(text, params)
        if dialect not in ("duckdb", "databricks"):
            raise StatementError(f"dialect must be 'duckdb' or 'databricks', not '{dialect}'")
        # Databricks' strings escape with a backslash, so its text is translated before anything reads it as DuckDB's.
        as_given = text
        if dialect == "databricks":
            text = translated(self.con, spelled := self._expanded(text, dialect))
        tokens = calls.tokenize(text)
        if calls.has_backticks(tokens):
            text = translated(self.con, spelled := self._expanded(text, "databricks"))
            tokens = calls.tokenize(text)
        elif dialect == "duckdb" and (spelled := self._expanded(text, dialect)) != text:
            text, tokens = spelled, calls.tokenize(spelled)
        if calls.statements(text, tokens) > 1:
            raise StatementError("session.sql runs one statement; run the statements one by one")
        names = calls.identifiers(tokens)
        variables = variables_of_caller(names)
        named = calls.has_three_part_name(tokens)
        original = text
        text, values = _named_parameters(text, tokens, params)
        begins = text[tokens[0].start :] if tokens else ""  # after comments
        if _OF_TRANSACTION.match(begins):  # an aborted one takes no other statement, ours neither
            return Read(text, values, variables)
        if named:
            text = self._with_ledger_tables(text)
        if _DEFINITION.match(begins) and parts(text) is None:
            return Read(text, values, variables)  # what is kept for later keeps its text; it runs where it is used
        written, inlined = text, frozenset[str]()
        definitions = engine.definitions_used(self.con, text)
        if any(map(needs_values, definitions)):
            provide(self.con)
        if any(FUNCTION in sql for sql in definitions):
            text, inlined = with_views(self.con, text)
        found = bool(calls.find_calls(text, tokens if text == original else calls.tokenize(text)))
        by_name = any(FUNCTION in sql for sql in definitions if sql not in inlined)
        if not found and not by_name:
            return Read(text, values, variables)
        reason = reason_not_to(" ".join([text, *definitions]), engine.volatile_functions(duckdb.__version__))
        if once := read_once(variables):
            reason = f"the variable {once} gives its rows only once"
        again = None if named or values is not None or spelled != as_given else names
        return Read(text, values, variables, True, by_name, reason, again, definitions, written)

    def prepare(
        self,
        text: str,
        params: Parameters,
        dialect: str,
        statement: Statement,
        number: Numbering,
        *,
        apart: bool = False,
    ) -> Prepared:
        """Raises StatementError or FunctionError; no call is made. `apart`: as of `LiftOptions`."""
        return self.plan(self.read(text, params, dialect), statement, number, apart=apart)

    def plan(self, read: Read, statement: Statement, number: Numbering, *, apart: bool = False) -> Prepared:
        """How a statement runs. Raises as `prepare` does, and what DuckDB says of it without looking at a row."""
        text, values, variables = read.text, read.values, read.variables
        if not read.asks:
            return Prepared(text, values, variables)
        numbers: dict[int, CallSite] = {}
        if reads_pipe(read.text):  # even planning it reads it
            waiting = self._rewrite(read, statement, number, {}, pure=False)
            return waiting._replace(plan=NotLifted("it reads a pipe, which gives its rows only once"))
        if not calls.is_closed(calls.tokenize(read.text)):  # DuckDB's words on it, not ours on what would be a call
            unread = Prepared(read.written, values, variables, written=read.written)
            if (said := error_as_written(self.con, unread)) is not None:
                raise error_in_users_words(said, {}, read.written)
        own, named = engine.Transaction(self.con).own, False
        prepared = self.rewrite(read, statement, number, numbers)
        described = Described(self.con, prepared, statement, own=own)
        try:
            described.check()
        except duckdb.Error as error:
            if isinstance(error, duckdb.BinderException) and own:  # it may read a column by the name of a call
                numbers.clear()
                again = self._rewrite(read, statement, number, numbers, pure=True, named=True)
                described, named = Described(self.con, again, statement, own=own), True
            if not named or not described.binds(again.text):
                raise error_in_users_words(
                    error, prepared.calls, read.written, bind=partial(error_as_written, self.con, prepared)
                ) from None
            prepared = again

        def cost(site: int) -> float:
            return self._typical_cost(numbers[site])

        volatile = engine.volatile_functions(duckdb.__version__)
        how = LiftOptions(cost, described, engine.new_table, volatile, read.reason, apart=apart)
        plan = lift(prepared.text, how)
        if isinstance(plan, Lifted) and plan.writes:
            if plan.changed and not described.binds(plan.query):
                plan = lift(prepared.text, how._replace(rules=False))
            if isinstance(plan, Lifted) and not own:
                plan = plan._replace(
                    waits="it changes rows, and in your own transaction nothing can be taken back alone"
                )
        if isinstance(plan, Lifted) and not own and tree.kind_of(prepared.text) == "MULTI":
            plan = plan._replace(waits="it pivots by answers, and an error of it would end your own transaction")
        if isinstance(plan, Lifted):
            for stage, members in reversed(list(enumerate(plan.all_stages))):
                for member in members:  # one call in several places asks where it is needed first
                    numbers[member].stage = stage
            return prepared._replace(text=plan.text, plan=plan)
        waiting = self._rewrite(read, statement, number, {}, pure=False, named=named)
        return waiting._replace(plan=plan)

    def rewrite(self, read: Read, statement: Statement, number: Numbering, numbers: dict[int, CallSite]) -> Prepared:
        """The statement with its AI calls as numbered calls that look answers up. `numbers` gets the call sites."""
        return self._rewrite(read, statement, number, numbers, pure=True)

    def _rewrite(
        self,
        read: Read,
        statement: Statement,
        number: Numbering,
        numbers: dict[int, CallSite],
        *,
        pure: bool,
        named: bool = False,
    ) -> Prepared:
        """Every AI call as a numbered call of the UDF of its result type. `numbers` gets the call sites.

        With `named`, calls that are columns get the name that DuckDB would give them: it may be read by that name.

        Calls of the same words get the same number, so that DuckDB sees the same expression, as GROUP BY needs.
        """
        same: dict[tuple[str, ...], str] = {}
        written: dict[int, str] = {}

        def compile_call(call: calls.Call) -> str:
            words = calls.words(call.text)
            if words not in same:
                site, request = self._compile(call, read.values or {})
                own = number(statement, site)
                numbers[own] = site
                written[own] = name_of_call(_with_placeholder(call))
                statement.check_price(site.endpoint.name, site.task)
                same[words] = f"{engine.function_for(self.con, site.type, pure=pure)}({own}, {request})"
            compiled = same[words]
            return f"{compiled} AS {quoted(name_of_call(call.text))}" if named and call.is_column else compiled

        text = calls.rewrite_calls(read.text, compile_call)
        check_places(text)
        if not named and may_be_read(text):
            of_query = with_names(text, written)
            named = of_query is None
            text = calls.rewrite_calls(read.text, compile_call) if of_query is None else of_query
        return Prepared(text, read.values, read.variables, by_name=read.by_name, calls=written, written=read.written)

    def _typical_cost(self, site: CallSite) -> float:
        """US dollars of a typical request: what orders AI predicates whose answers nobody has seen yet."""
        tag = price_of(site.endpoint.entities[0], self.gateway.config.settings.prices)
        return 0.0 if tag is None else _TYPICAL_TOKENS[0] * tag.per_input + _TYPICAL_TOKENS[1] * tag.per_output

    def _compile(self, call: calls.Call, values: dict[str, Any]) -> tuple[CallSite, str]:
        """The call site of one call, and the SQL of its request and files."""
        written = [(a.name, expression_to_duckdb(a.text, calls.tokenize(a.text))) for a in call.arguments]
        bound = bind(in_pairs(written))

        def constant(expression: str, name: str) -> Any:
            return engine.constant(self.con, expression, values, name)

        made = compiled(bound, call.text, constant, self.gateway)
        arguments = list(made.arguments)
        if made.site.takes_text and len(arguments) == 1 and not _UNTYPED.search(arguments[0]):
            arguments += ["NULL", TYPE.format(arguments[0])]
        return made.site, ", ".join(arguments)

    def _with_ledger_tables(self, text: str) -> str:
        """The ledger's tables by their three-part names, as fresh as the last finished statement."""
        ledger = self.gateway.ledger
        tables = ledger.tables
        known = {name: PAYLOAD_SCHEMA for name in self._payload_tables()} | SYSTEM_TABLES
        names = {*known, *tables.names(known), GATEWAY_USAGE_VIEW}
        tokens = calls.tokenize(text)
        if unknown := calls.find_unknown_tables(tokens, names):
            raise StatementError(f"there is no table {unknown[0]}.{nearest(unknown[0], names)}")
        found = calls.find_tables(tokens, names)
        if found:
            commit(self.gateway.ledger)
        written = set(tables.names(known))
        wanted = {CALLS_TABLE if name == GATEWAY_USAGE_VIEW else name for _, _, name in found}
        replacements = {
            name: engine.attach_ledger(self.con, name, tables if name in written else known[name].empty_table())
            for name in wanted
        }
        if any(name == GATEWAY_USAGE_VIEW for _, _, name in found):
            replacements[GATEWAY_USAGE_VIEW] = engine.attach_gateway_usage(self.con, replacements[CALLS_TABLE])
        return calls.replace(text, [(start, end, replacements[name]) for start, end, name in found])

    def _payload_tables(self) -> set[str]:
        """Inference tables of the configured endpoints; readable, though empty, before the first call."""
        return {e.inference_table for e in self.gateway.config.endpoints.values() if e.inference_table}


def _check_text(text: str, params: Parameters) -> None:
    values = list(params.values()) if isinstance(params, Mapping) else list(params or ())
    for value in [text, *values]:
        if isinstance(value, str):
            try:
                value.encode()
            except UnicodeEncodeError as error:
                raise StatementError(
                    f"the text holds an invalid character (a lone surrogate at position {error.start}); "
                    "clean it with text.encode('utf-8', 'replace').decode()"
                ) from None


def _named_parameters(text: str, tokens: Any, params: Parameters) -> tuple[str, dict[str, Any] | None]:
    """Every parameter by name, because rewriting a call may move, repeat or consume some of them."""
    found = calls.find_parameters(tokens)
    if params is None:
        if found:
            raise StatementError(
                f"the statement has {len({p.name for p in found})} parameter(s) but no values; pass params=[...]"
            )
        return text, None
    by_name = (
        {str(name): value for name, value in params.items()}
        if isinstance(params, Mapping)
        else {str(position): value for position, value in enumerate(params, 1)}
    )
    wanted = {parameter.name for parameter in found}
    if missing := sorted(wanted - by_name.keys()):
        raise StatementError(f"no value for parameter {', '.join(missing)}; params has {len(by_name)}")
    if extra := sorted(by_name.keys() - wanted):
        raise StatementError(f"params has a value for {', '.join(extra)}, which the statement does not use")
    renamed = calls.replace(text, [(p.start, p.end, f"$aiq_{p.name}") for p in found])
    return renamed, {f"aiq_{name}": value for name, value in by_name.items()}
