"""Workers end when the process that they work for is gone."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from aiq.answers.shared import name_of, process_name
from aiq.engines.spark.orphaned import end_with
from tests.processes import PATIENCE_S

WORKER = """
import sys
from aiq.engines.spark.orphaned import end_with
end_with(sys.argv[1])
print("works", flush=True)
sys.stdin.read()
"""
PARENT = """
import subprocess, sys, time
worker = subprocess.Popen([sys.executable, "-c", sys.argv[1], sys.argv[2]], stdin=subprocess.PIPE)
time.sleep(1000)
"""


@pytest.fixture
def driver() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_a_worker_ends_when_its_driver_is_killed_and_nobody_has_looked_at_how(driver: subprocess.Popen[bytes]) -> None:
    command = [sys.executable, "-c", WORKER, name_of(driver.pid)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None and worker.stdout.readline() == b"works\n"
        assert worker.poll() is None
        driver.kill()
        assert worker.wait(PATIENCE_S) == 1


def test_a_worker_ends_when_the_process_that_started_it_is_killed(driver: subprocess.Popen[bytes]) -> None:
    command = [sys.executable, "-c", PARENT, WORKER, name_of(driver.pid)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None and parent.stdout.readline() == b"works\n"
        parent.kill()
        assert parent.stdout.read() == b""  # the worker had it open, too


def test_the_driver_does_not_watch_itself() -> None:
    before = threading.active_count()
    end_with(process_name())
    assert threading.active_count() == before
