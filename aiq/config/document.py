"""YAML and JSON files as values that remember where they were written.

Every value knows its file, line and dotted field, so that the code that refuses it can say so. Knows neither
endpoints nor settings, and never puts a value into a `repr`, because any value may be a secret.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections.abc import Collection, Iterator
from typing import Any, NoReturn

import yaml

from aiq.config.nearest import nearest
from aiq.errors import ConfigError, UnsupportedConfigError

MAX_FILE_BYTES = 1024 * 1024
MAX_VALUES = 100_000
"""Values of one file after aliases are followed: a file of nested aliases could grow without end."""
MAX_DEPTH = 64

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_TEXT_TAGS = {_TAG + "str", _TAG + "timestamp", _TAG + "value"}
_SCALAR_TAGS = {_TAG + "null", _TAG + "bool", _TAG + "int", _TAG + "float"}
_SURROGATE_PAIR = re.compile(r"(?<!\\)\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")
_QUOTED_WORDS = re.compile(r"'(?!<)[^']{2,}'")


class Node:
    """A value with its place. `value` is a scalar, or a list or dict of nodes; `raw` is a scalar's text."""

    __slots__ = ("field", "file", "line", "raw", "value")

    def __init__(
        self,
        value: str | int | float | bool | list[Node] | dict[str, Node] | None,
        *,
        file: str,
        line: int,
        field: str,
        raw: str = "",
    ) -> None:
        self.value, self.file, self.line, self.field, self.raw = value, file, line, field, raw

    def __repr__(self) -> str:
        return f"Node({self.file}:{self.line}: {self.field}, {self.kind})"

    @property
    def kind(self) -> str:
        """What the value is, in a user's words."""
        if self.value is None:
            return "nothing"
        kinds = {
            bool: "true or false",
            int: "a number",
            float: "a number",
            str: "text",
            list: "a list",
            dict: "a mapping",
        }
        return kinds[type(self.value)]

    def path(self, name: str) -> str:
        """The dotted field of a member called `name`."""
        return f"{self.field}.{name}" if self.field else name

    def fail(self, message: str) -> NoReturn:
        """Raise a ConfigError at this place."""
        raise ConfigError(message, file=self.file, line=self.line, field=self.field or None)

    def refuse(self, message: str) -> NoReturn:
        """Raise an UnsupportedConfigError at this place."""
        raise UnsupportedConfigError(message, file=self.file, line=self.line, field=self.field or None)

    def missing(self, name: str, message: str) -> NoReturn:
        """Raise a ConfigError for the absent member `name`."""
        raise ConfigError(message, file=self.file, line=self.line, field=self.path(name))

    def mapping(self) -> dict[str, Node]:
        """All members, those without a value too."""
        if not isinstance(self.value, dict):
            self.fail(f"expected a mapping (name: value), not {self.kind}")
        return self.value

    def fields(self, known: Collection[str], ignored: Collection[str] = ()) -> dict[str, Node]:
        """The members with a value, but for the `ignored` ones. A name outside both lists is an error."""
        members = self.mapping()
        for name, member in members.items():
            if name not in known and name not in ignored:
                member.fail(f"unknown field.{nearest(name, known)} Known here: {', '.join(sorted(known))}.")
        return {name: m for name, m in members.items() if m.value is not None and name not in ignored}

    def required(self, members: dict[str, Node], name: str, expected: str) -> Node:
        """`members[name]`, or a ConfigError that says what was expected."""
        if name not in members:
            self.missing(name, f"is required: {expected}")
        return members[name]

    def items(self) -> list[Node]:
        """The elements of a list."""
        if not isinstance(self.value, list):
            self.fail(f"expected a list (- item), not {self.kind}")
        return self.value

    def text(self) -> str:
        """Text that is not empty. A number counts as its own digits (`entity_version: 3`)."""
        if isinstance(self.value, bool) or not isinstance(self.value, str | int | float):
            hint = " (put it in quotes if it is meant as text)" if isinstance(self.value, bool) else ""
            self.fail(f"expected text, not {self.kind}{hint}")
        if not self.raw:
            self.fail("must not be empty")
        return self.raw

    def choice(self, options: Collection[str]) -> str:
        """One of `options`."""
        text = self.text()
        if text not in options:
            self.fail(f"{text!r} is not one of {', '.join(options)}.{nearest(text, options)}")
        return text

    def boolean(self) -> bool:
        """`true` or `false`."""
        if not isinstance(self.value, bool):
            self.fail(f"expected true or false, not {self.kind}")
        return self.value

    def integer(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`."""
        if isinstance(self.value, bool) or not isinstance(self.value, int):
            self.fail(f"expected a whole number from {low} to {high}, not {self.kind}")
        if not low <= self.value <= high:
            self.fail(f"expected a whole number from {low} to {high}, not {self.value}")
        return self.value

    def number(self, expected: str, *, zero: bool = False) -> float:
        """A finite number above zero (or from zero). `expected` names its unit."""
        if isinstance(self.value, bool) or not isinstance(self.value, int | float):
            self.fail(f"expected {expected}, not {self.kind}")
        try:
            value = float(self.value)
        except OverflowError:
            value = math.inf
        if not math.isfinite(value) or value < 0 or (value == 0 and not zero):
            self.fail(f"expected {expected} {'of at least' if zero else 'above'} 0, not {value}")
        return value

    def is_off(self) -> bool:
        """True for what switches nothing on: null, false, empty text, and collections of nothing else."""
        if isinstance(self.value, dict):
            return all(member.is_off() for member in self.value.values())
        if isinstance(self.value, list):
            return all(member.is_off() for member in self.value)
        return self.value is None or self.value is False or self.value == ""


def read_documents(path: str) -> list[Node]:
    """All documents of a YAML or JSON file that are not empty.

    SafeLoader's values, plus: a duplicate key, an unknown tag, more than 1 MiB, or aliases that grow past
    `MAX_VALUES` are a ConfigError.
    """
    try:
        text = _read_text(path)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=path) from None
    if path.endswith(".json"):
        # YAML takes JSON, but for tabs as indentation and for characters written as two surrogates.
        text = _SURROGATE_PAIR.sub(lambda m: str(json.loads(f'"{m[0]}"')), text.replace("\t", " "))
    loader: Any = None
    try:
        _check_depth(path, text)
        loader = _Loader(text)
        builder = _Builder(path, loader)
        documents = []
        while loader.check_node():
            documents.append(builder.build(loader.get_node(), "", None, 0))
        return [document for document in documents if document.value is not None]
    except yaml.MarkedYAMLError as error:
        # The words in quotes and the snippet of the original message may be a part of a secret.
        problem = _QUOTED_WORDS.sub("...", error.problem or "syntax error")
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise ConfigError(f"is not valid YAML or JSON: {problem}", file=path, line=line) from None
    except yaml.YAMLError:
        raise ConfigError("is not valid YAML or JSON: it holds a control character", file=path) from None
    except RecursionError:
        raise ConfigError(f"is nested more than {MAX_DEPTH} levels deep", file=path) from None
    finally:
        if loader is not None:
            loader.dispose()


def _check_depth(path: str, text: str) -> None:
    """Events are parsed without recursion; composing deep nesting overruns the C stack and ends the process."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                line = event.start_mark.line + 1 if event.start_mark else None
                raise ConfigError(f"is nested more than {MAX_DEPTH} levels deep", file=path, line=line)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _read_text(path: str) -> str:
    # A FIFO would block in open(); a size that is checked first may have grown when it is read.
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ConfigError("is not a regular file", file=path)
    with open(path, "rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError("is larger than 1 MiB; split it into several files", file=path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigError("is not UTF-8 text", file=path, line=line) from None


class _Builder:
    """Turns the parser's nodes into ours and keeps count of them."""

    def __init__(self, file: str, loader: Any) -> None:
        self.file, self.loader = file, loader
        self.count = 0

    def build(self, node: yaml.Node, field: str, line: int | None, depth: int) -> Node:
        """`line` is that of the key where there is one: a block value starts on a later line."""
        line = line or node.start_mark.line + 1
        self.count += 1
        if self.count > MAX_VALUES:
            raise ConfigError(f"holds more than {MAX_VALUES} values", file=self.file, line=line)
        if depth > MAX_DEPTH:
            raise ConfigError(f"is nested more than {MAX_DEPTH} levels deep", file=self.file, line=line)
        if isinstance(node, yaml.ScalarNode):
            return Node(self._scalar(node, field, line), file=self.file, line=line, field=field, raw=node.value)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            items = [self.build(n, f"{field}[{i}]", None, depth + 1) for i, n in enumerate(node.value)]
            return Node(items, file=self.file, line=line, field=field)
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            members: dict[str, Node] = {}
            for key, key_line, value in self._members(node, field, 0):
                path = f"{field}.{key}" if field else key
                members[key] = self.build(value, path, key_line, depth + 1)
            return Node(members, file=self.file, line=line, field=field)
        raise ConfigError("YAML tags (!name) are not accepted", file=self.file, line=line, field=field or None)

    def _scalar(self, node: yaml.ScalarNode, field: str, line: int) -> str | int | float | bool | None:
        if node.tag in _TEXT_TAGS:
            return str(node.value)
        if node.tag not in _SCALAR_TAGS:
            raise ConfigError(
                "YAML tags (!name) are not accepted; quote text that starts with '!'",
                file=self.file,
                line=line,
                field=field or None,
            )
        try:
            value: str | int | float | bool | None = self.loader.construct_object(node)
        except (ValueError, KeyError, yaml.YAMLError):
            raise ConfigError("cannot be read as a number", file=self.file, line=line, field=field or None) from None
        return value

    def _members(self, node: yaml.MappingNode, field: str, depth: int) -> Iterator[tuple[str, int, yaml.Node]]:
        """Keys, lines and values; `<<` brings in those of another mapping that are not given here."""
        own: dict[str, int] = {}
        merged: list[yaml.Node] = []
        self.count += len(node.value)
        if depth > MAX_DEPTH or self.count > MAX_VALUES:
            line = node.start_mark.line + 1
            raise ConfigError(f"holds more than {MAX_VALUES} values", file=self.file, line=line)
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise ConfigError("a key must be text", file=self.file, line=line, field=field or None)
            if key.tag == _TAG + "merge":
                merged.extend(value.value if isinstance(value, yaml.SequenceNode) else [value])
                continue
            if key.value in own:
                path = f"{field}.{key.value}" if field else key.value
                raise ConfigError(
                    f"is given twice, first in line {own[key.value]}", file=self.file, line=line, field=path
                )
            own[key.value] = line
            yield key.value, line, value
        seen = set(own)
        for other in merged:
            if not isinstance(other, yaml.MappingNode):
                line = node.start_mark.line + 1
                raise ConfigError("<< expects a mapping", file=self.file, line=line, field=field or None)
            for name, line, value in self._members(other, field, depth + 1):
                if name not in seen:
                    seen.add(name)
                    yield name, line, value
