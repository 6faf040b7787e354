"""Generated values conform to the schema they were asked for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiq.simulator.schema import conforming, violating

_NAMES = st.sampled_from(["name", "score", "tags", "when", "note"])


def _bounded(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    bounds = st.tuples(st.integers(-50, 50), st.integers(0, 60))
    return st.one_of(
        st.just({"type": kind}),
        bounds.map(lambda b: {"type": kind, "minimum": b[0], "maximum": b[0] + b[1]}),
        st.integers(-50, 50).map(lambda b: {"type": kind, "exclusiveMinimum": b}),
        st.integers(-50, 50).map(lambda b: {"type": kind, "maximum": b}),
    )


def _texts() -> st.SearchStrategy[dict[str, Any]]:
    return st.tuples(st.integers(0, 40), st.integers(0, 40)).map(
        lambda b: {"type": "string", "minLength": b[0], "maxLength": b[0] + b[1]}
    )


def _nested(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    arrays = st.tuples(inner, st.integers(0, 4), st.integers(0, 3)).map(
        lambda a: {"type": "array", "items": a[0], "minItems": a[1], "maxItems": a[1] + a[2]}
    )
    objects = st.dictionaries(_NAMES, inner, max_size=4).map(
        lambda p: {
            "type": "object",
            "properties": p,
            "required": list(p),
            "additionalProperties": False,
        }
    )
    return st.one_of(arrays, objects, inner.map(lambda s: {"anyOf": [s, {"type": "null"}]}))


_LEAVES = st.one_of(
    _bounded("number"),
    _bounded("integer"),
    _texts(),
    st.just({"type": "boolean"}),
    st.just({"type": ["string", "null"]}),
    st.lists(st.sampled_from(["a", "b", "c", 1, None]), min_size=1).map(lambda v: {"enum": v}),
)
_SCHEMAS = st.recursive(_LEAVES, _nested, max_leaves=8)


def _accepts(schema: dict[str, Any], value: Any) -> bool:
    """A checker for the keywords that `_SCHEMAS` uses, written apart from the generator."""
    if "enum" in schema:
        return value in schema["enum"]
    if "anyOf" in schema:
        return any(_accepts(branch, value) for branch in schema["anyOf"])
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    names = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}
    kind = names.get(type(value)) or ("array" if isinstance(value, list) else "object")
    if kind not in kinds and not (kind == "integer" and "number" in kinds):
        return False
    if kind in ("integer", "number"):
        return (
            schema.get("minimum", value) <= value <= schema.get("maximum", value)
            and schema.get("exclusiveMinimum", value - 1) < value
        )
    if kind == "string":
        return schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 10**6)
    if kind == "array":
        return schema["minItems"] <= len(value) <= schema["maxItems"] and all(
            _accepts(schema["items"], item) for item in value
        )
    if kind == "object":
        return value.keys() == schema["properties"].keys() and all(
            _accepts(schema["properties"][name], item) for name, item in value.items()
        )
    return True


@settings(max_examples=150, deadline=None)
@given(schema=_SCHEMAS, seed=st.integers(0, 2**64 - 1))
def test_every_value_conforms_to_its_schema(schema: dict[str, Any], seed: int) -> None:
    assert _accepts(schema, conforming(schema, seed))


@settings(max_examples=50, deadline=None)
@given(schema=_SCHEMAS, seed=st.integers(0, 2**64 - 1))
def test_the_same_seed_gives_the_same_value(schema: dict[str, Any], seed: int) -> None:
    assert conforming(schema, seed) == conforming(schema, seed)


@settings(max_examples=150, deadline=None)
@given(schema=_SCHEMAS, seed=st.integers(0, 2**64 - 1))
def test_a_violating_value_is_not_what_its_schema_asks_for(schema: dict[str, Any], seed: int) -> None:
    assert not _accepts(schema, violating(schema, seed))


@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize("closed", [True, False])
def test_a_violating_object_has_one_thing_wrong(required: bool, closed: bool) -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "string"}},
        "required": ["a", "b"] if required else [],
        "additionalProperties": not closed,
    }
    good, bad = conforming(schema, 3), violating(schema, 3)
    wrong = [name for name in {*good, *bad} if good.get(name) != bad.get(name)]
    assert len(wrong) == 1 and (wrong[0] not in bad) == required and ("unexpected" in bad) == (closed and not required)


def test_a_local_reference_is_followed() -> None:
    schema = {
        "type": "object",
        "properties": {"item": {"$ref": "#/$defs/item"}},
        "$defs": {"item": {"type": "object", "properties": {"n": {"type": "integer"}}}},
    }
    assert isinstance(conforming(schema, 1)["item"]["n"], int)


def test_a_recursive_schema_comes_to_an_end() -> None:
    node = {
        "type": "object",
        "properties": {
            "children": {"type": "array", "items": {"$ref": "#"}},
            "next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
        },
        "required": ["children", "next"],
        "additionalProperties": False,
    }
    assert len(json.dumps(conforming(node, 3))) < 1_000_000


@pytest.mark.parametrize("seed", range(5))
def test_a_multiple_is_a_multiple(seed: int) -> None:
    assert conforming({"type": "integer", "minimum": 4, "multipleOf": 5}, seed) % 5 == 0


def test_texts_say_that_they_are_simulated() -> None:
    value = conforming({"type": "object", "properties": {"city": {"type": "string"}}}, 1)
    assert value["city"].startswith("simulated city")


@pytest.mark.parametrize("properties", [[[None, None]], [], "text", {"a": []}])
def test_properties_that_are_none_give_json_all_the_same(properties: object) -> None:
    schema = {"type": "object", "properties": properties, "required": 1}
    for value in (conforming(schema, 1), violating(schema, 1)):
        assert json.loads(json.dumps(value)) == value
