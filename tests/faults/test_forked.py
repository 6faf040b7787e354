"""A process that was forked from one that uses aiq: what works in it, and what it is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.prepared import prepared
from tests.processes import PATIENCE_S

if TYPE_CHECKING:
    from tests.conftest import ConfFolder

Run = Callable[[str], list[str]]

BEGINNING = """\
import multiprocessing, os, sys
import duckdb
import aiq

conf, home = sys.argv[1:]

def connect():
    return aiq.connect(conf=conf, home=home)

def answer(prompt):
    with connect() as session:
        return session.sql("SELECT ai_query('chat', ?) AS a", [prompt]).fetchall()[0][0]

def in_child(work):
    sys.stdout.flush()
    child = os.fork()
    if child:
        return os.waitpid(child, 0)
    try:
        print(work())
    except BaseException as error:
        print(f"{type(error).__name__}: {error}".replace(chr(10), " "))
    sys.stdout.flush()
    os._exit(0)

if __name__ == "__main__":
"""


@pytest.fixture
def run(tmp_path: Path, conf: ConfFolder, home: Path) -> Run:
    """The lines that a process prints which runs a script; whatever it says on standard error is an error."""

    def run(script: str) -> list[str]:
        file = tmp_path / "script.py"
        file.write_text(BEGINNING + "".join(f"    {line}\n" for line in script.splitlines()))
        done = prepared().run(file, conf.path, home, timeout=PATIENCE_S)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    return run


def test_a_child_may_open_its_own_session_where_its_parent_has_asked_nothing_yet(run: Run) -> None:
    of_child, of_parent = run(
        "session = connect()\n"
        "session.sql('SELECT 1').fetchall()\n"
        "in_child(lambda: answer('child'))\n"
        "print(answer('parent'))\n"
        "session.close()"
    )
    assert (of_child.endswith("child"), of_parent.endswith("parent")) == (True, True)


@pytest.mark.parametrize(
    "before", ["pass", "session.sql('''SELECT ai_query('chat', 'x') AS a''')"], ids=["new", "used"]
)
@pytest.mark.parametrize(
    "work",
    [
        "session.sql('''SELECT ai_query('chat', 'x') AS a''').fetchall()",
        "session.sql('SELECT 1').fetchall()",
        "session.sql('''SET aiq_reuse = 'session' ''')",
        "session.explain('''SELECT ai_query('chat', 'x') AS a''')",
        "list(session.stream('''SELECT ai_query('chat', 'x') AS a'''))",
        "session.con.sql('''SELECT ai_query('chat', 'x') AS a''').fetchall()",
        "session.con.cursor().sql('''SELECT ai_query('chat', 'x') AS a''').fetchall()",
    ],
)
def test_the_session_of_a_parent_is_refused_with_what_to_do(run: Run, before: str, work: str) -> None:
    of_child, of_parent = run(
        f"session = connect()\n{before}\nin_child(lambda: {work})\nprint(answer('parent'))\nsession.close()"
    )
    assert all(words in of_child for words in ("StatementError", "was forked from", "'spawn'", "aiq.connect"))
    assert of_parent.endswith("parent")


def test_a_stream_that_its_parent_began_is_refused(run: Run) -> None:
    (of_child,) = run(
        "session = connect()\n"
        "rows = session.stream('''SELECT ai_query('chat', 'x' || i) AS a FROM range(3000) AS r(i)''', batch_rows=10)\n"
        "next(rows)\n"
        "in_child(lambda: list(rows))\n"
        "assert sum(batch.num_rows for batch in rows) == 2990\n"
        "session.close()"
    )
    assert of_child.startswith("StatementError") and "'spawn'" in of_child


def test_a_child_whose_parent_has_asked_already_is_told_before_it_asks(run: Run) -> None:
    lines = run(
        "answer('parent')\n"
        "in_child(lambda: answer('child'))\n"
        "in_child(lambda: aiq.register(duckdb.connect(), conf=conf, home=home))"
    )
    assert len(lines) == 2
    assert all(line.startswith("StatementError") and "pyreqwest" in line and "'spawn'" in line for line in lines)


def test_closing_the_session_of_a_parent_takes_nothing_from_it(
    run: Run, ledger_rows: Callable[..., list[dict[str, Any]]]
) -> None:
    of_child, of_parent = run(
        "session = connect()\n"
        "session.sql('''CREATE TABLE t AS SELECT ai_query('chat', 'x') AS a''')\n"
        "in_child(session.close)\n"
        "print(session.sql('''SELECT ai_query('chat', 'y') AS a FROM t''').fetchall()[0][0])\n"
        "session.close()"
    )
    assert (of_child, of_parent.endswith("y"), len(ledger_rows("system.aiq.calls", status="ok"))) == ("None", True, 2)


@pytest.mark.parametrize(("method", "before"), [("fork", "connect()"), ("spawn", "answer('parent')")])
def test_the_workers_of_a_pool_have_sessions_of_their_own(run: Run, method: str, before: str) -> None:
    lines = run(
        f"{before}\n"
        f"with multiprocessing.get_context('{method}').Pool(2) as pool:\n"
        "    print('\\n'.join(pool.map(answer, ['worker 0', 'worker 1', 'worker 2'])))"
    )
    # DuckDB draws its own progress in a process that it takes for a person's, as those of `spawn` on a slow machine
    assert [line[-8:] for line in lines if "worker" in line] == ["worker 0", "worker 1", "worker 2"]
