"""Values that Spark gives one type: branches of CASE, arguments of coalesce, elements of an array.

DuckDB's choice differs: a FLOAT beside another number stays a FLOAT (Spark: a DOUBLE), a BIGINT beside a DECIMAL has 19
digits (Spark: 20), and a text makes a text of what stands beside it (Spark reads the text as the other type, or fails).
The first two are cast, the last is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from aiq.sql.databricks.macros import SCHEMA
from aiq.sql.databricks.words import NUMBER, Print, branch, message, name_of, refused

_T = exp.DType
_NUMBERS = (_T.TINYINT, _T.SMALLINT, _T.INT, _T.BIGINT, _T.DOUBLE, _T.DECIMAL)
_OF_NUMBERS = frozenset(
    {"int", "bigint", "smallint", "tinyint", "double", "decimal", "length", "size", "year", "month"}
)
_OF_TEXTS = frozenset({"string", "concat", "upper", "lower", "trim", "substring", "replace", "date_format", "to_json"})


def kind(node: exp.Expr) -> str | None:
    """float, number, text or null, where the words of an expression say it."""
    node = node.unnest()
    value = node.this if isinstance(node, exp.Neg) else node
    if isinstance(value, exp.Literal):
        return "text" if value.is_string else "number"
    if isinstance(node, exp.Null):
        return "null"
    if isinstance(node, exp.Cast):
        to = node.to.this
        return "float" if to == _T.FLOAT else "number" if to in _NUMBERS else "text" if to == _T.TEXT else None
    name = name_of(node)
    return "float" if name == "float" else "number" if name in _OF_NUMBERS else "text" if name in _OF_TEXTS else None


def alike(nodes: Sequence[exp.Expr], name: str, show: Print) -> list[str]:
    """Each value as DuckDB has to read it for Spark's type. Raises StatementError where that cannot be said.

    `coalesce(float(x), 1)` becomes `coalesce(CAST(.. AS DOUBLE), 1)`; the types of columns are seen when DuckDB binds.
    """
    texts = [branch(each, show) for each in nodes]
    kinds = [kind(each) for each in nodes]
    unknown = [i for i, each in enumerate(kinds) if each is None and not isinstance(nodes[i].unnest(), exp.Column)]
    if "float" in kinds and "number" not in kinds and unknown:
        raise refused(f"{name} of a FLOAT and {nodes[unknown[0]].sql('databricks')[:40]}", "mixes types; CAST one")
    said = message(f"{name} of values of different types")
    made = []
    for i, text in enumerate(texts):
        column = isinstance(nodes[i].unnest(), exp.Column)
        others = [_type(each, nodes[j], texts[j]) for j, each in enumerate(kinds) if j != i and texts[j] != text]
        others = [each for each in others if each]
        if kinds[i] == "float" and "number" in kinds:
            made.append(f"CAST({text} AS DOUBLE)")
        elif others and (column or kinds[i] == "float"):
            made.append(f"{SCHEMA}.beside({text}, {' || '.join(dict.fromkeys(others))}, {said})")
        else:
            made.append(text)
    return made


def _type(kind: str | None, node: exp.Expr, text: str) -> str:
    """An expression of the name of a value's type with bars around it, or '' for one that does not matter."""
    value = node.unnest()
    if isinstance(value, exp.Column):
        return f"'|' || typeof({text}) || '|'"
    plain = isinstance(value, exp.Literal) and value.is_string and NUMBER.fullmatch(value.name) is None
    if kind in (None, "null") or plain:  # DuckDB itself refuses a text like 'none' beside a number
        return ""
    if kind != "number":
        return "'|FLOAT|'" if kind == "float" else "'|VARCHAR|'"
    to = value.to.this if isinstance(value, exp.Cast) else None
    if to == _T.DOUBLE or name_of(value) == "double":
        return "'|DOUBLE|'"
    decimal = to == _T.DECIMAL or name_of(value) == "decimal" or (isinstance(value, exp.Literal) and "." in value.name)
    return "'|DECIMAL(1,0)|'" if decimal else "'|INTEGER|'"


def check_union(tree: exp.SetOperation) -> None:
    """Raises StatementError for a UNION whose sides say a number and a text, or a FLOAT and another number."""
    found: dict[int, dict[str, exp.Expr]] = {}
    for select in _sides(tree):
        _note(found, select.expressions if isinstance(select, exp.Select) else [])
    _check("UNION", found)


def check_values(tree: exp.Values) -> None:
    """Raises StatementError for VALUES whose rows say different types in one column."""
    found: dict[int, dict[str, exp.Expr]] = {}
    for row in tree.expressions:
        _note(found, row.expressions if isinstance(row, exp.Tuple) else [row])
    _check("VALUES", found)


def _note(found: dict[int, dict[str, exp.Expr]], items: Sequence[exp.Expr]) -> None:
    """Notes what kinds of values the places of a row say."""
    for i, item in enumerate(items):
        if item.is_star:
            break  # what follows has another place
        value = item.unalias()
        said = "boolean" if isinstance(value.unnest(), exp.Boolean) else kind(value)
        if said not in (None, "null"):
            found.setdefault(i, {}).setdefault(str(said), value)


def _check(word: str, found: dict[int, dict[str, exp.Expr]]) -> None:
    for values in found.values():
        if len(values) > 1:
            shown = " and ".join(each.sql("databricks")[:30] for each in values.values())
            raise refused(f"{word} of {shown}", "mixes types by Spark's rules; CAST one of them")


def _sides(tree: exp.Expr) -> list[exp.Expr]:
    tree = tree.unnest()
    return [*_sides(tree.this), *_sides(tree.expression)] if isinstance(tree, exp.SetOperation) else [tree]
