"""How large the ledger's tables become, and what a statement costs, when statements of one row follow one another.

    python tests/benchmarks/small_statements.py [--statements N]

Prints a line for each tenth of the statements: milliseconds a statement, and files and megabytes of the largest table.
The bars for 10,000: at most 500 files and 50 MB a table, and the last tenth at most 1.5 times the first.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
BAR_FILES, BAR_MB, BAR_RATIO = 500, 50.0, 1.5


def main() -> int:
    import aiq
    from aiq.simulator.process import SimulatorProcess
    from tests.conftest import ConfFolder

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--statements", type=int, default=10_000)
    count = parser.parse_args().statements
    with tempfile.TemporaryDirectory() as folder, SimulatorProcess.start() as simulator:
        conf, home = ConfFolder(Path(folder) / "conf", simulator.url), Path(folder) / "home"
        table = {"enabled": True, "catalog_name": "main", "schema_name": "ai", "table_name_prefix": "chat"}
        conf.endpoint("chat", gateway={"inference_table_config": table})
        spent: list[float] = []
        with aiq.connect(conf=conf.path, home=home) as session:
            for tenth in range(10):
                begun = time.perf_counter()
                for n in range(count // 10):
                    rows = session.sql(f"SELECT ai_query('chat', 'prompt {tenth} {n}') AS a")
                    assert rows is not None and len(rows.fetchall()) == 1
                spent.append((time.perf_counter() - begun) / (count // 10))
                files, mb = largest(home)
                print(f"{(tenth + 1) * (count // 10):6}  {spent[-1] * 1e3:6.1f} ms  {files:5} files  {mb:6.1f} MB")
            answered = session.sql("SELECT count(*) FROM system.aiq.calls")
            assert answered is not None and answered.fetchall()[0][0] == count // 10 * 10
        files, mb = largest(home)
        kept = files <= BAR_FILES and mb <= BAR_MB and spent[-1] <= BAR_RATIO * spent[0]
        print(f"closed: {files} files, {mb:.1f} MB; every call is in the table; {'kept' if kept else 'NOT kept'}")
        return 0 if kept else 1


def largest(home: Path) -> tuple[int, float]:
    """The files, and the megabytes, of the table that has the most of each."""
    tables = [log.parent for log in (home / "tables").glob("*/*/*/_delta_log")]
    sizes = [[file.stat().st_size for file in table.rglob("*") if file.is_file()] for table in tables]
    return max(map(len, sizes)), max(map(sum, sizes)) / 1e6


if __name__ == "__main__":
    sys.exit(main())
