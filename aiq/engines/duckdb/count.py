"""Counts the requests that a statement would make, call site by call site, without making any.

The statement's query runs with functions that note their requests and answer NULL. Must never send anything.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import duckdb

from aiq.batch.slots import Pass
from aiq.batch.statement import Statement
from aiq.engines.duckdb import connection as engine
from aiq.engines.duckdb.expected import expected_rows
from aiq.engines.duckdb.frames import read_once, reads_pipe
from aiq.engines.duckdb.interrupt import running, stopped_by_ctrl_c
from aiq.engines.duckdb.passes import FIRST_WAVE
from aiq.engines.duckdb.prepared import Prepared, used
from aiq.engines.duckdb.rewrite.counting import CountingQuery, counting
from aiq.engines.duckdb.rewrite.lift import Lifted, NotLifted, reason_not_to
from aiq.engines.duckdb.statement import explained
from aiq.errors import StatementError
from aiq.functions.call_site import CallSite
from aiq.functions.signature import FUNCTION
from aiq.statements.engine import RequestCounts, Written
from aiq.statements.estimate import Counted
from aiq.statements.settings import without_hints

if TYPE_CHECKING:
    from aiq.engines.duckdb.engine import DuckDB

EVERY_STAGE = 1_000_000
SHOWN_CHARACTERS = 80
TYPICAL_CHARACTERS = 800
_NUMBERED = re.compile(r"__aiq_[0-9a-f]{12}\((\d+), ", re.IGNORECASE)
_STREAM = re.compile(r"arrow.?scan", re.IGNORECASE)
"""A source that is registered or a relation's own: nothing tells whether it is a table or a stream."""
_CALLED = re.compile(r"\b(\w++)\s*+\(")
_EXPLAINABLE = {"SELECT", "INSERT", "UPDATE", "DELETE"}
_TRACELESS = frozenset({"random", "uuid", "gen_random_uuid", "uuidv4", "uuidv7"})
"""Functions that give another value at each evaluation and leave no trace of it."""


@contextmanager
def collecting(statement: Statement, counter: Counter) -> Iterator[None]:
    """While inside, the calls of a statement go to `counter` and nowhere else."""
    statement.running = Pass(EVERY_STAGE, collect=counter)
    try:
        yield
    finally:
        statement.running = None


class SiteRequests:
    """The requests of one call site."""

    __slots__ = ("characters", "keys", "rows")

    def __init__(self) -> None:
        self.rows = self.characters = 0
        self.keys: set[bytes] = set()


class Counter:
    """Collects requests by call site; DuckDB's threads call it."""

    def __init__(self) -> None:
        self.sites: dict[object, SiteRequests] = {}
        self._lock = threading.Lock()

    def of(self, site: object) -> SiteRequests:
        """What a call site asked."""
        return self.sites.get(site) or SiteRequests()

    def __call__(self, site: object, rows: int, keys: Sequence[bytes], characters: Sequence[int]) -> None:
        with self._lock:
            asked = self.sites.get(site)
            if asked is None:
                asked = self.sites[site] = SiteRequests()
            asked.rows += rows
            seen, added = asked.keys, 0
            for key, length in zip(keys, characters, strict=True):
                if key not in seen:
                    seen.add(key)
                    added += length
            asked.characters += added


class StatementCounts:
    """Counts the requests of one prepared statement."""

    def __init__(
        self,
        of: DuckDB,
        prepared: Prepared,
        statement: Statement,
        sites: dict[int, CallSite],
        *,
        gently: bool = False,
    ) -> None:
        """`gently` evaluates nothing where that could keep the statement itself from running afterwards."""
        self._engine, self._prepared, self._statement = of, prepared, statement
        self._gently = gently
        numbers = dict.fromkeys(int(number) for number in _NUMBERED.findall(prepared.text))
        self._sites = {number: sites[number] for number in numbers if number in sites}
        self._notes: list[str] = []
        self._sure = True

    def counts(self) -> list[Counted]:
        """One a call site, in the order in which they are asked. Raises StatementError and DuckDB's own errors."""
        prepared, con = self._prepared, self._engine.con
        plan = prepared.plan
        waits = plan.reason if isinstance(plan, NotLifted) else plan.waits if plan is not None else ""
        if waits:
            self._notes.append(f"not lifted: {waits}")
        elif isinstance(plan, Lifted) and plan.changed:
            self._notes.append("rewritten so that DuckDB evaluates it for fewer rows")
        if isinstance(plan, Lifted) and plan.note:
            self._notes.append(plan.note)
        if isinstance(plan, Lifted) and plan.made is not None and engine.table_exists(con, plan.made):
            return []  # the table is there: nothing is evaluated
        how = self._how(plan)
        if how is None:
            return self._expected()
        self._sure = self._sure and how.exact
        first, relaxed = Counter(), Counter()
        looking_up = (
            self._engine.plain.looking_up(con) if prepared.by_name and isinstance(plan, Lifted) else nullcontext()
        )
        with looking_up, engine.Transaction(con) as transaction:
            self._run(how.query, first, transaction)
            reached = how.reached
            if how.relaxed is not None and not self._relaxed(how.relaxed, relaxed, transaction):
                reached = frozenset()
        return self._made(how, first, relaxed, reached)

    def _how(self, plan: Lifted | NotLifted | None) -> CountingQuery | None:
        """What to evaluate; None where that might leave a trace, or is not known."""
        text, con = self._prepared.text, self._engine.con
        if read_once(self._prepared.variables) or reads_pipe(text) or (self._gently and self._may_be_spoilt(plan)):
            self._notes.append("it reads a stream that can be read only once")
            return None
        volatile = engine.volatile_functions(duckdb.__version__)
        words = " ".join([text, *engine.definitions_used(con, text)])
        self._sure = reason_not_to(words, volatile) is None
        if {name.lower() for name in _CALLED.findall(words)} & (volatile - _TRACELESS):
            return None
        if isinstance(plan, Lifted) and not plan.writes:
            how = counting(plan.single)
            return CountingQuery(plan.single, plan.all_stages) if how is None else how._replace(query=plan.single)
        how = counting(text)
        if [parsed.type.name for parsed in con.extract_statements(text)] != ["SELECT"]:
            return how
        return CountingQuery(text, [set(self._sites)]) if how is None else how._replace(query=text)

    def _may_be_spoilt(self, plan: Lifted | NotLifted | None) -> bool:
        """Whether evaluating the statement before it runs might cost it its rows, or its user's transaction."""
        con = self._engine.con
        # Without any answer the first pass of a lifted statement sees just what we see, so it fails where we do.
        alike = isinstance(plan, Lifted) and not plan.writes and not self._statement.may_reuse
        if not alike and not engine.Transaction(con).own:
            return True
        relations = [v for v in self._prepared.variables.values() if isinstance(v, duckdb.DuckDBPyRelation)]
        sources = [*engine.definitions_used(con, self._prepared.text), *(relation.explain() for relation in relations)]
        return any(_STREAM.search(source) for source in sources)

    def _run(self, query: str, counter: Counter, transaction: engine.Transaction) -> None:
        try:
            self._evaluate(query, counter)
        except duckdb.Error as error:
            if self._statement.stopped or not counter.sites:
                raise
            if not transaction.own:
                raise StatementError(
                    "the statement failed while no answer was known, which ended your transaction; run it outside of "
                    f"one, or guard it against NULL answers: {str(error).splitlines()[0]}"
                ) from error
            transaction.restart()
            self._sure = False
            self._notes.append(f"counted until it failed without answers ({str(error).splitlines()[0]})")

    def _relaxed(self, query: str, counter: Counter, transaction: engine.Transaction) -> bool:
        """Whether a relaxed query could be evaluated. In somebody's own transaction an error of it would be his."""
        if not transaction.own:
            return False
        try:
            self._evaluate(query, counter)
        except duckdb.Error:
            if self._statement.stopped:
                raise
            transaction.restart()
            return False
        return True

    def _evaluate(self, query: str, counter: Counter) -> None:
        """Evaluates a query to its end and forgets its rows."""
        results = self._engine.results
        name = engine.new_table()
        with collecting(self._statement, counter):
            results.fill(name, query, self._prepared)
        self._engine.con.execute(f"DROP TABLE temp.{name}").fetchall()

    def _made(self, how: CountingQuery, first: Counter, relaxed: Counter, reached: frozenset[int]) -> list[Counted]:
        """Counts of all call sites; `reached` are those whose requests the relaxed query has all seen."""
        stage_of = {number: stage for stage, members in reversed(list(enumerate(how.stages, 1))) for number in members}
        named = [site for site in first.sites if isinstance(site, CallSite) and site not in self._sites.values()]
        sites = [(1, 0, site) for site in named]
        sites += [(stage_of.get(number, 1) + bool(named), number, site) for number, site in self._sites.items()]
        hidden = sum(sql.count(FUNCTION) for sql in engine.definitions_used(self._engine.con, self._prepared.text))
        sure = self._sure and (hidden <= 1 if len(sites) == 1 else bool(reached) and not named)
        counts: list[Counted] = []
        seen: set[bytes] = set()
        for stage, number, site in sorted(sites, key=lambda each: each[:2]):
            asked, notes = first.of(site), list(self._notes)
            exact = stage == 1 and sure
            if len(relaxed.of(site).keys) > len(asked.keys):
                asked, exact = relaxed.of(site), False
            if not number:
                notes.append("in a view or macro; what depends on its answers may come on top")
            before = max((count.most for count in counts), default=0)
            if stage > 1 and number not in reached and len(asked.keys) < before:
                counts.append(self._supposed(site, stage, before, asked.characters, notes)._replace(site=number))
                continue
            fresh = asked.keys
            if number not in how.nested:  # the request of a nested one is not what it will ask
                fresh = fresh - seen if seen else fresh
                if shared := len(asked.keys) - len(fresh):
                    notes.append(f"{shared:,} more requests are those of calls above")
                seen |= fresh
            counts.append(self._counted(site, stage, asked, fresh, notes, exact=exact)._replace(site=number))
        return counts

    def _counted(
        self, site: CallSite, stage: int, asked: SiteRequests, fresh: set[bytes], notes: list[str], *, exact: bool
    ) -> Counted:
        plan, most = self._prepared.plan, len(fresh)
        likely, least = most, most if exact else 0
        if not self._sure:
            notes.append("another run may ask others")
        elif not exact:
            notes.append("at most; depends on answers")
        limit, filters = plan.waves if isinstance(plan, Lifted) else (None, 0)
        if limit is not None:
            wave = max(FIRST_WAVE, 2 * limit)
            if stage <= filters:
                likely = min(most, wave)
                least, exact = min(least, likely), exact and likely == most
                notes.append(f"asked in growing waves until {limit:,} rows pass; {most:,} at most")
            else:
                likely = min(most, limit)
        characters = asked.characters * most / max(1, len(asked.keys))
        answered = self._statement.answered(site.endpoint.name, list(fresh))
        return self._row(site, stage, asked.rows, (least, likely, most), characters, answered, notes, exact=exact)

    def _supposed(self, site: CallSite, stage: int, requests: int, characters: int, notes: list[str]) -> Counted:
        notes.append("taken to be as many requests as before it" if stage > 1 else "rows as DuckDB expects them")
        if not characters:
            characters = requests * TYPICAL_CHARACTERS
            notes.append(f"prompts of {TYPICAL_CHARACTERS:,} characters assumed")
        return self._row(site, stage, requests, (0, requests, requests), characters, 0, notes)

    def _expected(self) -> list[Counted]:
        """From the rows that DuckDB expects, where evaluating the statement would change something."""
        with collecting(self._statement, Counter()):
            values = used(self._engine.con, self._prepared.text, self._prepared.values)
            rows = (expected_rows(self._engine.con, self._prepared.text, values) or 0) // max(1, len(self._sites))
        return [
            self._supposed(site, 1, rows, 0, list(self._notes))._replace(site=number)
            for number, site in self._sites.items()
        ]

    def _row(
        self,
        site: CallSite,
        stage: int,
        rows: int,
        requests: tuple[int, int, int],
        characters: float,
        answered: int,
        notes: list[str],
        *,
        exact: bool = False,
    ) -> Counted:
        least, likely, most = requests
        if not site.endpoint.may_query(self._engine.caller):
            notes.append(f"{self._engine.caller.user} does not have CAN_QUERY: every call will be refused")
        return Counted(
            _shown(site),
            site.endpoint.name,
            stage,
            rows,
            likely,
            least,
            most,
            characters,
            exact,
            answered,
            site.max_output_tokens,
            isinstance(self._prepared.plan, Lifted) and not self._prepared.plan.waits,
            tuple(notes),
        )


def _shown(site: CallSite) -> str:
    text = " ".join(site.text.replace("$aiq_", "$").split()) or f"ai_query('{site.endpoint.name}', ...)"
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 3]}..."


def counts_of(of: DuckDB, written: Written, statement: Statement, *, gently: bool) -> RequestCounts:
    """What a statement would ask. With `gently` not even what is read on the way is evaluated: a stream is left to the
    statement, and an open transaction whole. Raises StatementError, FunctionError and DuckDB's own errors.
    """
    sites: dict[int, CallSite] = {}
    with engine.numbered_sites() as number:

        def numbered(of_statement: Statement, site: CallSite) -> int:
            own = number(of_statement, site)
            sites[own] = site
            return own

        try:
            text = without_hints(written.text)
            with collecting(statement, Counter()):  # an argument that is a call itself must not be asked for
                prepared = of.preparation.prepare(text, written.params, written.dialect, statement, numbered)
            if prepared.plan is None:
                if not gently:
                    _check(of.con, prepared)
                return RequestCounts([], [], "no AI call")
            with stopped_by_ctrl_c(statement), running(of.con, statement), of.plain.within(statement):
                counts = StatementCounts(of, prepared, statement, sites, gently=gently).counts()
        except (duckdb.Error, RuntimeError) as error:
            raise explained(error, statement) from None
        finally:
            statement.cancel()
    places = {number: place for place, number in enumerate(sites)}
    return RequestCounts(counts, [places.get(count.site) for count in counts])


def _check(con: duckdb.DuckDBPyConnection, prepared: Prepared) -> None:
    """Raises what DuckDB says of a statement without an AI call before it runs."""
    parsed = con.extract_statements(prepared.text)
    if not parsed:
        raise StatementError("EXPLAIN AI explains a statement: EXPLAIN AI SELECT ...")
    if parsed[0].type.name in _EXPLAINABLE:
        prepared.execute(con, f"EXPLAIN {prepared.text}").fetchall()
