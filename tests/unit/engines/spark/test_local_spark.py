"""The Spark that tests share, where it cannot run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.spark import NO_JAVA, LocalSpark


@pytest.mark.skipif(shutil.which("java") is None and "JAVA_HOME" not in os.environ, reason=NO_JAVA)
def test_what_keeps_a_jvm_from_starting_is_said_once_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Xmx1x")
    spark = LocalSpark(tmp_path)
    with pytest.raises(pytest.fail.Exception, match="Invalid maximum heap size"):
        spark.session()
    with pytest.raises(pytest.skip.Exception, match="the first test that failed"):
        spark.session()
    spark.stop()
