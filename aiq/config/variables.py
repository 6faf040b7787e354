"""`${...}` references of Asset Bundles, as far as one file can answer them.

`${var.x}` is the default of the file's own `variables`, `${bundle.name}` and `${resources...}` what the file
says there. Whatever only a deployment knows (`${workspace...}`, `${bundle.target}`, ids) is refused by name.
"""

from __future__ import annotations

import re

from aiq.config.document import Node
from aiq.config.nearest import nearest

_REFERENCE = re.compile(r"\$\{([A-Za-z][\w.\-\[\]]*)\}")
_MAX_TEXT = 64 * 1024
_MAX_CHAIN = 32


class Variables:
    """The values that a bundle file defines for its own references."""

    def __init__(self, roots: list[Node]) -> None:
        """`roots`: the documents of one file; where two define the same section, both count."""
        self._roots = [root for root in roots if isinstance(root.value, dict)]
        self._known: dict[str, Node] = {}
        self._open: list[str] = []

    def substitute(self, node: Node) -> Node:
        """A copy of `node` in which every reference has its value. Keys are left alone."""
        value = node.value
        if isinstance(value, dict):
            members = {name: self.substitute(member) for name, member in value.items()}
            return Node(members, file=node.file, line=node.line, field=node.field)
        if isinstance(value, list):
            items = [self.substitute(item) for item in value]
            return Node(items, file=node.file, line=node.line, field=node.field)
        if not isinstance(value, str) or "${" not in value:
            return node
        reference = _REFERENCE.fullmatch(value)
        if reference:
            # On its own a reference keeps the type of its value: `traffic_percentage: ${var.share}`.
            found = self._find(reference[1], node)
            return Node(found.value, file=node.file, line=node.line, field=node.field, raw=found.raw)
        text, end = "", 0
        for match in _REFERENCE.finditer(value):
            text += value[end : match.start()] + self._find(match[1], node).raw
            end = match.end()
            if len(text) > _MAX_TEXT:
                node.fail("grows past 64 KiB when its references are filled in")
        text += value[end:]
        return Node(text, file=node.file, line=node.line, field=node.field, raw=text)

    def _find(self, name: str, user: Node) -> Node:
        # A plain secret may happen to look like a reference, so its text stays out of the messages.
        shown = "a ${...} reference" if user.field.endswith("_plaintext") else "${" + name + "}"
        if name in self._known:
            return self._known[name]
        if name in self._open:
            user.fail(f"{shown} refers to itself")
        if len(self._open) >= _MAX_CHAIN:
            user.fail(f"{shown} is reached through more than {_MAX_CHAIN} other references")
        source = self._look_up(name, user, shown)
        if isinstance(source.value, list | dict) or source.value is None:
            user.refuse(f"{shown} stands for {source.kind}; only text, numbers, true and false can be filled in")
        self._open.append(name)
        self._known[name] = found = self.substitute(source)
        self._open.pop()
        return found

    def _look_up(self, name: str, user: Node, shown: str) -> Node:
        section, _, rest = name.partition(".")
        if section == "var" and rest:
            variables = self._section("variables")
            if rest not in variables:
                user.fail(f"{shown}: the file defines no such variable.{nearest(rest, variables)}")
            variable = variables[rest]
            if not isinstance(variable.value, dict):
                return variable
            default = variable.value.get("default")
            if default is None or default.value is None:
                user.fail(f"{shown}: the variable has no default (line {variable.line}); add `default: <value>`")
            return default
        if name == "bundle.name":
            bundle = self._section("bundle")
            if "name" in bundle:
                return bundle["name"]
            user.fail(f"{shown}: the file has no bundle.name")
        if section == "resources":
            members = self._section("resources")
            found: Node | None = None
            for part in rest.split("."):
                found = members.get(part)
                members = found.value if found is not None and isinstance(found.value, dict) else {}
            if found is not None and not isinstance(found.value, list | dict | None):
                return found
        user.refuse(
            f"{shown} is only known to a deployed bundle; write the value itself. Filled in here: "
            "${var.<name>} with a default, ${bundle.name}, and what the file says under ${resources...}"
        )

    def _section(self, name: str) -> dict[str, Node]:
        members: dict[str, Node] = {}
        for root in self._roots:
            assert isinstance(root.value, dict)
            section = root.value.get(name)
            if section is not None and section.value is not None:
                members.update(section.mapping())
        return members
