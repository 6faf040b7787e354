"""Values that a command line gives to a statement: widgets (`--var`) and parameters (`--param`)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import typer

_WHOLE = re.compile(r"0|-?[1-9]\d{0,17}")
_DECIMAL = re.compile(r"-?(?:0|[1-9]\d{0,17})\.\d{1,18}")


def named(given: Iterable[str], option: str) -> dict[str, str]:
    """`name=value` as texts by name. Raises typer.BadParameter."""
    found: dict[str, str] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or not name.isidentifier():
            raise typer.BadParameter(f"give a name and a value, such as catalog=main, not '{each}'", param_hint=option)
        found[name] = value
    return found


def typed(text: str) -> int | Decimal | bool | str:
    """What a parameter is: a number where it is written as SQL prints that number, true or false, else text.

    So in a text the value is what was typed: 007, 1e5 and +1 are texts.
    """
    if text in ("true", "false"):
        return text == "true"
    if _WHOLE.fullmatch(text):
        return int(text)
    if _DECIMAL.fullmatch(text) and (not text.startswith("-") or Decimal(text)):
        return Decimal(text)
    return text


def for_each(statements: list[str], params: Mapping[str, Any], *, databricks: bool) -> list[dict[str, Any] | None]:
    """For each statement the parameters that it names: `$name`, and `:name` in Databricks' SQL.

    Raises typer.BadParameter for one that none of them names.
    """
    from aiq.sql.parameters import parameter_names

    wanted = [parameter_names(text, databricks=databricks) for text in statements]
    if unused := sorted(params.keys() - set().union(*wanted)):
        sign = ":" if databricks else "$"
        raise typer.BadParameter(f"no statement has {sign}{unused[0]}", param_hint="--param")
    return [{name: value for name, value in params.items() if name in names} or None for names in wanted]
