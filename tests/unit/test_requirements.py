"""What `make test` installs is there. Otherwise one test fails here and says why; those that need it are skipped."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from tests.processes import CLIENTS
from tests.spark import NO_JAVA

INSTALLED = {
    "chromium": ("chromium", "boards are looked at in Chromium (Debian: apt-get install chromium)"),
    "java": ("java", NO_JAVA),
    "redis": ("redis-server", "limits that a cluster shares need Redis (Debian: apt-get install redis-server)"),
}
"""Target of the Makefile: the program, and what is said where it may not be installed."""


def may_install() -> bool:
    """Whether `make` may install packages here: there is apt-get, and root, or sudo without a password."""
    if shutil.which("apt-get") is None:
        return False
    if os.geteuid() == 0:
        return True
    return (
        shutil.which("sudo") is not None and subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode == 0
    )


@pytest.mark.parametrize("target", INSTALLED)
def test_what_make_test_installs_is_there(target: str) -> None:
    program, reason = INSTALLED[target]
    if shutil.which(program) is not None or (target == "java" and "JAVA_HOME" in os.environ):
        return
    if not may_install():
        pytest.skip(f"{reason}; `make {target}` may not install it here, and the tests that need it are skipped")
    pytest.fail(f"{reason}; run `make {target}` and read what apt-get says", pytrace=False)


def test_the_environment_of_other_clients_is_there() -> None:
    environment = CLIENTS.parent.parent
    if (environment / ".installed").exists():
        return
    failed = environment / "failed.log"
    if failed.exists():
        pytest.skip(
            f"{environment} could not be installed, and the tests that need it are skipped: {failed.read_text()}"
        )
    pytest.fail(f"{environment} is missing; run `make clients`", pytrace=False)
