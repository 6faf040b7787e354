"""What lifting costs on TPC-H's 22 queries, each with an AI call: beside the same query over a column of the same
answers, and beside DuckDB's own join with a table of the answers, all of them into a temporary table.

    python tests/benchmarks/tpch.py [--scale S] [--rounds N] [--only q01,q13]

The session keeps the answers, so that the engine's work is all that is measured. The forms of a query run in turn in
one process, their rows are compared, and a ratio is the median of those inside each round. "first" is the first time
that the session sees the query. The ledger commits rows of reused answers later, several statements together: "commit"
is what that takes for one statement alone, outside of the others' times.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import duckdb
from lifting import HERE, HINT, session, timed
from tpch_tables import load

sys.path.insert(0, str(HERE.parents[1]))

QUERIES = HERE.parent / "conformance" / "tpch" / "queries"
AT_MOST = 1.5
PATIENCE_S = 10
SCALE = "$SCALE"

QUESTIONS = {
    "l_shipinstruct": ("lineitem", "Does this instruction need a signature? "),
    "l_shipmode": ("lineitem", "Does this way of shipping depend on the weather? "),
    "o_orderpriority": ("orders", "Would a customer wait for this? "),
    "o_clerk": ("orders", "Does this clerk work on Sundays? "),
    "c_mktsegment": ("customer", "Is this market growing? "),
    "s_comment": ("supplier", "Does the customer complain here? "),
    "p_name": ("part", "Would you paint a kitchen in these colours? "),
    "p_type": ("part", "Does this kind of part rust? "),
    "n_name": ("nation", "Is this nation an island? "),
}
"""What a call asks about a column: its table, and what its text is put behind."""
OPTIONS = " || chr(10) || 'Answer with exactly one of: yes, no'"
ASKED = {"p_name": "p_name LIKE '%green%' OR p_name LIKE 'forest%'"}
"""Which texts have an answer, where the queries ask for few of many."""
KEYS = {"lineitem": "l_orderkey, l_linenumber"}


class Injected(NamedTuple):
    """A query with a call. `{column}` in a text of `changes` is the answer about the column; `{+column}` is one more
    key to group by, the column of answers, which only the form with that column has to name.
    """

    place: str
    changes: tuple[tuple[str, str], ...]


INJECTED = {
    "q01": Injected(
        "a column to group by",
        (
            ("  l_returnflag, l_linestatus,", "  {l_shipinstruct} AS signed, l_returnflag, l_linestatus,"),
            ("GROUP BY l_returnflag", "GROUP BY signed, l_returnflag"),
            ("ORDER BY l_returnflag", "ORDER BY signed, l_returnflag"),
        ),
    ),
    "q02": Injected("a column of the first 100", (("s_phone, s_comment\n", "s_phone, {s_comment} AS complains\n"),)),
    "q03": Injected("WHERE", (("c_mktsegment = 'BUILDING'", "{c_mktsegment} = 'yes'"),)),
    "q04": Injected("WHERE beside EXISTS", (("AND EXISTS", "AND {o_clerk} = 'yes' AND EXISTS"),)),
    "q05": Injected("HAVING", (("GROUP BY n_name", "GROUP BY n_name{+n_name} HAVING {n_name} = 'yes'"),)),
    "q06": Injected("WHERE of one table", (("AND l_quantity < 24", "AND l_quantity < 24 AND {l_shipmode} = 'yes'"),)),
    "q07": Injected(
        "a column of a derived table",
        (
            ("AS volume", "AS volume, {l_shipmode} AS weather"),
            ("SELECT supp_nation", "SELECT weather, supp_nation"),
            ("GROUP BY supp_nation", "GROUP BY weather, supp_nation"),
            ("ORDER BY supp_nation", "ORDER BY weather, supp_nation"),
        ),
    ),
    "q08": Injected(
        "CASE over a derived column",
        (("n2.n_name AS nation", "{n2.n_name} AS island"), ("nation = 'BRAZIL'", "island = 'yes'")),
    ),
    "q09": Injected(
        "WHERE of a derived table", (("p_name LIKE '%green%'", "p_name LIKE '%green%' AND {p_name} = 'yes'"),)
    ),
    "q10": Injected(
        "a column to group by, first 20",
        (
            ("  c_custkey, c_name, sum", "  {c_mktsegment} AS growing, c_custkey, c_name, sum"),
            ("GROUP BY c_custkey", "GROUP BY growing, c_custkey"),
        ),
    ),
    "q11": Injected(
        "WHERE beside HAVING with a subquery",
        (
            ("n_name = 'GERMANY'\nGROUP", "n_name = 'GERMANY' AND {s_comment} = 'no'\nGROUP"),
            ("0.01", f"0.0001 / {SCALE}"),
        ),
    ),
    "q12": Injected(
        "CASE in two sums",
        (
            ("o_orderpriority = '1-URGENT' OR o_orderpriority = '2-HIGH'", "{o_orderpriority} = 'yes'"),
            ("o_orderpriority <> '1-URGENT' AND o_orderpriority <> '2-HIGH'", "{o_orderpriority} <> 'yes'"),
        ),
    ),
    "q13": Injected("ON of an outer join", (("'%special%requests%'", "'%special%requests%' AND {o_clerk} <> 'yes'"),)),
    "q14": Injected("CASE in a sum", (("p_type LIKE 'PROMO%'", "{p_type} = 'yes'"),)),
    "q15": Injected("WHERE of a CTE used twice", (("MONTH\n", "MONTH AND {l_shipmode} = 'yes'\n"),)),
    "q16": Injected("NOT IN", (("s_comment LIKE '%Customer%Complaints%'", "{s_comment} = 'yes'"),)),
    "q17": Injected(
        "WHERE beside a correlated average", (("p_brand = 'Brand#23'", "p_brand = 'Brand#23' AND {p_type} = 'yes'"),)
    ),
    "q18": Injected(
        "a column to group by, first 100",
        (
            ("SELECT c_name", "SELECT {o_orderpriority} AS patient, c_name"),
            ("GROUP BY c_name", "GROUP BY patient, c_name"),
            ("> 180", "> 300"),
        ),
    ),
    "q19": Injected("each branch of OR", (("l_shipinstruct = 'DELIVER IN PERSON'", "{l_shipinstruct} = 'yes'"),)),
    "q20": Injected("an IN inside an IN", (("p_name LIKE 'forest%'", "p_name LIKE 'forest%' AND {p_name} = 'yes'"),)),
    "q21": Injected("WHERE beside two EXISTS", (("AND EXISTS", "AND {o_orderpriority} = 'yes' AND EXISTS"),)),
    "q22": Injected("WHERE of a derived table", (("AND NOT EXISTS", "AND {c_mktsegment} = 'yes' AND NOT EXISTS"),)),
}
_ANSWER = re.compile(r"\{(\+?)((?:\w+\.)?)(\w+)\}")


def prompt(column: str, qualifier: str = "") -> str:
    """SQL of what is asked about a column."""
    return f"'{QUESTIONS[column][1]}' || {qualifier}{column}{OPTIONS}"


def forms(name: str, scale: float) -> dict[str, str]:
    """The query over a column of answers, with a join, and with a call."""
    text = (QUERIES / f"{name}.sql").read_text()
    for old, new in INJECTED[name].changes:
        if old not in text:
            sys.exit(f"{name}: there is no {old!r} in it")
        text = text.replace(old, new)
    text = text.replace(SCALE, str(scale))

    def column(match: re.Match[str]) -> str:
        plus, qualifier, of = match.groups()
        return f"{', ' if plus else ''}{qualifier}{of}_answer"

    def joined(match: re.Match[str]) -> str:
        plus, qualifier, of = match.groups()
        return "" if plus else f"(SELECT answer FROM answers WHERE prompt = {prompt(of, qualifier)})"

    def called(match: re.Match[str]) -> str:
        plus, qualifier, of = match.groups()
        return "" if plus else f"ai_query('chat', {prompt(of, qualifier)})"

    return {each.__name__: _ANSWER.sub(each, text) for each in (column, joined, called)}


def answer(opened: Any) -> None:
    """Asks everything once: a table of prompts and answers, and a column of answers beside each text."""
    con = opened.con
    con.execute("CREATE TABLE answers (prompt VARCHAR, answer VARCHAR)")
    tables: dict[str, list[str]] = {}
    for column, (table, _) in QUESTIONS.items():
        texts = f"SELECT DISTINCT {column} FROM {table} WHERE {ASKED.get(column, 'true')}"
        opened.sql(
            f"{HINT}CREATE TABLE of_{column} AS SELECT *, ai_query('chat', {prompt(column)}) AS {column}_answer "
            f"FROM ({texts})"
        )
        con.execute(f"INSERT INTO answers SELECT {prompt(column)}, {column}_answer FROM of_{column}")
        tables.setdefault(table, []).append(column)
    for table, columns in tables.items():
        joins = " ".join(f"LEFT JOIN of_{column} USING ({column})" for column in columns)
        con.execute(f"CREATE OR REPLACE TABLE {table} AS SELECT * FROM {table} {joins} ORDER BY {KEYS.get(table, '1')}")


def comparable(rows: list[Any]) -> list[str]:
    """Rows in one order, and their averages to nine digits: how many threads added them up shows in the last ones."""
    return sorted(repr([float(f"{value:.9g}") if isinstance(value, float) else value for value in row]) for row in rows)


def requests(opened: Any, text: str) -> str:
    """How many distinct requests a query makes, with a '<=' where its answers decide on that."""
    total = opened.explain(text).to_arrow_table().to_pylist()[-1]
    return f"{'' if total['exact'] else '<= '}{total['requests']:,}"


def within(opened: Any, run: Callable[[], Any]) -> Any:
    """What a run gives; None where it was stopped after `PATIENCE_S`, as a product of two large tables is."""
    from aiq.errors import StatementCancelled

    clock = threading.Timer(PATIENCE_S, opened.con.interrupt)
    clock.start()
    try:
        return run()
    except (duckdb.InterruptException, StatementCancelled):
        return None
    finally:
        clock.cancel()


def into_table(con: Any, text: str) -> Any:
    """The rows of a query, from a temporary table as a session leaves them."""
    con.execute(f"CREATE OR REPLACE TEMP TABLE rows_of_query AS {text}").fetchall()
    return con.execute("FROM temp.rows_of_query")


def committed(opened: Any) -> None:
    """What is recorded so far goes into the ledger's tables."""
    opened.gateway.ledger.commit()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--scale", type=float, default=1.0, help="1 is six million lines")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--only", default=",".join(INJECTED))
    given = arguments.parse_args()
    columns = [
        "query, place of the call",
        "requests",
        "rows",
        "column, ms",
        "join, ms",
        "AI call, ms",
        "/ column",
        "/ join",
    ]
    print(f"| {' | '.join([*columns, 'first, ms', 'commit, ms'])} |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    ratios = []
    with session() as opened:
        load(opened.con, given.scale)
        answer(opened)
        for name in given.only.split(","):
            texts = forms(name, given.scale)
            title = f"{name}, {INJECTED[name].place}"
            runs: dict[str, Callable[[], Any]] = {
                "column": partial(into_table, opened.con, texts["column"]),
                "joined": partial(into_table, opened.con, texts["joined"]),
                "called": partial(opened.sql, HINT + texts["called"]),
            }
            asked = within(opened, partial(requests, opened, texts["called"]))
            first = within(opened, partial(timed, runs["called"]))
            warm = {form: within(opened, partial(timed, run)) for form, run in runs.items()}
            stopped = [form for form, one in warm.items() if one is None]
            if warm["column"] is None or warm["called"] is None:
                late = f"not done after {PATIENCE_S} s"
                cells = [late if form in stopped else "" for form in runs]
                print(f"| {title} | {asked or ''} | | {' | '.join(cells)} | | | | |", flush=True)
                ratios.append(float("inf"))
                continue
            committed(opened)
            wanted, times, commits = comparable(warm["column"][1]), [], []
            for _ in range(given.rounds):
                found = {form: timed(run) for form, run in runs.items() if form not in stopped}
                if not wanted or any(comparable(rows) != wanted for _, rows in found.values()):
                    sys.exit(f"{name}: no rows, or the rows of its forms differ")
                commits.append(timed(partial(committed, opened))[0])
                times.append([found[form][0] if form in found else float("nan") for form in runs])
            of_column, of_join = (statistics.median(one[2] / one[place] for one in times) for place in (0, 1))
            ratios.append(of_column)
            cells = [f"{1000 * statistics.median(one):,.0f}" for one in zip(*times, strict=True)]
            row = [title, asked or "", f"{len(wanted):,}", *cells, f"{of_column:.2f}", f"{of_join:.2f}"]
            row += [f"{1000 * first[0]:,.0f}" if first else "", f"{1000 * statistics.median(commits):,.0f}"]
            print(f"| {' | '.join(row)} |", flush=True)
    good = sum(ratio <= AT_MOST for ratio in ratios)
    print(f"\n{good} of {len(ratios)} at most {AT_MOST}; median {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
