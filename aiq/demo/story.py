"""What `aiq demo` shows, in order: the input, three statements with their answers, then the bill from the tables."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from rich.console import Console
from rich.padding import Padding
from rich.panel import Panel
from rich.syntax import Syntax
from rich.text import Text

from aiq.cli.show import console, table
from aiq.dashboards.files import find, load
from aiq.dashboards.render import html_of
from aiq.demo import packages
from aiq.demo.provider import DemoProvider, provider
from aiq.engines.connect import connect
from aiq.engines.duckdb.session import DuckDBSession
from aiq.errors import ConfigError, RequestFailed
from aiq.local.models import EMBEDDINGS_INSTALL
from aiq.shipped_sql import read_sql, sql_folder

if TYPE_CHECKING:
    from duckdb import DuckDBPyRelation

_SUMMARY = """\
CREATE OR REPLACE TABLE enriched AS
SELECT name,
  ai_query('chat', 'Summarise this Python package in one sentence: ' || text,
    modelParameters => named_struct('max_tokens', 120)) AS summary
FROM texts{few}"""

_EXTRACTION = """\
CREATE OR REPLACE TABLE facts AS
SELECT name,
  ai_query('chat', 'Extract the facts about this Python package: ' || text,
    responseFormat => 'STRUCT<facts: STRUCT<purpose: STRING, audience: STRING,
                                            topics: ARRAY<STRING>, native: BOOLEAN>>',
    failOnError => false) AS answer
FROM texts"""

_SMALL_EXTRACTION = """\
CREATE OR REPLACE TABLE facts AS
SELECT name,
  ai_query('chat', 'Say in a few words what this Python package is for, and who uses it: ' || text,
    responseFormat => 'STRUCT<facts: STRUCT<purpose: STRING, audience: STRING>>',
    modelParameters => named_struct('max_tokens', 80), failOnError => false) AS answer
FROM texts LIMIT 5"""
"""With a list of topics, a small model does not find an end."""

_FACTS = """\
SELECT name, answer.result ->> '$.purpose' AS purpose,
  answer.result ->> '$.audience' AS audience, {topics}answer.errorMessage
FROM facts ORDER BY name LIMIT 5"""

_EMBEDDING = """\
CREATE OR REPLACE TABLE vectors AS
SELECT name, ai_query('embeddings', text) AS embedding FROM texts"""

_NEAREST = """\
SELECT other.name,
  round(list_cosine_similarity(this.embedding, other.embedding), 3) AS similarity
FROM vectors this JOIN vectors other ON other.name <> this.name
WHERE this.name = '{name}'
ORDER BY similarity DESC, other.name LIMIT 5"""

_ANALYSES = (
    ("usage_by_endpoint_and_user", "Usage by endpoint and user"),
    ("cost_by_model", "Cost by model"),
    ("latency_percentiles", "Latency"),
    ("most_expensive_calls", "The most expensive rows"),
)


def run(folder: Path, rows: int | None = None, simulate: bool = False) -> bool:
    """Runs the demo in `folder`; at most `rows` packages. Returns False where the ledger and the simulator differ.

    Raises ConfigError, LedgerError, and RequestFailed where a real provider does not answer.
    """
    screen = console()
    with provider(folder, os.environ, simulate) as asked:
        wanted = rows if asked.rows is None else min(rows or asked.rows, asked.rows)
        _header(screen, asked)
        place = asked.place
        with connect(place.database, conf=place.conf, home=place.home) as session:
            _input(screen, session, asked, wanted)
            _statements(screen, session, asked)
            _bill(screen, session, asked)
            right = _check(screen, session, asked)
            _board(screen, session, folder)
    _go_on(screen, asked)
    return right


def _header(screen: Console, asked: DemoProvider) -> None:
    if asked.simulator is not None:
        text = Text.assemble(
            "A ",
            ("SIMULATOR", "bold yellow"),
            f" answers, at {asked.url}, because neither OPENAI_API_KEY nor OPENAI_BASE_URL is set (or --simulate is).\n"
            "Its answers are made up from the input and nothing is paid; HTTP, gateway and tables are real.",
        )
        if asked.without_local:
            text.append(f"\nNo model of this machine answers: {asked.without_local}")
    elif asked.local:
        text = Text(
            f"A small model of this machine answers: {asked.chat_model}. Nothing is paid.\n"
            "Its short summaries are fluent and often right; what it extracts or judges is fluent and often wrong."
        )
    else:
        text = Text(
            f"Asking {asked.url}: {asked.chat_model} and {asked.embedding_model}.\n"
            "The rows are limited so that it costs less than a cent, where the model has a published price."
        )
    screen.print(
        Panel(text, title="aiq demo: a language model as a SQL function", title_align="left", width=_width(screen))
    )


def _input(screen: Console, session: DuckDBSession, asked: DemoProvider, rows: int | None) -> None:
    count, words = packages.load(session.con, rows, asked.characters)
    _step(screen, "The input", f"the descriptions of {count} Python packages installed here, {words:,} words")
    shown = session.sql(
        "SELECT name, version, author_email,"
        " left(regexp_replace(description, '\\s+', ' ', 'g'), 60) || ' ...' AS description"
        " FROM packages ORDER BY length(description) DESC, name LIMIT 3"
    )
    assert shown is not None
    screen.print(table(shown))


def _statements(screen: Console, session: DuckDBSession, asked: DemoProvider) -> None:
    label = " (SIMULATED answers)" if asked.simulator is not None else ""
    _step(screen, "Statement 1", f"a summary of each package{label}")
    few = "" if asked.chat_rows is None else f" LIMIT {asked.chat_rows}"
    _timed(screen, session, _SUMMARY.format(few=few))
    _show(screen, session, "SELECT name, summary FROM enriched ORDER BY name LIMIT 5")
    _step(screen, "Statement 2", f"structured extraction; a row that fails says why and stops nothing{label}")
    _timed(screen, session, _SMALL_EXTRACTION if asked.local else _EXTRACTION)
    _show(screen, session, _FACTS.format(topics="" if asked.local else "answer.result -> '$.topics' AS topics,\n  "))
    _step(screen, "Statement 3", f"embeddings, many rows in one call, and the nearest neighbours{label}")
    if not asked.embedding_model:
        screen.print(Text(f"No embedder is installed for this machine: {EMBEDDINGS_INSTALL}", style="yellow"))
        return
    try:
        _timed(screen, session, _EMBEDDING)
    except RequestFailed as error:
        if asked.simulator is not None or asked.local:
            raise
        screen.print(Text(f"{error}\nName a model for embeddings in OPENAI_EMBEDDING_MODEL.", style="yellow"))
        return
    names = {name for (name,) in session.con.execute("SELECT name FROM vectors").fetchall()}
    name = "duckdb" if "duckdb" in names else min(names)
    _show(screen, session, _NEAREST.format(name=name.replace("'", "''")))


def _timed(screen: Console, session: DuckDBSession, sql: str) -> None:
    """Runs a statement and says how long it took beside asking one by one."""
    _print_sql(screen, sql)
    before = _calls(session)
    start = time.perf_counter()
    session.sql(sql)
    wall_s = time.perf_counter() - start
    calls, rows, one_by_one_s = (now - then for now, then in zip(_calls(session), before, strict=True))
    took = f"{rows:,.0f} rows, {calls:,.0f} {'call' if calls == 1 else 'calls'} in {wall_s:.2f} s"
    if calls > 1:
        took += f"; one call after the other would have taken {one_by_one_s:.2f} s"
    screen.print(Text(took, style="green"))


def _calls(session: DuckDBSession) -> tuple[float, float, float]:
    """Calls made so far, the rows they answer, and the seconds they took together."""
    rows = session.sql(
        "SELECT count(*), coalesce(sum(rows), 0)::BIGINT, coalesce(sum(latency_ms), 0) / 1000"
        " FROM system.aiq.calls WHERE attempt > 0"
    )
    assert rows is not None
    count, answered, seconds = rows.fetchall()[0]
    return count, answered, seconds


def _bill(screen: Console, session: DuckDBSession, asked: DemoProvider) -> None:
    if asked.simulator is not None:
        note = "what these calls would have cost at OpenAI's list prices; nothing was paid"
    elif asked.local:
        note = "nothing was paid"
    else:
        note = "with everything that was asked with this home before"
    _step(screen, "The bill", f"from the Delta tables, with the files in sql/; {note}")
    for name, title in _ANALYSES:
        result = session.sql(read_sql(name))
        assert result is not None
        hidden = [c for c in result.columns if c in ("statement_id", "request_id")]
        shown: DuckDBPyRelation = result.project(f"* EXCLUDE ({', '.join(hidden)})") if hidden else result
        screen.print(table(shown, rows=5 if hidden else 20, title=f"{title}  (sql/{name}.sql)", more=""))


def _check(screen: Console, session: DuckDBSession, asked: DemoProvider) -> bool:
    """Whether the ledger has exactly the calls that the simulator saw, to the token."""
    rows = session.sql(
        "SELECT count(*), coalesce(sum(input_tokens), 0)::BIGINT, coalesce(sum(output_tokens), 0)::BIGINT"
        " FROM system.aiq.calls WHERE attempt > 0"
    )
    assert rows is not None
    calls, tokens_in, tokens_out = rows.fetchall()[0]
    recorded = f"system.aiq.calls: {calls} calls, {tokens_in:,} + {tokens_out:,} tokens"
    if asked.simulator is None:
        screen.print(Text(recorded))
        return True
    seen = asked.simulator.stats()
    right = (calls, tokens_in, tokens_out) == (seen["requests"], seen["prompt_tokens"], seen["completion_tokens"])
    counted = f"{seen['requests']} calls, {seen['prompt_tokens']:,} + {seen['completion_tokens']:,} tokens"
    verdict = "equal" if right else "DIFFERENT, which is a bug of aiq: please report it"
    style = "bold green" if right else "bold red"
    screen.print(Text(f"{recorded}; the simulator counted {counted}: {verdict}", style=style), soft_wrap=True)
    return right


def _board(screen: Console, session: DuckDBSession, folder: Path) -> None:
    """Draws the gateway board of these calls, where the extra for charts is installed."""
    file = folder / "gateway.html"
    try:
        html, _ = html_of(session, load(find("gateway")), "gateway", {})
    except ConfigError as error:
        screen.print(Text(f"The gateway board is not drawn: {error}", style="dim"), soft_wrap=True)
        return
    file.write_text(html, encoding="utf-8")
    _step(screen, "The board", f"{_short(file)}, to open in a browser: these calls as charts, in one file")


def _go_on(screen: Console, asked: DemoProvider) -> None:
    place, aiq = asked.place, _command()
    where = f"--conf {_short(place.conf)} --home {_short(place.home)}"
    lines = []
    if asked.simulator is not None:
        lines += ["# the simulator ended with the demo; to ask on, start it again in another terminal"]
        lines += [f"{aiq} simulate --port {asked.simulator.port}"]
    if asked.local:
        lines += ["# the model ended with the demo; to ask on, start it again, and end it with `down`"]
        lines += [f"{aiq} local up --home {_short(place.home)} --port {urlsplit(asked.url).port}"]
    lines += [
        "# ask on",
        f"""{aiq} sql "SELECT name, ai_query('chat', 'Who needs this? ' || text) AS who FROM texts LIMIT 5" \\""",
        f"    --db {_short(place.database)} {where}",
        "# the payloads of the calls, any file of sql/, and the tables in which all this is",
        f'{aiq} sql "SELECT request, response FROM main.aiq.chat_payload LIMIT 3" {where}',
        f"{aiq} sql --file {_short(sql_folder() / 'spend_by_day.sql')} {where}",
        f"{aiq} tables list --home {_short(place.home)}",
        f"# the endpoints, to read and to copy: {_short(place.endpoints)}",
        f"{aiq} endpoints list {where}",
    ]
    if asked.simulator is not None or asked.local:
        lines += ["# with a model of your own: a key, or a server with OpenAI's API such as Ollama"]
        lines += [f"OPENAI_API_KEY=... {aiq} demo"]
        lines += [f"OPENAI_BASE_URL=http://localhost:11434/v1 OPENAI_MODEL=... OPENAI_EMBEDDING_MODEL=... {aiq} demo"]
    _step(screen, "To go on", "")
    for line in lines:
        screen.print(Text(line, style="dim" if line.startswith("#") else ""), soft_wrap=True)


def _command() -> str:
    """`aiq` as this person has to type it: by its path where its environment is not activated."""
    script = Path(sys.executable).parent / "aiq"
    found = shutil.which("aiq")
    if found is not None and Path(found) == script:
        return "aiq"
    return _short(script) if script.exists() else f"{_short(Path(sys.executable))} -m aiq.cli"


def _step(screen: Console, title: str, text: str) -> None:
    screen.print()
    screen.print(Text.assemble((title, "bold cyan"), f": {text}" if text else ""), soft_wrap=True)


def _show(screen: Console, session: DuckDBSession, sql: str) -> None:
    _print_sql(screen, sql)
    result = session.sql(sql)
    assert result is not None
    screen.print(table(result))


def _print_sql(screen: Console, sql: str) -> None:
    shown = (
        Syntax(sql, "sql", theme="ansi_dark", background_color="default", word_wrap=True)
        if screen.is_terminal
        else Text(sql)
    )
    screen.print(Padding(shown, (0, 0, 0, 2), expand=False))


def _short(path: Path) -> str:
    """Relative to where the person is, if it is below."""
    here = Path.cwd()
    absolute = path.absolute()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(absolute)


def _width(screen: Console) -> int:
    return min(screen.width, 120)
