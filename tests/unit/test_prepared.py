"""Programs in forks of a prepared process are processes like any other."""

from __future__ import annotations

import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.prepared import prepared
from tests.processes import PATIENCE_S, line_with


def test_a_program_has_its_own_words_input_folder_and_environment(tmp_path: Path) -> None:
    (tmp_path / "named.py").write_text("import os, sys\nprint(__name__, sys.argv[1:], os.getcwd(), dict(os.environ))\n")
    done = prepared().run(tmp_path / "named.py", 1, "é", env={"A": "b"}, cwd=tmp_path)
    assert (done.stdout, done.stderr) == (f"__main__ ['1', 'é'] {tmp_path} {{'A': 'b'}}\n", "")
    assert prepared().run("-c", "print(input())", stdin="é\n").stdout == "é\n"
    assert prepared().run("-c", "import sys; print(len(sys.argv[1]))", "x" * 1_000_000).stdout == "1000000\n"


@pytest.mark.parametrize(
    ("program", "code", "error"),
    [
        ("raise SystemExit(3)", 3, ""),
        ("import atexit; atexit.register(print, 'last'); 1 / 0", 1, "ZeroDivisionError: division by zero"),
        (f"import os; os.kill(os.getpid(), {signal.SIGKILL})", -signal.SIGKILL, ""),
        ("import os; os._exit(7)", 7, ""),
    ],
)
def test_a_program_ends_as_with_an_interpreter_of_its_own(program: str, code: int, error: str) -> None:
    done = prepared().run("-c", program)
    assert (done.returncode, error in done.stderr, "last" in done.stdout) == (code, True, "atexit" in program)


def test_programs_run_side_by_side_and_are_killed_alone() -> None:
    program = "import sys\nprint('ready', flush=True)\nprint(sys.stdin.read())"
    both = [prepared().start("-c", program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)]
    assert [line_with(each) for each in both] == ["ready", "ready"]
    assert [each.poll() for each in both] == [None, None]
    both[0].kill()
    assert both[0].wait(PATIENCE_S) == -signal.SIGKILL
    assert (both[1].communicate("goes on"), both[1].returncode) == (("goes on\n", None), 0)


def test_threads_may_start_programs_at_once() -> None:
    program, sizes = "import sys; print(len(sys.argv[1]))", [500_000 + i for i in range(8)]
    with ThreadPoolExecutor(len(sizes)) as pool:  # each order is longer than a socket takes at once
        done = list(pool.map(lambda size: prepared().run("-c", program, "x" * size).stdout, sizes))
    assert done == [f"{size}\n" for size in sizes]


def test_nothing_that_is_prepared_has_threads_that_a_fork_would_miss() -> None:
    loaded = prepared().run("-c", "from aiq.engines.duckdb.rewrite import tree; print(hasattr(tree._thread, 'reader'))")
    assert loaded.stdout == "False\n", "an import opened a DuckDB, whose threads no fork has"


def test_a_program_that_lasts_too_long_is_ended() -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        prepared().run("-c", "import signal; signal.pause()", timeout=0.0)
