"""Every example that DuckDB ships for its functions, beside a call: a statement means what it says.

The examples are read from DuckDB itself (`duckdb_functions()`), so a new version brings new ones. They are tried many
in a statement; where a statement goes wrong it is halved until the example is found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import duckdb
import pytest

from tests.conformance.side_by_side import Pair, literal, open_pair

if TYPE_CHECKING:
    from tests.conftest import ConfFolder

AT_ONCE = 48
"""Examples in a statement."""

NAMED = 20
"""Examples of a form that are searched for and named; where there are more, the rest are only known to be some."""

SCHEMA = """
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE SEQUENCE my_sequence_name;
CREATE TABLE examples AS
SELECT i::INTEGER AS i, (i % 2)::INTEGER AS g, (i * 3 % 5)::INTEGER AS A, (i + 7)::INTEGER AS B, 2 AS N,
       i * 1.5::DOUBLE AS x, (10 - i)::DOUBLE AS y, union_value(k := 'u' || i) AS s, i::DECIMAL(18, 2) AS col,
       'key ' || i AS key, i AS value, 'event ' || i % 2 AS event, i * 10 AS points, 'athlete ' || i AS athlete,
       i * 2 AS usage, 'customer ' || i % 2 AS customer, DATE '2024-01-01' + i::INTEGER AS date,
       'client ' || i % 2 AS client, i AS month, i * 100 AS amount, i * 100 AS sales, '{"a": ' || i || '}' AS j
FROM range(5) AS r(i)
"""
"""The columns are those that the examples name, and `i`, the number of a row, and `g`, that of its group."""


class Example(NamedTuple):
    """An example, and what plain DuckDB makes of it.

    `kind`: of a "row", an "aggregate" of rows, "volatile" (no two evaluations need be equal) or "refused" by DuckDB.
    `text` is its value as text, in row or group 1.
    """

    sql: str
    kind: str
    value: str | None = None


class Form(NamedTuple):
    """A statement that holds examples. Where DuckDB evaluates more calls than the rows need, `needed` counts them."""

    write: Callable[[Sequence[Example]], str]
    before: Callable[[Sequence[Example]], str] | None = None
    after: str = ""
    needed: str = ""
    stream: bool = False


@cache
def examples() -> list[Example]:
    """All distinct examples, tried on two fresh databases."""
    cons = [duckdb.connect(), duckdb.connect()]
    try:
        for con in cons:
            con.execute("SET threads = 1;" + SCHEMA)
        volatile = set(_texts(cons[0], "WHERE stability = 'VOLATILE'"))
        return [
            Example(text, "volatile") if text in volatile else _tried(cons, text) for text in sorted(_texts(cons[0]))
        ]
    finally:
        for con in cons:
            con.close()


def _texts(con: duckdb.DuckDBPyConnection, where: str = "") -> set[str]:
    found = con.execute(f"SELECT DISTINCT unnest(examples) FROM duckdb_functions() {where}").fetchall()
    # Some examples end like a statement, and some have a name, which is ours to give.
    return {re.sub(r"\s+AS\s+\w+$", "", text.strip().rstrip(";")) for (text,) in found}


def _tried(cons: Sequence[duckdb.DuckDBPyConnection], text: str) -> Example:
    error = ""
    for kind, key, tail in (("row", "i", ""), ("aggregate", "g", "GROUP BY g")):
        sql = f"SELECT {key}, {text} AS e FROM examples {tail}"
        try:
            twice = [sorted(con.execute(sql).fetchall(), key=repr) for con in cons]
            if repr(twice[0]) != repr(twice[1]):
                return Example(text, "volatile")
            value = f"SELECT CAST(e AS VARCHAR) FROM ({sql}) WHERE {key} = 1"
            return Example(text, kind, cons[0].execute(value).fetchall()[0][0])
        except duckdb.Error as raised:
            error = error or str(raised)
    return Example(text, "refused", error)


def of_kind(*kinds: str) -> list[Example]:
    """The examples of some kinds."""
    return [example for example in examples() if example.kind in kinds]


def _key(batch: Sequence[Example]) -> str:
    return "i" if batch[0].kind == "row" else "g"


def _from(batch: Sequence[Example], having: str = "") -> str:
    if batch[0].kind == "row":
        return f"FROM examples{' WHERE ' if having else ''}{having}"
    return f"FROM examples GROUP BY g{' HAVING ' if having else ''}{having}"


def _items(batch: Sequence[Example]) -> str:
    return ", ".join(f"{example.sql} AS e{n}" for n, example in enumerate(batch))


def _as_always(batch: Sequence[Example]) -> str:
    """True in all rows, as long as all examples have the value in row 1 that they should have."""
    key = _key(batch)
    return " AND ".join(
        f"({key} <> 1 OR CAST({example.sql} AS VARCHAR) IS NOT DISTINCT FROM {literal(example.value)})"
        for example in batch
    )


def _call(batch: Sequence[Example]) -> str:
    return f"ai_query('chat', 'p ' || {_key(batch)})"


def _named(batch: Sequence[Example]) -> str:
    return f"SELECT {_key(batch)} AS n, {_items(batch)}, {_call(batch)} AS answer {_from(batch)}"


def _unnamed(batch: Sequence[Example]) -> str:
    return f"SELECT {', '.join(example.sql for example in batch)}, {_call(batch)} AS answer {_from(batch)}"


def _prompts(batch: Sequence[Example], name: str = " AS a{}") -> str:
    calls = (
        f"ai_query('chat', '{n} ' || CAST({example.sql} AS VARCHAR)){name.format(n)}" for n, example in enumerate(batch)
    )
    return f"SELECT {_key(batch)}, {', '.join(calls)} {_from(batch)}"


def _ordered(batch: Sequence[Example], items: str) -> str:
    order = f"ORDER BY CASE WHEN {_as_always(batch)} THEN {_key(batch)} ELSE {_key(batch)} + 9 END LIMIT 2"
    return f"SELECT {items} {_from(batch)} {order}"


def _delete(batch: Sequence[Example]) -> str:
    where = _as_always(batch)
    if batch[0].kind == "aggregate":
        where = f"g IN (SELECT g {_from(batch, where)})"
    return f"DELETE FROM examples WHERE ai_query('chat', 'p ' || i) <> 'no' AND {where}"


def _target(batch: Sequence[Example]) -> str:
    rows = f"SELECT {_key(batch)} AS n, {_items(batch)}, '' AS answer {_from(batch)}"
    return f"CREATE OR REPLACE TABLE made AS {rows} LIMIT 0"


FORMS = {
    "select": Form(_named),
    "select-unnamed": Form(_unnamed),
    "prompt": Form(_prompts),
    "prompt-unnamed": Form(lambda batch: _prompts(batch, "")),
    "where": Form(lambda b: f"SELECT {_key(b)}, {_call(b)} AS answer {_from(b, _as_always(b))}"),
    "order-limit": Form(
        lambda batch: _ordered(batch, f"{_key(batch)}, {_call(batch)} AS answer"),
        needed="SELECT unnest(['p 0', 'p 1'])",
    ),
    "create": Form(lambda b: f"CREATE OR REPLACE TABLE made AS {_named(b)}", after="FROM made"),
    "create-unnamed": Form(lambda b: f"CREATE OR REPLACE TABLE made AS {_unnamed(b)}", after="FROM made"),
    "insert": Form(lambda b: f"INSERT INTO made {_named(b)}", before=_target, after="FROM made"),
    "delete": Form(_delete, before=lambda b: "BEGIN", after="FROM examples"),
    "stream": Form(_named, stream=True),
}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, make_conf: Callable[[Path, str], ConfFolder]) -> Iterator[Pair]:
    with open_pair(tmp_path_factory.mktemp("corpus"), make_conf, keeps_answers=False) as made:
        made.both(SCHEMA)
        yield made


def _difference(pair: Pair, form: Form, batch: Sequence[Example]) -> tuple[str, bool]:
    """What is different with us, or nothing; and whether plain DuckDB refuses the statement."""
    sql = form.write(batch)
    try:
        pair.both(form.before(batch) if form.before else "")
        expected = (pair.of_plain_stream if form.stream else pair.of_plain)(sql)
        found = (pair.of_stream if form.stream else pair.of_session)(sql)
        asked, prompts = sorted(pair.asked), set(pair.evaluated)
        if expected.error:
            return "" if found.error else f"DuckDB refuses it ({expected.error}), and it ran", True
        if found.error:
            return found.error, False
        if form.after:
            found, expected = pair.contents(form.after)
        for part in ("columns", "types", "rows"):
            theirs, ours = getattr(expected.unordered(), part), getattr(found.unordered(), part)
            if theirs != ours:
                return f"{part}: {_first_different(ours, theirs)}", False
        needed = {text for (text,) in pair.plain.execute(form.needed).fetchall()} if form.needed else prompts
        if asked != sorted(needed):
            return f"asked {_first_different(asked, sorted(needed))}", False
        return "", False
    finally:
        if form.before and form.before(batch) == "BEGIN":
            pair.both("ROLLBACK")


def _first_different(ours: Sequence[str], theirs: Sequence[str]) -> str:
    differing = [(a, b) for a, b in zip(ours, theirs, strict=False) if a != b]
    if differing:
        return f"{differing[0][0][:300]} in place of {differing[0][1][:300]}"
    return f"{len(ours)} in place of {len(theirs)}"


def _search(pair: Pair, form: Form, batch: Sequence[Example], wrong: dict[str, str], refused: list[str]) -> None:
    """Names the examples of a batch that go wrong, and those that DuckDB does not take in this form."""
    difference, is_refused = _difference(pair, form, batch)
    if not difference and not (is_refused and len(batch) > 1):
        refused += [batch[0].sql] if is_refused else []
        return
    if len(wrong) >= NAMED:
        return
    if len(batch) == 1:
        wrong[batch[0].sql] = difference
        return
    before = len(wrong), len(refused)
    _search(pair, form, batch[: len(batch) // 2], wrong, refused)
    _search(pair, form, batch[len(batch) // 2 :], wrong, refused)
    if before == (len(wrong), len(refused)):
        wrong[" / ".join(example.sql for example in batch)] = difference


@pytest.mark.parametrize("form", FORMS)
def test_an_example_of_duckdbs_means_the_same_beside_a_call(pair: Pair, form: str) -> None:
    wrong: dict[str, str] = {}
    refused: list[str] = []
    for kind in ("row", "aggregate"):
        those = of_kind(kind)
        for start in range(0, len(those), AT_ONCE):
            _search(pair, FORMS[form], those[start : start + AT_ONCE], wrong, refused)
    tried, more = len(of_kind("row", "aggregate")), " or more" if len(wrong) >= NAMED else ""
    same = f"{tried - len(wrong) - len(refused)} same" if not more else "some same"
    summary = (
        f"{tried} tried, {same}, {len(wrong)}{more} wrong, {len(refused)} refused by DuckDB in this form {refused}, "
        f"{len(of_kind('refused'))} refused in all, {len(of_kind('volatile'))} volatile"
    )
    print(summary)
    if form == "order-limit":  # alias() tells what a rewritten query would change, so rows are not picked first
        assert wrong.pop("alias(42 + 1)") == "asked 5 in place of 2"
    assert not wrong, "\n".join([summary, *(f"{sql}\n    {difference}" for sql, difference in wrong.items())])


def test_a_volatile_example_keeps_its_name_and_type(pair: Pair) -> None:
    wrong = {}
    for example in of_kind("volatile"):
        sql = f"SELECT {example.sql}, ai_query('chat', 'p ' || i) AS answer FROM examples"
        expected, found = pair.of_plain(sql), pair.of_session(sql)
        ours, theirs = ((o.columns, o.types, o.error.partition(":")[0]) for o in (found, expected))
        if ours != theirs:
            wrong[example.sql] = (ours, theirs)
    assert not wrong


def test_what_duckdb_refuses_is_refused_before_any_call(pair: Pair) -> None:
    wrong = {}
    for example in of_kind("refused"):
        sql = f"SELECT {example.sql} AS e, ai_query('chat', 'p ' || i) FROM examples"
        expected, found = pair.of_plain(sql), pair.of_session(sql)
        # A few have a result that Python cannot hold.
        if not found.error or set(pair.asked) - pair.evaluated:
            wrong[example.sql] = (found, expected, len(pair.asked))
    assert not wrong


def test_nearly_all_examples_are_compared() -> None:
    """Or what these tests say of DuckDB's examples is said of a few."""
    left_out = of_kind("refused", "volatile")
    print(*left_out, sep="\n")
    assert len(of_kind("row", "aggregate")) > 0.9 * len(examples()), left_out
