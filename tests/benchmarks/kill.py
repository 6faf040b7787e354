"""What a kill costs: a statement of 200 rows is killed at a random moment, and run again by another process.

    python tests/benchmarks/kill.py [--rounds 100] [--seed 0]

Of three rounds, one is killed when a drawn number of rows is answered, one in the moment after the last answer, and one
anywhere from the start of the statement to the end of the process. After each round: `lost` are calls that the provider
answered and the ledger does not have, `doubled` calls that it has twice, `repaid` answers that the second process paid
for though the first one had them in flight or answered. A process that had its rows before the kill has paid for them,
and the second one pays for its own. Exits with 1 where a call is lost or doubled, an answer is wrong, or more is repaid
than was in flight.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import tempfile
import time
from pathlib import Path
from subprocess import PIPE
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiq.simulator.process import SimulatorProcess

sys.path.insert(0, str(Path(__file__).parents[2]))
ROWS, IN_FLIGHT, LATENCY_MS = 200, 16, 10
CHILD = """
import sys
import aiq
with aiq.connect(conf=sys.argv[1], home=sys.argv[2], user="ann") as session:
    print("ready", flush=True)
    sys.stdin.readline()
    rows = session.sql(f"SELECT i, ai_query('chat', 'Round {sys.argv[3]} row ' || i) FROM range({sys.argv[4]}) r(i)")
    right = sum(answer.endswith(f"Round {sys.argv[3]} row {i}") for i, answer in rows.fetchall())
    print(right, flush=True)
"""


def main() -> int:
    from aiq.ledger.ledger import Ledger
    from aiq.ledger.tables import Tables
    from aiq.simulator.process import SimulatorProcess
    from aiq.simulator.profile import Latency, Profile
    from tests.conftest import ConfFolder
    from tests.prepared import Program, prepared
    from tests.processes import idle, line_with

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    drawn = random.Random(asked.seed)
    profile = Profile(latency=Latency(fixed_ms=LATENCY_MS))
    with tempfile.TemporaryDirectory() as folder, SimulatorProcess.start(profile) as simulator:
        conf, home = ConfFolder(Path(folder) / "conf", simulator.url), Path(folder) / "home"
        conf.settings(concurrency=IN_FLIGHT)
        conf.endpoint("chat")

        def begin(number: int) -> Program:
            program = prepared().start("-c", CHILD, conf.path, home, str(number), str(ROWS), stdin=PIPE, stdout=PIPE)
            line_with(program, "ready")
            assert program.stdin is not None
            program.stdin.write("go\n")
            with contextlib.suppress(BrokenPipeError):
                program.stdin.flush()
            return program

        whole = begin(-1)
        begun = time.perf_counter()
        line_with(whole)
        whole.communicate()
        takes_s = time.perf_counter() - begun
        lost = doubled = repaid = wrong = most = paid = 0
        for number in range(asked.rounds):
            simulator.reset()
            program = begin(number)
            if number % 3:
                wait_until_answered(simulator, drawn.randrange(1, ROWS) if number % 3 == 1 else ROWS)
            if number % 3 != 1:
                time.sleep(drawn.uniform(0.0, takes_s / (8 if number % 3 else 1)))
            program.kill()
            ended = bool(program.communicate()[0].strip())
            first = idle(simulator)["ok"]
            again = begin(number)
            wrong += ROWS - int(line_with(again))
            again.communicate()
            answered = idle(simulator)["ok"]
            Ledger.open(home).close()  # what no process has committed yet
            rows = Tables(home).to_arrow("system.aiq.calls").to_pylist()
            calls = [(row["request_id"], row["attempt"]) for row in rows if row["attempt"]]
            kept = sum(row["attempt"] > 0 for row in rows)
            paid += answered
            lost = max(0, paid + ROWS - kept)
            doubled = len(calls) - len(set(calls))
            over = max(0, answered - ROWS * (1 + ended))
            repaid, most = repaid + over, max(most, over)
            print(
                f"round {number + 1}: {first} answered at the kill{', with its rows' if ended else ''}, {over} repaid; "
                f"so far lost {lost}, doubled {doubled}, repaid {repaid} (at most {most} a round), wrong {wrong}",
                flush=True,
            )
        return int(bool(lost or doubled or wrong or most > IN_FLIGHT))


def wait_until_answered(simulator: SimulatorProcess, rows: int) -> None:
    """Returns when so many rows are answered, and as soon as that can be known."""
    while simulator.stats()["ok"] < rows:
        time.sleep(0.005)


if __name__ == "__main__":
    sys.exit(main())
