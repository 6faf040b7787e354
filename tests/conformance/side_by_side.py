"""A session beside plain DuckDB: the same tables, and a plain Python function that gives the same answers.

Plain DuckDB is the oracle: it knows nothing of us, so what it makes of a statement is what the statement means. The
provider is a function of the prompt in this process, so that thousands of statements fit in a minute.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import duckdb
import orjson
import pyarrow as pa

from aiq.answers.store import AnswerStore
from aiq.config.load import load_config
from aiq.engines.duckdb.session import DuckDBSession
from aiq.gateway import Gateway
from aiq.ledger.ledger import Ledger
from aiq.providers.base import HttpRequest, HttpResponse
from aiq.request import Caller

if TYPE_CHECKING:
    from tests.conftest import ConfFolder

ANSWERS = ("yes", "no", "red", "blue", "7")


def answer_to(prompt: str) -> str:
    """One of a few words, so that answers meet in joins and groups."""
    return ANSWERS[blake2b(prompt.encode("utf-8", "surrogatepass"), digest_size=2).digest()[0] % len(ANSWERS)]


_REFUSAL = b'{"error": {"message": "more requests than the test allows", "type": "invalid_request_error"}}'


class WordTransport:
    """A provider in this process: answers at once, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.most = sys.maxsize
        """Beyond `most` requests of a statement all are refused: a fault should cost no minutes."""

    async def send(self, request: HttpRequest, timeout_s: float) -> HttpResponse:
        prompt = orjson.loads(request.body)["messages"][-1]["content"]
        self.asked.append(prompt)
        if len(self.asked) > self.most:
            return HttpResponse(400, {"content-type": "application/json"}.get, _REFUSAL)
        choice = {"index": 0, "message": {"role": "assistant", "content": answer_to(prompt)}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        body = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}
        return HttpResponse(200, {"content-type": "application/json"}.get, orjson.dumps(body))

    async def close(self) -> None:
        return None


class Outcome(NamedTuple):
    """What a statement gives: rows with their names and types, or an error. Rows are texts, so that NaN equals NaN."""

    columns: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    error: str = ""

    def unordered(self) -> Outcome:
        """The same without an order of rows."""
        return self._replace(rows=tuple(sorted(self.rows)))


class Pair:
    """The same tables in a session and in plain DuckDB, where `ai_query` is a function of the same answers."""

    def __init__(self, session: DuckDBSession, transport: WordTransport) -> None:
        self.session, self.transport, self.plain = session, transport, duckdb.connect()
        self.evaluated: set[str] = set()
        """The prompts that the plain function was called for."""
        self.plain.create_function(
            "ai_query", self._answers, ["VARCHAR", "VARCHAR"], "VARCHAR", type="arrow", null_handling="special"
        )
        self.both("SET threads = 1")

    def _answers(self, _: pa.ChunkedArray, prompts: pa.ChunkedArray) -> pa.Array:
        texts = prompts.to_pylist()
        self.evaluated.update(text for text in texts if text is not None)
        return pa.array([None if text is None else answer_to(text) for text in texts], pa.string())

    def both(self, sql: str) -> None:
        """Runs statements without a call on both sides."""
        for con in (self.session.con, self.plain):
            con.execute(sql)

    def load(self, tables: dict[str, list[tuple[int | None, str | None]]]) -> None:
        """Tables of a number `k` and a text `s`, with a number `id` from 0 in front."""
        texts = []
        for name, rows in tables.items():
            values = [f"({i}, {'NULL' if k is None else k}, {literal(s)})" for i, (k, s) in enumerate(rows)]
            texts.append(f"CREATE OR REPLACE TABLE {name} (id INT, k INT, s VARCHAR)")
            texts += [f"INSERT INTO {name} VALUES {', '.join(values)}"] if rows else []
        self.both("; ".join(texts))

    def of_plain(self, sql: str) -> Outcome:
        """What plain DuckDB gives. `evaluated` then has the prompts of this statement alone."""
        self.evaluated.clear()
        return _outcome(lambda: self.plain.sql(sql))

    def error_of_plain(self, sql: str) -> str:
        """What plain DuckDB says of a statement that it refuses, with the place: a relation leaves that out."""
        return _outcome(lambda: self.plain.execute(sql).fetchall(), lambda _: Outcome()).error

    def of_session(self, sql: str) -> Outcome:
        """What the session gives. `asked` then has the requests of this statement alone."""
        self.transport.asked.clear()
        return _outcome(lambda: self.session.sql(sql))

    def of_plain_stream(self, sql: str) -> Outcome:
        """The rows of plain DuckDB as Arrow tells them."""
        self.evaluated.clear()
        return _outcome(lambda: self.plain.sql(sql), lambda relation: _of_arrow(relation.to_arrow_table()))

    def of_stream(self, sql: str) -> Outcome:
        """What the session streams."""
        self.transport.asked.clear()
        return _outcome(lambda: list(self.session.stream(sql)), _of_batches)

    def contents(self, sql: str) -> tuple[Outcome, Outcome]:
        """What a query without a call gives: with the session, and with plain DuckDB."""
        ours, theirs = (_outcome(lambda con=con: con.sql(sql)) for con in (self.session.con, self.plain))
        return ours.unordered(), theirs.unordered()

    @property
    def asked(self) -> list[str]:
        """The requests since the last statement began, oldest first."""
        return self.transport.asked


def _outcome(run: Callable[[], Any], read: Callable[[Any], Outcome] | None = None) -> Outcome:
    """Of a relation, or of no rows (None). An error of any kind is an outcome too."""
    try:
        result = run()
        return Outcome() if result is None else (read or _of_relation)(result)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # sqlglot's panics are no Exception
        return Outcome(error=f"{type(error).__name__}: {error}")


def _of_relation(relation: duckdb.DuckDBPyRelation) -> Outcome:
    rows = tuple(repr(row) for row in relation.fetchall())
    return Outcome(tuple(relation.columns), tuple(map(str, relation.types)), rows)


def _of_arrow(table: pa.Table) -> Outcome:
    rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
    return Outcome(tuple(table.column_names), tuple(map(str, table.schema.types)), tuple(map(repr, rows)))


def _of_batches(batches: list[pa.RecordBatch]) -> Outcome:
    """A stream of no rows is one of no batches, which tells no names."""
    return _of_arrow(pa.Table.from_batches(batches)) if batches else Outcome()


def same_names(ours: Sequence[str], theirs: Sequence[str]) -> bool:
    """Whether columns have the same names. Of a name that comes again, rows in a table have `name_1` and so on."""
    if len(ours) != len(theirs):
        return False
    seen: set[str] = set()
    for our, their in zip(ours, theirs, strict=True):
        again = their.casefold() in seen
        if our != their and not (again and re.fullmatch(re.escape(their) + r"_\d+", our)):
            return False
        seen.add(their.casefold())
    return True


def literal(text: str | None) -> str:
    """A text as SQL writes it."""
    return "NULL" if text is None else "'" + text.replace("'", "''") + "'"


@contextmanager
def open_pair(
    folder: Path, make_conf: Callable[[Path, str], ConfFolder], *, keeps_answers: bool = True
) -> Iterator[Pair]:
    """A session with the endpoint `chat`, beside plain DuckDB. Everything is written below `folder`.

    Without `keeps_answers` a statement that failed leaves none to the next one.
    """
    make_conf(folder / "conf", "http://127.0.0.1:9").endpoint(
        "chat", gateway={"usage_tracking_config": {"enabled": False}}
    )
    config = load_config(folder / "conf", folder / "home")
    ledger = Ledger.open(folder / "home")
    transport = WordTransport()
    answers = AnswerStore.open(folder / "home")
    gateway = Gateway(config, ledger, transport=transport, answers=answers if keeps_answers else None)
    with DuckDBSession(duckdb.connect(), gateway, Caller("ann@example.com", (), None), owns_connection=True) as session:
        pair = Pair(session, transport)
        yield pair
        pair.plain.remove_function("ai_query")  # or the connection and its function keep each other alive for ever
        pair.plain.close()
    answers.close()
    ledger.close()
