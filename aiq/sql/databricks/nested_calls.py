# ruff: noqa: E501 -- one line an entry
"""Calls that make and read arrays, maps, structs and JSON, and the rows that generators make."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

from sqlglot import exp

from aiq.errors import FunctionError
from aiq.functions.types import duckdb_type, parse_type
from aiq.sql.databricks.casts import CASTS, cast
from aiq.sql.databricks.json_schemas import schema_of
from aiq.sql.databricks.json_values import json_structure
from aiq.sql.databricks.macros import FUNCTION, SCHEMA
from aiq.sql.databricks.one_type import alike
from aiq.sql.databricks.words import Print, literal, makes_array, message, name_of, quoted, refused


def _get_json_object(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    path = literal(arguments[1], name, "path")
    if not path.startswith("$"):
        return "CAST(NULL AS VARCHAR)"
    if re.fullmatch(r"\$(\.\w([\w -]*\w)?|\[\d+\]|\['[^'\"]*'\])*", path) is None:
        raise refused(f"{name} with the path {path}")
    spelled = re.sub(r"\['([^']*)'\]|\.([\w -]+)", r'."\1\2"', path)
    return f"{SCHEMA}.json_text({show(arguments[0])}, {quoted(spelled)})"


def _from_json(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    """The text is made to fit its schema as Spark does it, so that DuckDB only reads it: `json_transform(fitted, ..)`."""
    if len(arguments) != 2:
        raise refused(f"{name} with options")
    schema = (
        _inferred(arguments[1]) if name_of(arguments[1]) == "schema_of_json" else literal(arguments[1], name, "schema")
    )
    try:
        kind = parse_type(schema)
        structure = json_structure(kind)
    except FunctionError:
        raise refused(f"{name} with the schema '{schema}'") from None
    fitted = f"{FUNCTION}from_json({SCHEMA}.joined({show(arguments[0])}), {quoted(schema)})"
    # DuckDB gives a constant NULL no type, in which explode and c.* would find no fields: the cast gives it its own.
    return f"CAST(json_transform(CAST({fitted} AS VARCHAR), {quoted(json.dumps(structure))}) AS {duckdb_type(kind)})"


def _inferred(node: exp.Expr) -> str:
    """The type that `schema_of_json('..')` names."""
    arguments = node.expressions
    if len(arguments) != 1:
        raise refused("schema_of_json with options")
    found = schema_of(literal(arguments[0], "schema_of_json", "JSON text"))
    if found is None:
        raise refused(f"schema_of_json of {arguments[0].sql()[:60]}")
    return found


def _schema_of_json(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    return quoted(_inferred(exp.Anonymous(this=name, expressions=[each.copy() for each in arguments])))


def _struct(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    if name == "named_struct":
        keys, values = [literal(each, name, "name") for each in arguments[::2]], list(arguments[1::2])
    else:
        keys = [each.alias_or_name or f"col{i}" for i, each in enumerate(arguments, 1)]
        keys = [
            key if isinstance(each, (exp.Alias, exp.Column, exp.Dot, exp.Identifier)) else f"col{i}"
            for i, (key, each) in enumerate(zip(keys, arguments, strict=True), 1)
        ]
        values = [each.this if isinstance(each, exp.Alias) else each for each in arguments]
    if not keys or len(keys) != len(values):
        raise refused(f"{name} with {len(arguments)} arguments")
    if sum(each.is_star for each in values) > 1:
        raise refused(f"{name} of several *", "has no exact counterpart on DuckDB; name the columns")
    if any(each.is_star for each in values):
        fields = [
            f"*COLUMNS({show(value)})"
            if value.is_star
            else f"{exp.to_identifier(key, quoted=True).sql()} := {show(value)}"
            for key, value in zip(keys, values, strict=True)
        ]
        return f"struct_pack({', '.join(fields)})"
    return "{" + ", ".join(f"{quoted(key)}: {show(value)}" for key, value in zip(keys, values, strict=True)) + "}"


def _map(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    keys, values = (", ".join(alike(arguments[at::2], name, show)) for at in (0, 1))
    return f"map([{keys}], [{values}])"


def _with_index(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    """DuckDB counts the places of a list from 1."""
    values, function = arguments
    if not isinstance(function, exp.Lambda) or len(function.expressions) > 2:
        raise refused(f"{name} with this function")
    if len(function.expressions) == 2:
        index = function.expressions[1].name
        for node in list(function.this.find_all(exp.Identifier)):
            if node.name == index and not isinstance(node.parent, (exp.Dot, exp.Alias)):
                target = node.parent if isinstance(node.parent, exp.Column) else node
                made = exp.Paren(this=exp.Column(this=exp.to_identifier(f"({index} - 1)::INTEGER")))
                _put(target, made, node.name)
    shown = show(function)
    if len(function.expressions) == 2:
        shown = shown.replace(f'"({index} - 1)::INTEGER"', f"({index} - 1)::INTEGER")
    return f"list_{name}({show(values)}, {shown})"


def with_places(function: exp.Lambda, places: Sequence[str], show: Print) -> str:
    """The body of a lambda with texts of DuckDB's in the places of its parameters."""
    given = {each.name.lower(): place for each, place in zip(function.expressions, places, strict=True)}
    body = exp.Paren(this=function.this.copy())
    for node in list(body.find_all(exp.Identifier)):
        parent, name = node.parent, node.name.lower()
        inner = {each.name.lower() for up in _above(node) if isinstance(up, exp.Lambda) for each in up.expressions}
        of_table = isinstance(parent, exp.Column) and (node.arg_key != "this" or bool(parent.table))
        field = isinstance(parent, exp.Dot) and node.arg_key == "expression"
        if name in given and name not in inner and not (of_table or field or isinstance(parent, exp.Alias)):
            target = parent if isinstance(parent, exp.Column) else node
            _put(target, exp.Var(this=given[name]), node.name)
    return show(body)


def _put(target: exp.Expr, made: exp.Expr, name: str) -> None:
    """Puts a node in the place of a lambda's parameter, whose name `struct(..)` gives to its field."""
    target.replace(exp.alias_(made, name, quoted=True) if name_of(target.parent or made) == "struct" else made)


def _above(node: exp.Expr) -> Iterator[exp.Expr]:
    while node.parent is not None:
        node = node.parent
        yield node


def _lambda(name: str, node: exp.Expr, count: int) -> exp.Lambda:
    if not isinstance(node, exp.Lambda) or len(node.expressions) != count:
        raise refused(f"{name} with this function")
    return node


def _of_map(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    """map_filter, transform_keys, transform_values: over the entries of a map."""
    value, function = show(arguments[0]), _lambda(name, arguments[1], 2)
    made = f"lambda aiq_x: {with_places(function, ('aiq_x.key', 'aiq_x.value'), show)}"
    entries = f"map_entries({value})"
    if name == "map_filter":
        return f"map_from_entries(list_filter({entries}, {made}))"
    if name == "transform_keys":
        return f"map(list_transform({entries}, {made}), map_values({value}))"
    return f"map(map_keys({value}), list_transform({entries}, {made}))"


def _zip_with(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    left, right = map(show, arguments[:2])
    body = with_places(_lambda(name, arguments[2], 2), (f"{left}[aiq_i + 1]", f"{right}[aiq_i + 1]"), show)
    places = f"range(greatest(len({left}), len({right})))"
    return (
        f"CASE WHEN {left} IS NOT NULL AND {right} IS NOT NULL THEN list_transform({places}, lambda aiq_i: {body}) END"
    )


def _arrays_zip(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    lists = [show(each) for each in arguments]
    names = [each.name if isinstance(each, exp.Column) else str(i) for i, each in enumerate(arguments)]
    fields = ", ".join(f"{quoted(key)}: {each}[aiq_i + 1]" for key, each in zip(names, lists, strict=True))
    known = " AND ".join(f"{each} IS NOT NULL" for each in lists)
    longest = ", ".join(f"len({each})" for each in lists)
    return f"CASE WHEN {known} THEN list_transform(range(greatest({longest})), lambda aiq_i: {{{fields}}}) END"


def _reduce(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    if len(arguments) not in (3, 4):
        raise refused(f"{name} with {len(arguments)} arguments")
    value, first, merge = arguments[:3]
    made = f"list_reduce({show(value)}, {show(_lambda(name, merge, 2))}, {show(first)})"
    if len(arguments) == 3:
        return made
    return f"list_transform([{made}], lambda aiq_x: {with_places(_lambda(name, arguments[3], 1), ('aiq_x',), show)})[1]"


def _exists(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    """Three-valued: NULL where no element decides and one is unknown."""
    values, function = arguments
    if not isinstance(function, exp.Lambda) or len(function.expressions) != 1:
        raise refused(f"{name} with this function")
    variable, condition, shown = show(function.expressions[0]), show(function.this), show(values)
    decides = f"({condition})" if name == "exists" else f"(NOT ({condition}))"
    found, other = ("true", "false") if name == "exists" else ("false", "true")
    return (
        f"CASE WHEN {shown} IS NULL THEN NULL WHEN len(list_filter({shown}, lambda {variable}: {decides})) > 0 THEN {found} "
        f"WHEN len(list_filter({shown}, lambda {variable}: ({condition}) IS NULL)) > 0 THEN NULL ELSE {other} END"
    )


def variant_text(source: str, path: str, kind: str) -> str:
    """The text of a value in a VARIANT that is cast to a type: a whole number drops the fraction of a number, and so on."""
    if kind in ("TINYINT", "SMALLINT", "INT", "BIGINT", "BOOLEAN", "TIMESTAMP"):
        to = kind if kind in ("BOOLEAN", "TIMESTAMP") else "INT"
    elif kind in ("FLOAT", "DOUBLE") or kind.startswith("DECIMAL"):
        to = "FLOAT"
    else:
        return f"{SCHEMA}.json_text({source}, {path})"
    return f"{SCHEMA}.variant_text({source}, {path}, {quoted(to)})"


def _variant_get(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    """`variant_get(parse_json(text), path, type)`: a cast of the text of the value."""
    value, *rest = arguments
    if (
        len(rest) != 2
        or not isinstance(value, exp.Anonymous)
        or value.name.lower() not in ("parse_json", "try_parse_json")
    ):
        raise refused(f"{name} of what is not parse_json(..)")
    path, kind = literal(rest[0], name, "path"), literal(rest[1], name, "type")
    if kind.lower() not in CASTS or re.fullmatch(r"\$(\.\w+|\[\d+\])*", path) is None:
        raise refused(f"{name} with the path {path} and the type {kind}")
    source = f"CAST({FUNCTION}variant({show(value.expressions[0])}) AS VARCHAR)"
    if value.name.lower().startswith("try_"):
        source = f"TRY({source})"
    found = variant_text(source, quoted(path), CASTS[kind.lower()])
    of_type = exp.DataType.build(CASTS[kind.lower()], dialect="databricks")
    return cast(found, of_type, safe=name.startswith("try_"), apart=True)


def _sort_array(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    """By DuckDB's own order, or by a comparison: each element is put behind those that are not greater."""
    values, *rest = arguments
    if name == "array_sort" and len(rest) == 1 and isinstance(rest[0], exp.Lambda):
        place = with_places(_lambda(name, rest[0], 2), ("aiq_e", "aiq_b[1]"), show)
        order = f"{SCHEMA}.compared({place})"
        kept = ", ".join(f"list_filter(aiq_a, lambda aiq_e: {order} {sign} 0)" for sign in ("<=", ">"))
        before, after = kept.split("), list_filter", 1)
        merged = f"list_concat(list_concat({before}), aiq_b), list_filter{after})"
        return f"list_reduce(list_transform({show(values)}, lambda aiq_x: [aiq_x]), lambda aiq_a, aiq_b: {merged}, [])"
    if any(isinstance(each, exp.Lambda) for each in rest) or len(rest) > (name == "sort_array"):
        raise refused(f"{name} with a comparison")
    if rest and not isinstance(rest[0], exp.Boolean):
        raise refused(f"{name} with a direction that is no constant")
    first = name == "sort_array" and (not rest or rest[0].this)
    order = "'DESC', 'NULLS LAST'" if rest and not rest[0].this else f"'ASC', 'NULLS {'FIRST' if first else 'LAST'}'"
    return f"list_sort({SCHEMA}.flat_items({show(values)}, {message(name)}), {order})"


def _size(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    if len(arguments) != 1:
        raise refused(f"{name} with {len(arguments)} arguments")
    if isinstance(arguments[0], exp.Null):
        return "CAST(NULL AS INTEGER)"
    count = "len" if makes_array(arguments[0]) else f"{SCHEMA}.counted"
    return f"CAST({count}({show(arguments[0])}) AS INTEGER)"


CALLS = {
    "schema_of_json": _schema_of_json, "size": _size, "cardinality": _size,
    "variant_get": _variant_get, "try_variant_get": _variant_get, "array_sort": _sort_array, "sort_array": _sort_array,
    "from_json": _from_json, "get_json_object": _get_json_object, "struct": _struct, "named_struct": _struct, "map": _map,
    **dict.fromkeys(("map_filter", "transform_keys", "transform_values"), _of_map), "zip_with": _zip_with,
    "arrays_zip": _arrays_zip, "aggregate": _reduce, "reduce": _reduce,
    "transform": _with_index, "filter": _with_index, "exists": _exists, "forall": _exists,
}  # fmt: skip
