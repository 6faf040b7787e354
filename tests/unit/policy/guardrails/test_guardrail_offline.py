"""Finding personal data needs no network and writes no file, at first use neither."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import aiq

ROOT = Path(aiq.__file__).parents[1]
FIRST_USE = """
import socket, sys
def refuse(*_, **__):
    raise AssertionError("a socket was opened")
socket.socket.connect = socket.socket.connect_ex = socket.create_connection = socket.getaddrinfo = refuse
from aiq.config.endpoint import PII_ENTITIES
from aiq.policy.guardrails.pii import PiiDetector
found = PiiDetector(PII_ENTITIES).find("jane@example.co.uk, 212-555-0123, DE89370400440532013000")
print(sorted(f.entity_type for f in found))
"""


def run(code: str, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": str(ROOT), "HOME": str(home), "PATH": os.environ["PATH"]}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)


def test_the_first_use_opens_no_socket(tmp_path: Path) -> None:
    done = run(FIRST_USE, tmp_path)
    assert (done.stdout.strip(), done.returncode) == ("['EMAIL_ADDRESS', 'IBAN_CODE', 'PHONE_NUMBER']", 0), done.stderr


def test_the_first_use_writes_nothing_into_the_home_folder(tmp_path: Path) -> None:
    run(FIRST_USE, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_first_use_says_nothing(tmp_path: Path) -> None:
    assert run(FIRST_USE, tmp_path).stderr == ""


def test_a_clean_text_is_settled_without_importing_presidio(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom aiq.policy.guardrails.guards import Guards\n"
        "from aiq.policy.guardrails.pii import PiiDetector\nfrom aiq.config.endpoint import PII_ENTITIES\n"
        "print(PiiDetector(PII_ENTITIES).find('In 2024 it was fine.'), 'presidio_analyzer' in sys.modules)"
    )
    assert run(code, tmp_path).stdout.strip() == "[] False"
