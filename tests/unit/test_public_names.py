"""What users import. A change here is a change of the public interface."""

from __future__ import annotations

import re

import pytest

import aiq
from aiq import errors

NAMES = [
    "AiqError",
    "BudgetExceeded",
    "ConfigError",
    "FunctionError",
    "GuardrailBlocked",
    "Gateway",
    "LedgerError",
    "PolicyError",
    "ProviderError",
    "RequestFailed",
    "ResourceError",
    "ResultError",
    "SecretError",
    "Session",
    "StatementCancelled",
    "StatementError",
    "StreamBroken",
    "UnsupportedConfigError",
    "__version__",
    "connect",
    "enrich",
    "functions",
    "ledger_views",
    "register",
]


def test_the_exported_names_are_these() -> None:
    assert sorted(aiq.__all__) == sorted(NAMES)
    assert dir(aiq) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each_exported_name_is_there(name: str) -> None:
    assert getattr(aiq, name) is not None


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        _ = aiq.nothing


def drawn() -> dict[str, str]:
    """Each class of the tree in the docstring of errors.py, with the class it hangs on."""
    parents: dict[str, str] = {}
    path: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"^    ([ │├└─]*)(\w+)", line):
            depth, name = len(match[1]), match[2]
            path = [entry for entry in path if entry[0] < depth]
            parents[name] = path[-1][1] if path else "Exception"
            path.append((depth, name))
    return parents


def test_the_tree_that_is_drawn_is_the_real_one() -> None:
    real = {
        name: value.__bases__[0].__name__
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.AiqError)
    }
    assert drawn() == real


def test_every_error_is_exported() -> None:
    assert set(drawn()) <= set(aiq.__all__)
