"""What lifting costs: TPC-H's shapes with an AI call, beside the same query over a column of the same answers; and how
long `explain` takes.

    python tests/benchmarks/lifting.py [--rows N] [--rounds N]

Two hundred distinct prompts, whose answers the session keeps, so that the engine's work is all that is measured. The
forms of a query run in turn in one process, and a ratio is taken inside one round. The floor is DuckDB's own join of
the prompts with a table of the same answers: what getting from a text to its answer costs where nothing is counted.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))
PROMPTS = 200
HINT = "/*+ aiq_reuse(session) */ "
"""Answers of earlier rounds come from the session's store."""

# {l}, {o} and {c} stand for the answer to the comment of a line, an order and a customer.
SHAPES = {
    "filter": "SELECT count(*), sum(l_price) FROM lineitem WHERE {l} = 'yes'",
    "cheap filter first": "SELECT count(*) FROM lineitem WHERE l_shipdate < DATE '1994-01-01' AND {l} = 'yes'",
    "Q1, grouped by the "
    "answer": "SELECT {l} AS tone, l_flag, sum(l_quantity), avg(l_price), count(*) FROM lineitem GROUP BY ALL",
    "Q4, beside EXISTS": "SELECT o_priority, count(*) FROM orders WHERE {o} = 'yes' AND EXISTS "
    "(SELECT 1 FROM lineitem WHERE l_orderkey = o_orderkey AND l_quantity > 45) GROUP BY o_priority ORDER BY "
    "o_priority",
    "Q5, filter over three "
    "joins": "SELECT c_nation, sum(l_price) FROM customer, orders, lineitem WHERE c_custkey = o_custkey "
    "AND l_orderkey = o_orderkey AND {o} = 'yes' GROUP BY c_nation ORDER BY 2 DESC",
    "Q10, selected for the first "
    "20": "SELECT c_custkey, {c} AS tone, sum(l_price) AS revenue FROM customer, orders, lineitem "
    "WHERE c_custkey = o_custkey AND l_orderkey = o_orderkey AND l_flag = 'R' GROUP BY c_custkey, c_comment, c_answer "
    "ORDER BY revenue DESC LIMIT 20",
    "Q13, in an outer "
    "join": "SELECT n, count(*) FROM (SELECT c_custkey, count(o_orderkey) AS n FROM customer LEFT JOIN orders "
    "ON c_custkey = o_custkey AND {o} <> 'yes' GROUP BY c_custkey) GROUP BY n ORDER BY n",
    "Q16, in NOT "
    "IN": "SELECT count(*) FROM orders WHERE o_custkey NOT IN (SELECT c_custkey FROM customer WHERE {c} = 'yes')",
    "all rows, written": "CREATE OR REPLACE TABLE written AS SELECT l_orderkey, {l} AS tone FROM lineitem",
}
EXPLAINED = {"200 distinct prompts": "l_comment", "all distinct": "'Line ' || l_line || ': ' || l_comment"}


@contextlib.contextmanager
def session() -> Iterator[Any]:
    """A session before a simulated provider that answers at once."""
    import aiq
    from aiq.simulator.process import SimulatorProcess

    with tempfile.TemporaryDirectory() as folder, SimulatorProcess.start() as simulator:
        conf = Path(folder, "conf")
        (conf / "endpoints").mkdir(parents=True)
        (conf / "aiq.yml").write_text("progress: false\n")
        access = {"openai_api_base": f"{simulator.url}/v1", "openai_api_key_plaintext": "sk-benchmark"}
        model = {"name": "gpt-4o-mini", "provider": "openai", "task": "llm/v1/chat", "openai_config": access}
        endpoint = {"name": "chat", "config": {"served_entities": [{"name": "bench", "external_model": model}]}}
        (conf / "endpoints" / "chat.yml").write_text(yaml.safe_dump(endpoint))
        with aiq.connect(conf=conf, home=Path(folder, "home"), user="bench@example.com") as opened:
            yield opened


def load(con: Any, rows: int) -> None:
    """Tables in TPC-H's proportions, `rows` lines; each comment is one of `PROMPTS` and has its answer beside it."""
    question = "chr(10) || 'Answer with exactly one of: yes, no'"

    def comment(prefix: str) -> str:
        # What the simulator answers is what the prompt names.
        answer = "CASE WHEN n % 3 = 0 THEN 'yes' ELSE 'no' END"
        prompt = f"'Comment ' || n || ' says ' || {answer} || '.' || {question}"
        return f"{prompt} AS {prefix}_comment, {answer} AS {prefix}_answer"

    def numbers(count: int) -> str:
        return f"(SELECT i, (hash(i + 9) % {PROMPTS})::INT AS n FROM range({count}) r(i))"

    con.execute(
        f"CREATE TABLE customer AS SELECT i AS c_custkey, 'nation ' || i % 25 AS c_nation, {comment('c')} "
        f"FROM {numbers(rows // 40)}"
    )
    con.execute(
        f"CREATE TABLE orders AS SELECT i AS o_orderkey, (hash(i) % {rows // 40})::BIGINT AS o_custkey, "
        f"(hash(i + 1) % 5)::VARCHAR AS o_priority, {comment('o')} FROM {numbers(rows // 4)}"
    )
    con.execute(
        f"CREATE TABLE lineitem AS SELECT i AS l_line, (hash(i) % {rows // 4})::BIGINT AS l_orderkey, (hash(i + "
        "1) % 50)::INT "
        "AS l_quantity, "
        "(hash(i + 2) % 100000)::DECIMAL(12, 2) AS l_price, ['A', 'N', 'R'][(1 + hash(i + 3) % 3)::INT] AS l_flag, "
        f"DATE '1992-01-01' + (hash(i + 4) % 2500)::INT AS l_shipdate, {comment('l')} FROM {numbers(rows)}"
    )
    con.execute(
        "CREATE TABLE answers AS SELECT DISTINCT l_comment AS prompt, l_answer AS answer FROM lineitem UNION "
        "SELECT DISTINCT o_comment, o_answer FROM orders UNION SELECT DISTINCT c_comment, c_answer FROM customer"
    )


def timed(run: Any) -> tuple[float, list[Any]]:
    """Seconds to the last row, and the rows."""
    started = time.perf_counter()
    result = run()
    rows = result.fetchall() if result is not None else []
    return time.perf_counter() - started, rows


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument(
        "--rows", type=int, default=1_000_000, help="lines; orders are a quarter, customers a fortieth"
    )
    arguments.add_argument("--rounds", type=int, default=5)
    given = arguments.parse_args()
    print("| query | column, ms | join, ms | AI call, ms | AI call / column | AI call / join |")
    print("|---|---:|---:|---:|---:|---:|")
    with session() as opened:
        load(opened.con, given.rows)
        for name, shape in SHAPES.items():
            lifted = shape.format(**{t: f"ai_query('chat', {t}_comment)" for t in "loc"})
            column = shape.format(**{t: f"{t}_answer" for t in "loc"})
            join = shape.format(**{t: f"(SELECT answer FROM answers WHERE prompt = {t}_comment)" for t in "loc"})
            opened.sql(HINT + lifted)
            times = []
            for _ in range(given.rounds):
                plain_s, plain_rows = timed(lambda text=column: opened.con.execute(text))
                join_s, _ = timed(lambda text=join: opened.con.execute(text))
                lifted_s, lifted_rows = timed(lambda text=lifted: opened.sql(HINT + text))
                if "written" not in name and sorted(map(repr, plain_rows)) != sorted(map(repr, lifted_rows)):
                    sys.exit(f"{name}: the rows differ")
                times.append((plain_s, join_s, lifted_s))
            of_column, of_join = (statistics.median(one[2] / one[position] for one in times) for position in (0, 1))
            cells = [f"{1000 * statistics.median(column):,.1f}" for column in zip(*times, strict=True)]
            print(f"| {name} | {' | '.join(cells)} | {of_column:.2f} | {of_join:.2f} |", flush=True)
        print(f"\n| explain of {given.rows:,} rows | seconds |\n|---|---:|")
        for title, request in EXPLAINED.items():
            seconds = []
            for _ in range(given.rounds):
                started = time.perf_counter()
                opened.explain(f"SELECT ai_query('chat', {request}) FROM lineitem").fetchall()
                seconds.append(time.perf_counter() - started)
            print(f"| {title} | {statistics.median(seconds):.2f} |", flush=True)


if __name__ == "__main__":
    main()
