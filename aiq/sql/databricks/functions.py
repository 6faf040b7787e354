# ruff: noqa: E501 -- tables of one line an entry, and class attributes as sqlglot wants them
"""Calls of Spark functions in DuckDB's words. What is not in the allow list is refused by name.

Most are templates (`templates.py`); those that depend on literals among their arguments are functions here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence

from sqlglot import exp

from aiq.errors import FunctionError, StatementError
from aiq.functions.types import parse_type
from aiq.sql.databricks.casts import cast
from aiq.sql.databricks.json_values import json_structure
from aiq.sql.databricks.macros import FUNCTION, SCHEMA
from aiq.sql.databricks.patterns import date_pattern, is_same_regex
from aiq.sql.databricks.templates import AGGREGATES, SAME, TEMPLATES

Print = Callable[[exp.Expr], str]

_CASTS = {"string": "STRING", "int": "INT", "bigint": "BIGINT", "double": "DOUBLE", "boolean": "BOOLEAN",
          "timestamp": "TIMESTAMP", "float": "FLOAT", "smallint": "SMALLINT", "tinyint": "TINYINT", "binary": "BINARY"}  # fmt: skip
_PARTS = {"year": "year", "month": "month", "day": "day", "quarter": "quarter", "dayofweek": "dayofweek", "hour": "hour",
          "minute": "minute", "week": "weekofyear", "doy": "dayofyear", "dow": "dayofweek"}  # fmt: skip
UNITS = {"YEAR": "to_years", "MONTH": "to_months", "WEEK": "to_weeks", "DAY": "to_days", "HOUR": "to_hours",
          "MINUTE": "to_minutes", "SECOND": "to_seconds"}  # fmt: skip
_PLACE = re.compile(r"\{([sdt]?)(\d+|\*|m)\}")
GENERATORS = (
    "explode",
    "explode_outer",
    "posexplode",
    "posexplode_outer",
    "stack",
    "json_tuple",
    "inline",
    "inline_outer",
)


def message(what: str) -> str:
    """A refusal as a literal that DuckDB shows when it binds; `in_users_words` takes it out again."""
    text = f"aiq: {what} has no exact counterpart on DuckDB; CAST its values to the types you mean"
    return "'" + text.replace("'", "''") + "'"


def refused(name: str, why: str = "has no exact counterpart on DuckDB") -> StatementError:
    return StatementError(
        f"the statement cannot be translated from Databricks SQL: {name} {why}; write that part in DuckDB's SQL, or run "
        "the statement on Spark"
    )


def call(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    """A call of a Spark function in DuckDB's words. Raises StatementError where there are none."""
    if name == "array_contains" and len(arguments) == 2 and isinstance(arguments[1], exp.Null):
        raise refused(f"{name} of NULL")
    if (special := _SPECIAL.get(name)) is not None:
        return special(name, arguments, show)
    if name in _CASTS and len(arguments) == 1:
        return cast(_typed(arguments[0], show), exp.DataType.build(_CASTS[name], dialect="databricks"))
    if name in TEMPLATES:
        templates = TEMPLATES[name]
        for template in (templates,) if isinstance(templates, str) else templates:
            places = {found.group(2) for found in _PLACE.finditer(template)} - {"m"}
            if places == {"*"} or len(places) == len(arguments):
                return _filled(template, name, arguments, show)
        raise refused(f"{name} with {len(arguments)} arguments")
    if name in SAME:
        return f"{name}({', '.join(map(show, arguments))})"
    raise refused(name)


def arithmetic(sign: str, left: str, right: str, name: str = "") -> str:
    """An operator of two numbers, which checks their types when it is bound."""
    said = message(name or f"the operator {sign} of these types")

    def checked(kind: str) -> tuple[str, str]:
        return f"{SCHEMA}.{kind}({left}, {said})", f"{SCHEMA}.{kind}({right}, {said})"

    if sign in ("/", "try /"):
        first, second = checked("double")
        return f"({first} / {f'nullif({second}, 0)' if sign != '/' else f'{SCHEMA}.zero_fails({second})'})"
    if sign == "div":
        first, second = checked("integer")
        return f"({first} // {second})"
    first, second = checked("number")
    if sign == "-":
        return f"{SCHEMA}.minus({first}, {second}, {said})"
    if sign == "%":
        return f"{SCHEMA}.modulo({first}, {second}, {said})"
    return f"({first} {sign} {second})"


def _filled(template: str, name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    def value(found: re.Match[str]) -> str:
        kind, place = found.groups()
        if place == "m":
            return message(name)
        if place == "*":
            return ", ".join(map(show, arguments))
        node = arguments[int(place)]
        text = show(node)
        if kind in ("d", "t") and isinstance(node, exp.Literal) and node.is_string:
            text = f"CAST({text} AS VARCHAR)"  # DuckDB reads a literal as any type that a macro takes
        if kind == "s":
            plain = isinstance(node, exp.Literal) and node.is_string
            return text if plain else f"{SCHEMA}.joined({text})"
        return f"{SCHEMA}.{'date' if kind == 'd' else 'moment'}({text})" if kind else text

    made = _PLACE.sub(value, template.replace("@", f"{SCHEMA}.").replace("#", FUNCTION))
    return made


def part(field: str, value: str) -> str:
    """EXTRACT(field FROM value)."""
    name = _PARTS.get(field.lower())
    if name is None:
        raise refused(f"EXTRACT({field.upper()} FROM ..)")
    if name in ("hour", "minute"):
        return f"CAST({name}({SCHEMA}.moment({value})) AS INTEGER)"
    plus = " + 1" if name == "dayofweek" else ""
    return f"CAST({name}({SCHEMA}.date({value})){plus} AS INTEGER)"


def _literal(node: exp.Expr, name: str, what: str) -> str:
    if not (isinstance(node, exp.Literal) and node.is_string):
        raise refused(f"{name} with a {what} that is no literal")
    return str(node.this)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _concat(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    if not arguments:
        return "''"
    return "(" + " || ".join(_filled("{s0}", name, [each], show) for each in arguments) + ")"


def _concat_ws(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    separator, *rest = map(show, arguments)
    lists = ", ".join(f"{SCHEMA}.texts({each})" for each in rest)
    return f"CASE WHEN {separator} IS NOT NULL THEN array_to_string(list_filter(flatten([{lists}]), lambda aiq_e: aiq_e IS NOT NULL), {separator}) END"


def _date_format(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    pattern = date_pattern(_literal(arguments[1], name, "pattern"))
    if pattern is None:
        raise refused(f"{name} with the pattern {arguments[1].sql()}")
    return f"strftime({SCHEMA}.moment({_typed(arguments[0], show)}), {_quoted(pattern.format)})"


def _to_date(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    kind = "date" if "date" in name else "timestamp"
    value = _typed(arguments[0], show)
    if len(arguments) == 1:
        made = f"{SCHEMA}.{kind}({value})"
        return f"TRY({made})" if name.startswith("try_") else made
    pattern = date_pattern(_literal(arguments[1], name, "pattern"))
    if pattern is None or pattern.regex is None:
        raise refused(f"{name} with the pattern {arguments[1].sql()}")
    fitting = f"CASE WHEN regexp_full_match({value}, {_quoted(pattern.regex)}) THEN {value} ELSE 'not like the pattern: ' || {value} END"
    target = "DATE" if kind == "date" else "TIMESTAMPTZ"
    made = f"CAST(strptime({fitting}, {_quoted(pattern.format.replace('%-', '%'))}) AS {target})"
    return f"TRY({made})" if name.startswith("try_") else made


def _regex(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    pattern = _literal(arguments[1], name, "pattern")
    ended = name in ("rlike", "regexp", "regexp_like") and pattern.endswith("$") and not pattern.endswith("\\$")
    pattern = pattern[:-1] if ended else pattern
    if not is_same_regex(pattern) or pattern.endswith("$"):
        raise refused(f"{name} with the regular expression {arguments[1].sql()}")
    value, shown = _filled("{s0}", name, arguments[:1], show), _quoted(pattern + ("\\n?\\z" if ended else ""))
    if name in ("rlike", "regexp", "regexp_like") and len(arguments) == 2:
        return f"regexp_matches({value}, {shown})"
    if name == "regexp_replace" and len(arguments) == 3:
        new = _literal(arguments[2], name, "replacement")
        if "\\" in new or "$" in re.sub(r"\$\d", "", new):
            raise refused(f"{name} with the replacement {arguments[2].sql()}")
        spelled = re.sub(r"\$(\d)", r"\\\1", new)
        return f"regexp_replace({value}, {shown}, {_quoted(spelled)}, 'g')"
    if name in ("regexp_extract", "regexp_substr") and len(arguments) in (2, 3):
        group = arguments[2].sql() if len(arguments) == 3 else "1" if name == "regexp_extract" else "0"
        if not group.isdigit() or int(group) > len(re.findall(r"(?<!\\)\((?!\?)", pattern)):
            raise refused(f"{name} with the group {group}")
        made = f"regexp_extract({value}, {shown}, {group})"
        return f"nullif({made}, '')" if name == "regexp_substr" else made
    if name == "regexp_extract_all" and len(arguments) in (2, 3):
        group = arguments[2].sql() if len(arguments) == 3 else "1"
        if not group.isdigit() or int(group) > len(re.findall(r"(?<!\\)\((?!\?)", pattern)):
            raise refused(f"{name} with the group {group}")
        return f"regexp_extract_all({value}, {shown}, {group})"
    if name == "regexp_count" and len(arguments) == 2:
        return f"CAST(len(regexp_extract_all({value}, {shown})) AS INTEGER)"
    if name == "split" and len(arguments) == 2:
        return f"regexp_split_to_array({value}, {shown})" if pattern else _never(name)
    raise refused(f"{name} with {len(arguments)} arguments")


def _never(name: str) -> str:
    raise refused(f"{name} at an empty pattern")


def _get_json_object(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    path = _literal(arguments[1], name, "path")
    if re.fullmatch(r"\$(\.\w+|\[\d+\]|\['[^'\"]*'\])*", path) is None:
        raise refused(f"{name} with the path {path}")
    spelled = re.sub(r"\['([^']*)'\]", r'."\1"', path)
    return f"{SCHEMA}.json_text({show(arguments[0])}, {_quoted(spelled)})"


def _from_json(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    """The text is made to fit its schema as Spark does it, so that DuckDB only reads it: `json_transform(fitted, ..)`."""
    if len(arguments) != 2:
        raise refused(f"{name} with options")
    schema = _literal(arguments[1], name, "schema")
    try:
        structure = json_structure(parse_type(schema))
    except FunctionError:
        raise refused(f"{name} with the schema '{schema}'") from None
    fitted = f"{FUNCTION}from_json({SCHEMA}.joined({show(arguments[0])}), {_quoted(schema)})"
    return f"json_transform(CAST({fitted} AS VARCHAR), {_quoted(json.dumps(structure))})"


def _struct(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    if name == "named_struct":
        keys, values = [_literal(each, name, "name") for each in arguments[::2]], list(arguments[1::2])
    else:
        keys = [each.alias_or_name or f"col{i}" for i, each in enumerate(arguments, 1)]
        keys = [
            key if isinstance(each, (exp.Alias, exp.Column, exp.Dot)) else f"col{i}"
            for i, (key, each) in enumerate(zip(keys, arguments, strict=True), 1)
        ]
        values = [each.this if isinstance(each, exp.Alias) else each for each in arguments]
    if not keys or len(keys) != len(values):
        raise refused(f"{name} with {len(arguments)} arguments")
    return "{" + ", ".join(f"{_quoted(key)}: {show(value)}" for key, value in zip(keys, values, strict=True)) + "}"


def _map(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    keys, values = ", ".join(map(show, arguments[::2])), ", ".join(map(show, arguments[1::2]))
    return f"map([{keys}], [{values}])"


def _date_add(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    if len(arguments) == 2:
        return f"({SCHEMA}.date({_typed(arguments[0], show)}) + CAST({show(arguments[1])} AS INTEGER))"
    unit = arguments[0].name.upper().removesuffix("S")
    if len(arguments) != 3 or unit not in UNITS:
        raise refused(f"{name} in {arguments[0].sql()}")
    interval = f"{UNITS[unit]}(CAST({show(arguments[1])} AS INTEGER))"
    return f"({SCHEMA}.timestamp({_typed(arguments[2], show)}) + {interval})"


def _typed(node: exp.Expr, show: Print) -> str:
    """An argument of a macro; DuckDB reads a literal as any type that a macro takes."""
    text = show(node)
    return f"CAST({text} AS VARCHAR)" if isinstance(node, exp.Literal) and node.is_string else text


def _date_diff(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    if len(arguments) == 2:
        return f"{SCHEMA}.datediff({SCHEMA}.date({_typed(arguments[0], show)}), {SCHEMA}.date({_typed(arguments[1], show)}))"
    unit = arguments[0].name.lower().removesuffix("s")
    if len(arguments) != 3 or unit.upper() not in UNITS:
        raise refused(f"{name} in {arguments[0].sql()}")
    first, last = (f"{SCHEMA}.timestamp({_typed(each, show)})" for each in arguments[1:])
    if unit in ("month", "year"):
        months = f"{SCHEMA}.months_apart(CAST({first} AS TIMESTAMP), CAST({last} AS TIMESTAMP))"
        return months if unit == "month" else f"({months} // 12)"
    return f"date_sub('{unit}', CAST({first} AS TIMESTAMP), CAST({last} AS TIMESTAMP))"


def _date_trunc(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    unit, value = (arguments[0], arguments[1]) if name == "date_trunc" else (arguments[1], arguments[0])
    word = _literal(unit, name, "unit").lower()
    word = {"mon": "month", "mm": "month", "yyyy": "year", "yy": "year", "dd": "day"}.get(word, word)
    allowed = ("year", "quarter", "month", "week") if name == "trunc" else (
        "year", "quarter", "month", "week", "day", "hour", "minute", "second")  # fmt: skip
    if word not in allowed:
        raise refused(f"{name} to {unit.sql()}")
    if name == "trunc":
        return f"CAST(date_trunc('{word}', {SCHEMA}.date({_typed(value, show)})) AS DATE)"
    return f"CAST(date_trunc('{word}', {SCHEMA}.timestamp({_typed(value, show)})) AS TIMESTAMPTZ)"


def _part(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    return part(_literal(arguments[0], name, "field"), _typed(arguments[1], show))


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
                target.replace(exp.Paren(this=exp.Column(this=exp.to_identifier(f"({index} - 1)::INTEGER"))))
    shown = show(function)
    if len(function.expressions) == 2:
        shown = shown.replace(f'"({index} - 1)::INTEGER"', f"({index} - 1)::INTEGER")
    return f"list_{name}({show(values)}, {shown})"


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


def _aggregate(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    inner, outer = aggregate(name, arguments, show)
    if name == "sum" and not isinstance(arguments[0], exp.Distinct):
        return f"{SCHEMA}.sum_of({show(arguments[0])})"
    return outer.replace("%", inner)


def aggregate(name: str, arguments: Sequence[exp.Expr], show: Print) -> tuple[str, str]:
    """An aggregate or window function, and what is made of its result (`%`), which FILTER and OVER come before."""
    distinct = len(arguments) == 1 and isinstance(arguments[0], exp.Distinct)
    plain = arguments[0].expressions if distinct else arguments
    if (
        name in ("min", "max")
        and arguments
        and isinstance(plain[0], exp.Anonymous)
        and "struct" in plain[0].name.lower()
    ):
        raise refused(f"{name} of a struct")
    if name in ("first", "last", "any_value", "first_value", "last_value") and len(arguments) == 2:
        raise refused(f"{name} with a second argument", "has no exact counterpart on DuckDB; write IGNORE NULLS")
    if distinct and (len(plain) != 1 or name not in ("count", "sum", "min", "max", "collect_list", "array_agg")):
        raise refused(f"{name}(DISTINCT ..)")
    for inner, outer in AGGREGATES[name]:
        places = {found.group(2) for found in _PLACE.finditer(inner)} - {"m"}
        if len(places) == len(plain):
            made = _filled(inner, name, plain, show)
            if distinct:
                made = made.replace("(", "(DISTINCT ", 1)
            return made, outer.replace("@", f"{SCHEMA}.")
    raise refused(f"{name} with {len(arguments)} arguments")


def _generator(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    if name == "explode" and len(arguments) == 1:
        return f"{SCHEMA}.exploded({show(arguments[0])})"
    raise refused(f"{name} without names for its columns")


def _operator(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    if len(arguments) != 2:
        raise refused(f"{name} with {len(arguments)} arguments")
    return arithmetic({"mod": "%", "try_divide": "try /"}[name], show(arguments[0]), show(arguments[1]), name)


def _variant_get(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    """`variant_get(parse_json(text), path, type)`: a cast of the text of the value."""
    value, *rest = arguments
    if (
        len(rest) != 2
        or not isinstance(value, exp.Anonymous)
        or value.name.lower() not in ("parse_json", "try_parse_json")
    ):
        raise refused(f"{name} of what is not parse_json(..)")
    path, kind = _literal(rest[0], name, "path"), _literal(rest[1], name, "type")
    if kind.lower() not in _CASTS or re.fullmatch(r"\$(\.\w+|\[\d+\])*", path) is None:
        raise refused(f"{name} with the path {path} and the type {kind}")
    found = f"{SCHEMA}.json_text({show(value.expressions[0])}, {_quoted(path)})"
    return cast(found, exp.DataType.build(_CASTS[kind.lower()], dialect="databricks"), safe=name.startswith("try_"))


def _from_unixtime(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    pattern = date_pattern(_literal(arguments[1], name, "pattern") if len(arguments) == 2 else "yyyy-MM-dd HH:mm:ss")
    if pattern is None or len(arguments) > 2:
        raise refused(f"{name} with this pattern")
    moment = f"CAST(to_timestamp(CAST({show(arguments[0])} AS DOUBLE)) AS TIMESTAMP)"
    return f"strftime({moment}, {_quoted(pattern.format)})"


def _next_day(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    day = _literal(arguments[1], name, "day of the week").upper()
    found = next((at for at, known in enumerate(_WEEK, 1) if day in (known, known[:3], known[:2])), None)
    if found is None:
        raise refused(f"{name} with the day {arguments[1].sql()}")
    return f"{SCHEMA}.next_day({SCHEMA}.date({_typed(arguments[0], show)}), {found})"


def _sort_array(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    """Without a comparison of its own; the direction is a constant."""
    values, *rest = arguments
    if any(isinstance(each, exp.Lambda) for each in rest) or len(rest) > (name == "sort_array"):
        raise refused(f"{name} with a comparison")
    if rest and not isinstance(rest[0], exp.Boolean):
        raise refused(f"{name} with a direction that is no constant")
    first = name == "sort_array" and (not rest or rest[0].this)
    order = "'DESC', 'NULLS LAST'" if rest and not rest[0].this else f"'ASC', 'NULLS {'FIRST' if first else 'LAST'}'"
    return f"list_sort({show(values)}, {order})"


def _format_string(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    """`%s` and `%d`, each with the text that its value has."""
    form, *values = arguments
    pieces = re.findall(r"%[^a-zA-Z%]*[a-zA-Z%]|[^%]+|%", _literal(form, name, "format"))
    signs = [piece for piece in pieces if piece.startswith("%") and piece not in ("%%", "%n")]
    if any(sign not in ("%s", "%d") for sign in signs) or len(signs) != len(values):
        raise refused(f"{name} with the format {form.sql()}")
    given = iter(values)
    shown = [
        f"coalesce({SCHEMA}.formatted{'_integer' * (piece == '%d')}({_typed(next(given), show)}, {message(name)}), 'null')"
        if piece in ("%s", "%d")
        else _quoted({"%%": "%", "%n": "\n"}.get(piece, piece))
        for piece in pieces
    ]
    return "(" + " || ".join(shown or ["''"]) + ")"


def _code(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    """`encode(text, 'UTF-8')`, `decode(bytes, 'UTF-8')`, and `decode(value, key, result, .., default)`."""
    if len(arguments) == 2:
        if _literal(arguments[1], name, "character set").upper() not in ("UTF-8", "UTF8"):
            raise refused(f"{name} with the character set {arguments[1].sql()}")
        return (
            f"{SCHEMA}.to_binary({_typed(arguments[0], show)})" if name == "encode" else f"decode({show(arguments[0])})"
        )
    if name == "encode" or len(arguments) < 3:
        raise refused(f"{name} with {len(arguments)} arguments")
    value, *rest = map(show, arguments)
    default = f" ELSE {rest.pop()}" if len(rest) % 2 else ""
    whens = " ".join(
        f"WHEN {value} IS NOT DISTINCT FROM {key} THEN {result}"
        for key, result in zip(rest[::2], rest[1::2], strict=True)
    )
    return f"CASE {whens}{default} END"


def _sha2(name: str, arguments: Sequence[exp.Expr], show: Print) -> str:
    if len(arguments) != 2 or arguments[1].sql() not in ("0", "256"):
        raise refused(f"{name} with other than 256 bits")
    return f"sha256({_filled('{s0}', name, arguments[:1], show)})"


_WEEK = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")
_SPECIAL: dict[str, Callable[[str, Sequence[exp.Expr], Print], str]] = {
    "variant_get": _variant_get, "try_variant_get": _variant_get, "from_unixtime": _from_unixtime,
    "next_day": _next_day, "array_sort": _sort_array, "sort_array": _sort_array, "format_string": _format_string,
    "printf": _format_string, "encode": _code, "decode": _code, "sha2": _sha2,
    "mod": _operator, "try_divide": _operator, "concat": _concat, "concat_ws": _concat_ws, "date_format": _date_format, "to_date": _to_date,
    "to_timestamp": _to_date, "try_to_date": _to_date, "try_to_timestamp": _to_date,
    **dict.fromkeys(("rlike", "regexp", "regexp_like", "regexp_replace", "regexp_extract", "regexp_substr",
                     "regexp_count", "regexp_extract_all", "split"), _regex),
    "from_json": _from_json, "get_json_object": _get_json_object, "struct": _struct, "named_struct": _struct, "map": _map,
    **dict.fromkeys(("date_add", "dateadd", "timestampadd"), _date_add),
    **dict.fromkeys(("datediff", "date_diff", "timestampdiff"), _date_diff),
    "date_trunc": _date_trunc, "trunc": _date_trunc, "date_part": _part, "datepart": _part, "transform": _with_index, "filter": _with_index,
    **dict.fromkeys(AGGREGATES, _aggregate), "exists": _exists, "forall": _exists, **dict.fromkeys(GENERATORS, _generator),
}  # fmt: skip


def generated(name: str, arguments: Sequence[exp.Expr], show: Print, count: int = 1) -> list[str] | None:
    """The columns that a generator makes, `count` of them where that depends on a type; None where it has no counterpart."""
    base = name.removesuffix("_outer")
    values = [show(each) for each in arguments]
    if base in ("explode", "posexplode") and len(values) == 1:
        (value,) = values
        places = [f"unnest(range(len({value})))"] if base == "posexplode" else []
        places = [f"CAST({each} AS INTEGER)" for each in places]
        if count - len(places) == 2:
            return [*places, f"unnest(map_keys({value}))", f"unnest(map_values({value}))"]
        return [*places, f"{SCHEMA}.exploded({value})"]
    if base == "json_tuple":
        return [f"{SCHEMA}.json_text({values[0]}, {_quoted('$.' + chr(34) + _literal(each, name, 'key') + chr(34))})"
                for each in arguments[1:]]  # fmt: skip
    if base == "stack" and arguments and arguments[0].sql().isdigit():
        rows = int(arguments[0].sql())
        width = -(-(len(values) - 1) // rows)
        cells = [*values[1:], *["NULL"] * (rows * width - len(values) + 1)]
        return [f"unnest([{', '.join(cells[i::width])}])" for i in range(width)]
    return None


def generated_names(name: str, count: int) -> list[str]:
    base = name.removesuffix("_outer")
    return {"explode": ["col"], "posexplode": ["pos", "col"]}.get(base) or [f"c{i}" for i in range(count)]
