# ruff: noqa: E501 -- one line an entry
"""Calls over texts whose translation depends on literals among their arguments."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sqlglot import exp

from aiq.sql.databricks.macros import FUNCTION, SCHEMA
from aiq.sql.databricks.number_formats import number_format
from aiq.sql.databricks.one_type import alike
from aiq.sql.databricks.regex_values import groups, python_pattern, replacement
from aiq.sql.databricks.words import (
    Print,
    all_binary,
    asks_rows,
    filled,
    literal,
    makes_array,
    message,
    piece,
    quoted,
    refused,
    typed,
    whole_number,
)


def _concat(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    if not arguments:
        return "''"
    pieces = [show(each) if all_binary(arguments) else piece(each, show) for each in arguments]
    return f"({' || '.join(pieces)})"


def _concat_ws(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    separator = show(arguments[0])
    lists = ", ".join(_listed(name, each, show) for each in arguments[1:])
    return f"CASE WHEN {separator} IS NOT NULL THEN array_to_string(list_filter(flatten([{lists}]), lambda aiq_e: aiq_e IS NOT NULL), {separator}) END"


def _listed(name: str, node: exp.Expr, show: Print) -> str:
    """A value of concat_ws as a list of texts."""
    text = show(node)
    if makes_array(node):
        return f"list_transform({text}, lambda aiq_e: {FUNCTION}text(aiq_e))"
    if asks_rows(node):
        return f"{FUNCTION}texts({text})"
    if isinstance(node, exp.Literal):
        return f"{SCHEMA}.texts({text})"
    return f"{SCHEMA}.texts({SCHEMA}.no_nested({text}, {message(name + ' of such a value')}))"


def _regex(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    name = "regexp_like" if name in ("rlike", "regexp") else name
    counts = {"split": (2, 3), "regexp_extract": (2, 3), "regexp_extract_all": (2, 3), "regexp_replace": (3,)}
    if len(arguments) not in counts.get(name, (2,)):
        raise refused(f"{name} with {len(arguments)} arguments")
    pattern = python_pattern(literal(arguments[1], name, "pattern"))
    if pattern is None:
        raise refused(f"{name} with the regular expression {arguments[1].sql()}")
    given = [filled("{s0}", name, arguments[:1], show), quoted(pattern)]
    if name == "regexp_replace":
        new = literal(arguments[2], name, "replacement")
        if replacement(new, groups(pattern)) is None:
            raise refused(f"{name} with the replacement {arguments[2].sql()}")
        given.append(quoted(new))
    elif name in ("regexp_extract", "regexp_extract_all"):
        group = arguments[2].sql() if len(arguments) == 3 else "1"
        if not group.isdigit() or int(group) > groups(pattern):
            raise refused(f"{name} with the group {group}")
        given.append(group)
    elif name == "split":
        given.append(f"CAST({whole_number(arguments[2], name, show)} AS INTEGER)" if len(arguments) == 3 else "-1")
    return f"{FUNCTION}{name}({', '.join(given)})"


_SIGN = re.compile(r"%(?:s|d|(?P<left>-?)(?P<zero>0?)(?P<width>[1-9]\d*)?(?:\.(?P<digits>\d+))?(?P<kind>[sdf]))")


def _format_string(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    """`%s`, `%d` and `%.2f`, in a width or not, each with the text that its value has."""
    form, *values = arguments
    pieces = re.findall(r"%[^a-zA-Z%]*[a-zA-Z%]|[^%]+|%", literal(form, name, "format"))
    signs = [piece for piece in pieces if piece.startswith("%") and piece not in ("%%", "%n")]
    if any(_SIGN.fullmatch(sign) is None for sign in signs) or len(signs) != len(values):
        raise refused(f"{name} with the format {form.sql()}")
    given = iter(values)
    shown = [
        quoted({"%%": "%", "%n": "\n"}.get(piece, piece))
        if piece in ("%%", "%n") or not piece.startswith("%")
        else _formatted(name, piece, typed(next(given), show))
        for piece in pieces
    ]
    return "(" + " || ".join(shown or ["''"]) + ")"


def _formatted(name: str, sign: str, value: str) -> str:
    found = _SIGN.fullmatch(sign)
    assert found is not None
    kind, digits, width = found["kind"] or sign[-1], found["digits"], found["width"]
    if (digits is not None and kind != "f") or (found["zero"] and (kind == "s" or found["left"] or not width)):
        raise refused(f"{name} with {sign}")
    words = {"s": "formatted", "d": "formatted_integer", "f": "formatted_double"}[kind]
    places = f"{digits or 6}, " if kind == "f" else ""
    text = f"coalesce({SCHEMA}.{words}({value}, {places}{message(name)}), '{'null'[: int(digits or 4)]}')"
    if not width:
        return text
    if found["zero"]:
        return f"{SCHEMA}.zero_padded({text}, {width})"
    return f"{SCHEMA}.{'left' if found['left'] else 'right'}_aligned({text}, {width})"


def _code(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    """`encode(text, 'UTF-8')`, `decode(bytes, 'UTF-8')`, and `decode(value, key, result, .., default)`."""
    if len(arguments) == 2:
        if literal(arguments[1], name, "character set").upper() not in ("UTF-8", "UTF8"):
            raise refused(f"{name} with the character set {arguments[1].sql()}")
        return (
            f"{SCHEMA}.to_binary({typed(arguments[0], show)})" if name == "encode" else f"decode({show(arguments[0])})"
        )
    if name == "encode" or len(arguments) < 3:
        raise refused(f"{name} with {len(arguments)} arguments")
    value, keys = show(arguments[0]), [show(each) for each in arguments[1:-1:2]]
    results = alike([*arguments[2::2], *([arguments[-1]] if len(arguments) % 2 == 0 else [])], name, show)
    default = f" ELSE {results[-1]}" if len(arguments) % 2 == 0 else ""
    whens = " ".join(
        f"WHEN {value} IS NOT DISTINCT FROM {key} THEN {result}" for key, result in zip(keys, results, strict=False)
    )
    return f"CASE {whens}{default} END"


def _sha2(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    if len(arguments) != 2 or arguments[1].sql() not in ("0", "256"):
        raise refused(f"{name} with other than 256 bits")
    return f"sha256({filled('{s0}', name, arguments[:1], show)})"


def _elt(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    if len(arguments) < 2:
        raise refused(f"{name} with {len(arguments)} arguments")
    given = ", ".join(filled("{s0}", name, [each], show) for each in arguments[1:])
    return f"{SCHEMA}.item([{given}], CAST({whole_number(arguments[0], name, show)} - 1 AS BIGINT))"


def _mask(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    """Letters by their kind; NULL keeps those of a kind, which `#mask` knows as ''."""
    if not 1 <= len(arguments) <= 5:
        raise refused(f"{name} with {len(arguments)} arguments")
    letters = ["X", "x", "n", ""]
    for at, each in enumerate(arguments[1:]):
        letters[at] = "" if isinstance(each, exp.Null) else literal(each, name, "letter")
        if not isinstance(each, exp.Null) and len(letters[at].encode("utf-16-le")) != 2:
            raise refused(f"{name} by {each.sql('databricks')}", "takes one letter")
    return filled(f"#mask({{s0}}, {', '.join(map(quoted, letters))})", name, arguments, show)


def _to_number(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    form = number_format(literal(arguments[1], name, "pattern")) if len(arguments) == 2 else None
    if form is None:
        raise refused(f"{name} with this pattern")
    digits = filled(f"#{name}({{s0}}, {quoted(arguments[1].name)})", name, arguments, show)
    return f"CAST({digits} AS DECIMAL({form.precision},{form.fraction}))"


CALLS = {
    "to_number": _to_number, "try_to_number": _to_number,
    "elt": _elt, "mask": _mask,
    "format_string": _format_string, "printf": _format_string, "encode": _code, "decode": _code, "sha2": _sha2,
    "concat": _concat, "concat_ws": _concat_ws,
    **dict.fromkeys(("rlike", "regexp", "regexp_like", "regexp_replace", "regexp_extract", "regexp_substr",
                     "regexp_count", "regexp_extract_all", "regexp_instr", "split"), _regex),
}  # fmt: skip
