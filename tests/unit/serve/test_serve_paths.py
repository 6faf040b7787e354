"""Which endpoint a path names."""

from __future__ import annotations

import pytest

from aiq.serve.paths import target_of


@pytest.mark.parametrize(
    ("path", "name", "entity"),
    [
        ("/serving-endpoints/chat/invocations", "chat", None),
        ("/serving-endpoints/chat/served-models/mini/invocations", "chat", "mini"),
        ("/serving-endpoints/local/chat/invocations", "local/chat", None),
        ("/serving-endpoints/local/embeddings/invocations", "local/embeddings", None),
        ("/serving-endpoints/local/invocations", "local", None),
    ],
)
def test_a_path_names_an_endpoint(path: str, name: str, entity: str | None) -> None:
    target = target_of(path)
    assert target is not None and (target.name, target.entity) == (name, entity)


def test_no_other_path_has_two_parts_of_a_name() -> None:
    assert target_of("/serving-endpoints/some/chat/invocations") is None
