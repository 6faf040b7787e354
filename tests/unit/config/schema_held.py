"""Holds the JSON Schema of the configuration to its readers, whatever the tests of this folder have them read.

Each name, choice and range that a reader asks of a value must be what the schema says there; and a file that the
readers take must be valid.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Collection, Iterator
from typing import Any

import jsonschema_rs
import pytest

from aiq.config import load
from aiq.config.document import Node, read_documents
from aiq.config.schema import endpoint_schema, settings_schema

SCHEMAS = {"endpoints": endpoint_schema(), "settings": settings_schema()}
ENDPOINTS, SETTINGS = (jsonschema_rs.Draft7Validator(schema) for schema in SCHEMAS.values())
Shape = dict[str, Any]


def plain(node: Node) -> Any:
    """A value as an editor has it."""
    if isinstance(node.value, dict):
        return {name: plain(member) for name, member in node.value.items()}
    if isinstance(node.value, list):
        return [plain(item) for item in node.value]
    return node.value


def held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the test is over, a reader that says otherwise than the schema fails it."""

    def asked(method: str, agrees: Callable[..., bool]) -> None:
        real = getattr(Node, method)

        def ask(node: Node, *arguments: Any, **named: Any) -> Any:
            kind = "settings" if node.file.endswith("aiq.yml") else "endpoints"
            if kind == "settings" or "/endpoints/" in node.file:
                shapes = _at(kind, _steps(node.field))
                assert any(agrees(shape, *arguments) for shape in shapes), (node, method, arguments)
            return real(node, *arguments, **named)

        monkeypatch.setattr(Node, method, ask)

    def names(shape: Shape, known: Collection[str], ignored: Collection[str] = ()) -> bool:
        return set(shape.get("properties", ())) == {*known, *ignored} and not shape["additionalProperties"]

    asked("fields", names)
    asked("choice", lambda shape, options: set(shape.get("enum", ())) == set(options))
    asked("integer", lambda shape, low, high: (shape.get("minimum"), shape.get("maximum")) == (low, high))
    asked("number", lambda shape, _: shape.get("type") == "number")
    asked("boolean", lambda shape: shape.get("type") == "boolean")
    asked("items", lambda shape: "array" in shape.get("type", ()))

    read_endpoints, read_settings = load.read_endpoints, load.read_settings

    def endpoints(path: str, *arguments: Any) -> Iterator[Any]:
        yield from read_endpoints(path, *arguments)
        for document in read_documents(path):
            ENDPOINTS.validate(plain(document))

    def settings(path: str, *arguments: Any) -> Any:
        read = read_settings(path, *arguments)
        if read.settings != type(read.settings)():
            for document in read_documents(path):
                SETTINGS.validate(plain(document))
        return read

    monkeypatch.setattr(load, "read_endpoints", endpoints)
    monkeypatch.setattr(load, "read_settings", settings)


def _steps(field: str) -> tuple[str, ...]:
    """The way to a dotted field from the root; `[` steps into a list."""
    return tuple(step for step in re.sub(r"\[\d+\]", ".[", field).split(".") if step)


def _parts(shape: Shape, root: Shape) -> Iterator[Shape]:
    """The parts of a schema that speak of the value itself."""
    if "$ref" in shape:
        shape = root["definitions"][shape["$ref"].rpartition("/")[2]]
    yield shape
    for part in [*shape.get("anyOf", ()), *shape.get("allOf", ()), shape.get("then"), shape.get("else")]:
        if part is not None:
            yield from _parts(part, root)


@functools.cache
def _at(kind: str, way: tuple[str, ...]) -> list[Shape]:
    """What a schema says of the value at the end of a way from the root."""
    root = SCHEMAS[kind]
    found = list(_parts(root, root))
    for step in way:
        inner: list[Shape] = []
        for shape in found:
            if step == "[":
                inner += [shape["items"]] if "items" in shape else []
            elif step in shape.get("properties", ()):
                inner.append(shape["properties"][step])
            elif shape.get("additionalProperties"):
                inner += [shape["additionalProperties"], shape]  # the name of a model may go on behind its dot
        found = [part for shape in inner for part in _parts(shape, root)]
    return found
