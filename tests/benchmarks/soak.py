"""What stays when a process runs statements for long: files and megabytes of its home, memory, open descriptors.

    python tests/benchmarks/soak.py [--minutes 30] [--rate 20]        # or: make soak

One session asks one row a statement, so many statements a second. Prints a line each sixth of the time, and exits with
1 where a table has more than 500 files or 50 MB for 10,000 statements, descriptors grow by more than 16 or memory by
more than half after the first sixth, or a call is missing in the table.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parent))
LINES = 6
BAR_FILES, BAR_MB, BAR_DESCRIPTORS, BAR_MEMORY = 500, 50.0, 16, 1.5


def main() -> int:
    from small_statements import largest

    import aiq
    from aiq.simulator.process import SimulatorProcess
    from tests.conftest import ConfFolder

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=20.0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, SimulatorProcess.start() as simulator:
        conf, home = ConfFolder(Path(folder) / "conf", simulator.url), Path(folder) / "home"
        table = {"enabled": True, "catalog_name": "main", "schema_name": "ai", "table_name_prefix": "chat"}
        conf.endpoint("chat", gateway={"inference_table_config": table})
        with aiq.connect(conf=conf.path, home=home) as session:
            begun, done, kept = time.monotonic(), 0, True
            first: tuple[float, int] | None = None
            print("minute  statements  ms each  files  table MB  home MB  RSS MB  descriptors")
            for line in range(1, LINES + 1):
                part, spent = begun + 60 * asked.minutes * line / LINES, 0.0
                before = done
                while (now := time.monotonic()) < part:
                    due = begun + done / asked.rate
                    if due > now:
                        time.sleep(min(due, part) - now)
                        continue
                    rows = session.sql(f"SELECT ai_query('chat', 'prompt {done}') AS a")
                    assert rows is not None and len(rows.fetchall()) == 1
                    spent, done = spent + time.monotonic() - now, done + 1
                files, mb = largest(home)
                memory, descriptors = resident_mb(), len(os.listdir("/proc/self/fd"))
                size = sum(file.stat().st_size for file in home.rglob("*") if file.is_file()) / 1e6
                each = 1e3 * spent / max(1, done - before)
                print(
                    f"{asked.minutes * line / LINES:6.1f}  {done:10}  {each:7.1f}  {files:5}  {mb:8.1f}  {size:7.1f}  "
                    f"{memory:6.0f}  {descriptors:11}",
                    flush=True,
                )
                first = first or (memory, descriptors)
                scale = max(1.0, done / 10_000)
                kept &= files <= BAR_FILES * scale and mb <= BAR_MB * scale
                kept &= memory <= BAR_MEMORY * first[0] and descriptors <= first[1] + BAR_DESCRIPTORS
            found = session.sql("SELECT count(*) FROM system.aiq.calls")
            assert found is not None
            counted = found.fetchall()[0][0]
        print(f"{counted} of {done} calls are in the table; the bars are {'kept' if kept else 'NOT kept'}")
        return 0 if kept and counted == done else 1


def resident_mb() -> float:
    """Megabytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    sys.exit(main())
