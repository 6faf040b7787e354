"""One call of a kept function as text: its body with the arguments in the places of the parameters.

Each argument is cast to its parameter's type and the body to the result's, as Spark does. Knows texts only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa
import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from aiq.errors import AiqError, StatementError
from aiq.functions.types import duckdb_type, parse_type
from aiq.sql.words import DATABRICKS, DUCKDB, behind_group, listed, quoted, string_value, words
from aiq.statements.definitions.parsed import Create, FunctionParameter
from aiq.statements.definitions.store import Definition

Arguments = Sequence[tuple[str | None, str]]
Translate = Callable[[str], str]
_VOLATILE = listed("RAND RANDN RANDOM UUID GEN_RANDOM_UUID SHUFFLE MONOTONICALLY_INCREASING_ID NEXTVAL RANDSTR")
_NO_COLUMNS = listed(
    "current_catalog current_database current_schema current_user session_user user current_timezone current_date "
    "current_timestamp localtimestamp now"
)
_VALUE = "function_value"


def spelled_call(
    created: Create, arguments: Arguments, definition: Definition, dialect: str, to_duckdb: Translate
) -> str:
    """A call of a function with one value, as an expression."""
    given = _bound(created, arguments, definition)
    simple = expression_of(created)
    nested = dialect == DUCKDB and any(
        "STRUCT" in one.type.upper() or "MAP" in one.type.upper() for one in created.parameters
    )
    if simple is not None and not nested and not _captures(simple, given):
        places = parameters_in(simple, created, definition)
        _check_once(created, given, places, definition)
        stand_ins = _stand_ins(created, given, definition, dialect)
        text = _replaced(simple, [(start, end, stand_ins[i]) for start, end, i in places])
        value = f"({text})" if gives(simple, created.returns) else _cast(text, created.returns, dialect)
    else:
        _check_once(created, given, (), definition)
        stand_ins = _stand_ins(created, given, definition, dialect)
        value = f"({created.body}\n)"
        if stand_ins:
            value = f"(SELECT {value} FROM {_one_row(created, stand_ins)})"
        value = _cast(value, created.returns, dialect)
    if dialect == DATABRICKS:
        return value
    spelled = to_duckdb(f"SELECT {value} AS {_VALUE}")
    found = words(spelled, DUCKDB)
    if not found[0].says("SELECT") or found[-1].text.lower() != _VALUE:
        raise StatementError(f"the body of {definition} cannot be written in DuckDB's SQL")
    last = found[-2] if found[-2].says("AS") else found[-1]
    filled = _filled(spelled[found[0].end : last.start].strip(), created, given)
    if created.returns is None or not _is_struct(created.returns):
        return filled
    return f"CAST({filled} AS {_duckdb(created.returns)})"


def spelled_rows(
    created: Create, arguments: Arguments, definition: Definition, dialect: str, to_duckdb: Translate
) -> str:
    """A call of a function with rows, as FROM reads it; without an alias."""
    given = _bound(created, arguments, definition)
    _check_once(created, given, (), definition)
    stand_ins = _stand_ins(created, given, definition, dialect)
    rows = f"({created.body}\n)"
    columns = ", ".join(quoted(name, DATABRICKS) for name, _ in created.columns)
    cast = ", ".join(
        f"CAST(b.{quoted(n, DATABRICKS)} AS {kind}) AS {quoted(n, DATABRICKS)}" for n, kind in created.columns
    )
    names = f" AS b({columns})" if columns else " AS b"
    if stand_ins:
        query = f"(SELECT {cast or 'b.*'} FROM {_one_row(created, stand_ins)}, LATERAL {rows}{names})"
    else:
        query = f"(SELECT {cast or '*'} FROM {rows}{names})"
    if dialect == DATABRICKS:
        return query
    spelled = to_duckdb(f"SELECT * FROM {query}")
    found = words(spelled, DUCKDB)
    start = next((word for word in found if word.says("(")), None)
    if start is None:
        raise StatementError(f"the body of {definition} cannot be written in DuckDB's SQL")
    return _filled(spelled[start.start : _closing(spelled, start.start)], created, given)


def _closing(text: str, start: int) -> int:
    depth = 0
    for word in words(text[start:], DUCKDB):
        depth += word.says("(") - word.says(")")
        if depth == 0:
            return start + word.end
    raise StatementError("a parenthesis is not closed")


def translated(query: str, definition: Definition, dialect: str, to_duckdb: Translate) -> str:
    """The query of a view in the dialect of the statement that reads it."""
    if definition.dialect == dialect:
        return query
    if dialect == DUCKDB:
        return to_duckdb(query).strip().rstrip(";")
    if not means_the_same(query):
        raise StatementError(
            f"the view {definition} was written in DuckDB's SQL, and does not surely mean the same in Databricks'. "
            "Define it with dialect='databricks', so that all sessions can read it"
        )
    return query


def means_the_same(query: str) -> bool:
    """Whether a query is surely the same in both dialects: nothing is quoted otherwise, and it reads as the same."""
    if any(sign in query for sign in ('"', "\\", "`", "$", "::")):
        return False
    try:
        return sqlglot.parse_one(query, dialect="databricks") == sqlglot.parse_one(query, dialect="duckdb")
    except SqlglotError:
        return False


def expression_of(created: Create) -> str | None:
    """The expression that a function returns, also where it is written as SELECT expression; None for a query."""
    tree = _tree(created.body if created.is_query else f"SELECT {created.body}", created)
    body = created.body
    if not created.is_query:
        inside = tree.expressions[0] if isinstance(tree, exp.Select) and len(tree.expressions) == 1 else None
        if isinstance(inside, exp.Subquery) and isinstance(inside.this, exp.Select) and body.startswith("("):
            inner = body[1 : body.rindex(")")].strip()
            return expression_of(created._replace(body=inner, is_query=True))
        return None if tree.find(exp.Query) is not tree or _has_query_inside(tree) else body
    if not isinstance(tree, exp.Select) or len(tree.expressions) != 1 or _has_query_inside(tree):
        return None
    if any(
        value for name, value in tree.args.items() if name not in ("expressions", "kind", "hint", "operation_modifiers")
    ):
        return None
    found = words(body, DATABRICKS)
    last = found[-1]
    if isinstance(tree.expressions[0], exp.Alias):
        last = found[-3] if found[-2].says("AS") else found[-2]
    return body[found[1].start : last.end]


def _has_query_inside(tree: exp.Expr) -> bool:
    return any(node is not tree for node in tree.find_all(exp.Query))


def _tree(text: str, created: Create) -> exp.Expr:
    try:
        return sqlglot.parse_one(text, dialect="databricks")
    except SqlglotError as error:
        raise StatementError(
            f"the body of {'.'.join(created.name)} cannot be read: {str(error).splitlines()[0]}"
        ) from None


def parameters_in(
    expression: str, created: Create, definition: Definition | None = None
) -> tuple[tuple[int, int, int], ...]:
    """Where an expression names parameters: start, end, and which. Raises StatementError for any other column."""
    prefix = "SELECT "
    numbers = {parameter.name.lower(): i for i, parameter in enumerate(created.parameters)}
    own = created.name[-1].lower()
    found: list[tuple[int, int, int]] = []
    for column in _tree(prefix + expression, created).find_all(exp.Column):
        parts = [part for part in column.parts if isinstance(part, exp.Identifier)]
        names = [part.name.lower() for part in parts]
        if names[:1] and names[0] in numbers:
            first, last, name = parts[0], parts[0], names[0]
        elif names[:1] == [own] and len(names) > 1 and names[1] in numbers:
            first, last, name = parts[0], parts[1], names[1]
        elif len(names) == 1 and names[0] in _NO_COLUMNS:
            continue
        else:
            what = column.sql(dialect="databricks")
            known = ", ".join(parameter.name for parameter in created.parameters) or "none"
            raise StatementError(
                f"the body of {'.'.join(created.name)} names {what}, which is no parameter of it (they are: {known}). "
                "Give it as a parameter, or read it in a query: RETURN (SELECT ...)"
            )
        if "start" not in first.meta or "end" not in last.meta:
            raise StatementError(f"the body of {'.'.join(created.name)} cannot be read at {column.sql()}")
        start, end = first.meta["start"] - len(prefix), last.meta["end"] + 1 - len(prefix)
        found.append((start, end, numbers[name]))
    return tuple(sorted(set(found)))


def _bound(created: Create, arguments: Arguments, definition: Definition) -> list[str]:
    """The text of each parameter's value. Raises StatementError where arguments do not fit."""
    signature = f"{definition}({', '.join(f'{one.name} {one.type}' for one in created.parameters)})"
    given: dict[str, str] = {}
    known = {one.name.lower(): one for one in created.parameters}
    named = False
    for position, (name, text) in enumerate(arguments):
        named = named or name is not None
        if name is None and named:
            raise StatementError(f"{definition}: arguments without a name must come first; it is {signature}")
        if name is None and position >= len(created.parameters):
            raise StatementError(f"{definition} takes {_count(created)}, not {len(arguments)}: it is {signature}")
        key = created.parameters[position].name.lower() if name is None else name.lower()
        if key not in known:
            raise StatementError(f"{definition} has no parameter {name}: it is {signature}")
        if key in given:
            raise StatementError(f"{definition} gets its parameter {key} twice; it is {signature}")
        given[key] = text
    for one in created.parameters:
        if one.name.lower() not in given and one.default is None:
            raise StatementError(f"{definition} needs a value for {one.name}: it is {signature}")
    return [given.get(one.name.lower(), "") for one in created.parameters]


def _captures(expression: str, given: Sequence[str]) -> bool:
    """Whether a name of an argument would be one of a lambda's own (`y -> ...`) where it is put."""
    found = words(expression, DATABRICKS)
    own: set[str] = set()
    for i, word in enumerate(found):
        if word.says("->") and i:
            own.add(found[i - 1].text.lower())
            at = i - 1
            while at > 0 and found[i - 1].says(")") and not found[at].says("("):
                own.add(found[at].text.lower())
                at -= 1
    return any(word.may_name and word.text.lower() in own for text in given for word in words(text, DATABRICKS))


def _count(created: Create) -> str:
    most, least = len(created.parameters), sum(one.default is None for one in created.parameters)
    return f"{most} argument{'s' * (most != 1)}" if most == least else f"{least} to {most} arguments"


def _marker(i: int) -> str:
    return f"value_of_parameter_{i}"


def _stand_ins(created: Create, given: Sequence[str], definition: Definition, dialect: str) -> list[str]:
    """What stands for each parameter in the body: in DuckDB's dialect a name, as the body is translated first."""

    def value(i: int, parameter: FunctionParameter) -> str:
        if not given[i]:
            return parameter.default or "NULL"
        return given[i] if dialect == DATABRICKS else _marker(i)

    return [f"({_cast(value(i, one), one.type, dialect)})" for i, one in enumerate(created.parameters)]


def _cast(value: str, kind: str | None, dialect: str) -> str:
    """A value as Spark casts it. DuckDB casts what has a STRUCT itself, when the text is its own."""
    if not kind or (dialect == DUCKDB and _is_struct(kind)):
        return f"({value})"
    return f"CAST({value} AS {kind})"


def gives(expression: str, returns: str | None) -> bool:
    """Whether an expression is `from_json` with the schema that a function returns: no cast changes its value."""
    found = words(expression, DATABRICKS)
    if returns is None or "STRUCT" not in returns.upper() or len(found) < 4 or not found[0].says("FROM_JSON"):
        return False
    behind = behind_group(found, 1) if found[1].says("(") else 0
    if behind != len(found) or found[-2].kind != "text" or not found[-3].says(","):
        return False
    try:
        return bool(parse_type(string_value(found[-2].text)) == parse_type(returns))
    except AiqError:
        return False  # the engine has its words for it


def _is_struct(kind: str) -> bool:
    return "STRUCT" in kind.upper()


def _duckdb(kind: str) -> str:
    return duckdb_type(parse_type(kind))


def _filled(text: str, created: Create, given: Sequence[str]) -> str:
    """A translated body with the arguments, in DuckDB's words, in the places of their stand-ins."""
    values = [_checked(one, f"({value})") for one, value in zip(created.parameters, given, strict=True)]
    markers = {_marker(i): value for i, value in enumerate(values)}
    places = [
        (word.start, word.end, markers[word.text.lower()])
        for word in words(text, DUCKDB)
        if word.may_name and word.text.lower() in markers
    ]
    return _replaced(text, places)


def _checked(parameter: FunctionParameter, value: str) -> str:
    """A value that ends the statement where its fields are not those of a parameter with a STRUCT, in their order.

    DuckDB casts a STRUCT by the names of fields, and Spark by their order: where both are the same, so is the result.
    """
    if not _is_struct(parameter.type):
        return value
    names = list(_names_in(parse_type(parameter.type)))
    given = f'regexp_extract_all(typeof({value}), \'[(,] ?("[^"]*"|\\w+) \', 1)'
    keys = f"list_transform({given}, lambda k: lower(trim(k, '\"')))"
    wanted = ", ".join(f"'{name.replace(chr(39), chr(39) * 2)}'" for name in names)
    said = f"the parameter {parameter.name} is {parameter.type}; give it a STRUCT with these fields, in this order"
    wrong = f"error('{said.replace(chr(39), chr(39) * 2)}')"
    cast = f"CAST({value} AS {_duckdb(parameter.type)})"
    return f"(CASE WHEN {value} IS NOT NULL AND {keys} <> [{wanted}]::VARCHAR[] THEN {wrong} ELSE {cast} END)"


def _names_in(kind: pa.DataType) -> Iterator[str]:
    """The names of all fields of a type, in lower case, those of a field behind its own."""
    if pa.types.is_struct(kind):
        for field in kind:
            yield field.name.lower()
            yield from _names_in(field.type)
    elif pa.types.is_list(kind):
        yield from _names_in(kind.value_type)
    elif pa.types.is_map(kind):
        yield from _names_in(kind.key_type)
        yield from _names_in(kind.item_type)


def _one_row(created: Create, stand_ins: Sequence[str]) -> str:
    names = ", ".join(quoted(one.name, DATABRICKS) for one in created.parameters)
    given = [i for i, one in enumerate(stand_ins) if _marker(i) in one]
    inner = ", ".join(f"{_marker(i)} AS given_value_{i}" for i in given)  # DuckDB casts no column of a query around
    values = ", ".join(one.replace(_marker(i), f"given_value_{i}") for i, one in enumerate(stand_ins))
    rows = f" FROM (SELECT {inner}) AS given_values" if given else ""
    return f"(SELECT {values}{rows}) AS {quoted(created.name[-1], DATABRICKS)}({names})"


def _check_once(
    created: Create, given: Sequence[str], places: Sequence[tuple[int, int, int]], definition: Definition
) -> None:
    """Raises StatementError where an argument that is another value each time would be evaluated other than once."""
    for i, argument in enumerate(given):
        volatile = next((w.text for w in words(argument, DATABRICKS) if w.kind == "word" and w.text in _VOLATILE), None)
        if volatile is not None and [number for _, _, number in places].count(i) != 1:
            name = created.parameters[i].name
            raise StatementError(
                f"the argument {name} of {definition} calls {volatile.lower()}(), which gives another value each time, "
                f"and the function does not use {name} exactly once. Compute it first, in a query in FROM"
            )


def _replaced(text: str, places: Sequence[tuple[int, int, str]]) -> str:
    pieces, position = [], 0
    for start, end, new in sorted(places):
        pieces += [text[position:start], new]
        position = end
    return "".join([*pieces, text[position:]])
