"""Makes a statement's text ready for Spark: each AI call becomes a function of its result type, numbered by its site.

Knows what a statement says; runs nothing but its constants.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from aiq.errors import FunctionError, StatementError
from aiq.functions.signature import bind, in_pairs
from aiq.functions.types import ddl
from aiq.gateway import Gateway
from aiq.sql import calls
from aiq.statements.sites import Compiled, compiled, not_constant

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DIALECT = "databricks"
PREFIX = "__aiq_"
FIELD = "aiq_json_field"
"""What `text:path` is on Spark: json_fields.py."""
_LITERAL = re.compile(r"'([^'\\\0]*)'")
_OF_FUNCTION = re.compile(rf"{PREFIX}(\d+)")
_NESTED = r"(?:[^()]|\((?:[^()]|\([^()]*\))*\))*?"
_OF_FIELD = re.compile(rf"'?{FIELD}\(({_NESTED}), '?\$\.?((?:[^()'\\]|\\.)*)'?\)")
_WRITTEN = re.compile(rf"{PREFIX}(\d+)\((\d+, )?")


class NumberedText(NamedTuple):
    """A statement as Spark runs it, the sites of its calls by number, and the statement as it was written."""

    text: str
    sites: dict[int, Compiled]
    written: str


def is_empty(text: str) -> bool:
    """Whether a text has no statement. Raises StatementError where it has several, or a call that is not closed."""
    _check_text(text)
    tokens = calls.tokenize(text, DIALECT)
    calls.find_calls(text, tokens)
    count = calls.statements(text, tokens)
    if count > 1:
        raise StatementError("session.sql runs one statement; run the statements one by one")
    return not count


def prepare(text: str, spark: SparkSession, gateway: Gateway) -> NumberedText:
    """A statement with a numbered function for each call. Raises StatementError or FunctionError; makes no call."""
    sites: dict[int, Compiled] = {}
    same: dict[str, str] = {}

    def constant(expression: str, name: str) -> Any:
        return _constant(spark, expression, name)

    def compile_call(call: calls.Call) -> str:
        tokens = calls.tokenize(call.text, DIALECT)
        words = " ".join(call.text[token.start : token.end + 1] for token in tokens)  # 'body' is not body
        if words not in same:
            bound = bind(in_pairs([(argument.name, argument.text) for argument in call.arguments]))
            number = len(sites) + 1
            sites[number] = compiled(bound, with_colons(call.text), constant, gateway)
            same[words] = f"{PREFIX}{number}({', '.join([str(number), *sites[number].arguments])})"
        return f"{same[words]} AS {_quoted(with_colons(call.text))}" if call.is_column else same[words]

    return NumberedText(calls.rewrite_calls(text, compile_call, dialect=DIALECT), sites, text)


def result_type(made: Compiled) -> str:
    """The type of a site's answers, as Spark's DDL."""
    return ddl(made.site.type)


def as_written(message: str, sites: Mapping[int, Compiled]) -> str:
    """A message of Spark's with the calls as a person has written them."""

    def written(match: re.Match[str]) -> str:
        made = sites.get(int(match.group(1)))
        return match.group() if made is None else f"ai_query('{made.site.endpoint.name}', "

    return _WRITTEN.sub(written, message)


def with_colons(text: str) -> str:
    """A text with `body:owner` where it has the function for it."""
    while (changed := _OF_FIELD.sub(_as_path, text)) != text:
        text = changed
    return text


def _as_path(match: re.Match[str]) -> str:
    return f"{match[1]}:" + match[2].replace("\\'", "'")


def _constant(spark: SparkSession, expression: str, name: str) -> Any:
    """The value of a constant expression. Raises FunctionError where it depends on a row."""
    from pyspark.errors import PySparkException

    if literal := _LITERAL.fullmatch(expression):
        return literal.group(1)
    if (word := expression.lower()) in ("true", "false", "null"):
        return {"true": True, "false": False, "null": None}[word]
    try:
        row = spark.sql(f"SELECT {expression} AS value").collect()[0]
    except PySparkException as error:
        condition = str(error.getCondition())
        if "UNRESOLVED_COLUMN" in condition or "MISSING_FROM" in condition:
            raise not_constant(name, f"it is {expression}") from None
        raise FunctionError("AI_INVALID_ARGUMENT_VALUE_ERROR", f"{name}: {str(error).splitlines()[0]}") from None
    return row.asDict(recursive=True)["value"]


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise StatementError(
            f"the text holds an invalid character (a lone surrogate at position {error.start}); "
            "clean it with text.encode('utf-8', 'replace').decode()"
        ) from None


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
