"""Colours of a board: its theme, the colours that widgets name, the rules by which values have them.

A colour of a file becomes a part of a style sheet, so only what is surely a colour passes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from aiq.dashboards.model import at, objects_at, text_at
from aiq.dashboards.parameters import plain_text

PALETTE = (
    "#2A8FB8", "#F2A900", "#12A573", "#E5533D", "#86C5E0", "#A4476A", "#8FD3A8", "#F29C95", "#8A8F94", "#B96F8D",
    "#6C63C7", "#C79A3B", "#3F7D58", "#D98E5F", "#5B7FA6",
)  # fmt: skip
_HEX = re.compile(r"#(?:[0-9a-fA-F]{3}|[0-9a-fA-F]{4}|[0-9a-fA-F]{6}|[0-9a-fA-F]{8})")
_NAMED = re.compile(r"[a-zA-Z]{3,24}")
_SURFACES = {
    "canvasBackgroundColor": "--canvas", "widgetBackgroundColor": "--tile", "widgetBorderColor": "--border",
    "fontColor": "--text", "selectionColor": "--accent",
}  # fmt: skip


def palette_of(theme: Mapping[str, Any]) -> tuple[str, ...]:
    """The colours of series, in order."""
    own = at(theme, "visualizationColors")
    found = tuple(each for each in own if is_colour(each)) if isinstance(own, list) else ()
    return found or PALETTE


def is_colour(value: Any) -> bool:
    """Whether a value is `#rrggbb` or the like."""
    return isinstance(value, str) and _HEX.fullmatch(value) is not None


def colour_of(value: Any, palette: tuple[str, ...], mode: str = "light") -> str | None:
    """A colour of a file: text, a place in the palette, a pair for light and dark. None where it is none."""
    if is_colour(value) or (isinstance(value, str) and _NAMED.fullmatch(value)):
        return str(value)
    if isinstance(value, Mapping):
        if text_at(value, "themeColorType") == "visualizationColors":
            place = at(value, "position")
            return palette[(place - 1) % len(palette)] if isinstance(place, int) and place > 0 else None
        return colour_of(value.get("hex") or value.get(mode) or value.get("light"), palette, mode)
    return None


def theme_css(theme: Mapping[str, Any]) -> str:
    """The style sheet of a theme, empty where it changes nothing."""
    rules = {}
    for mode in ("light", "dark"):
        found = {css: at(theme, key, mode) for key, css in _SURFACES.items()}
        rules[mode] = "".join(f"{css}:{value};" for css, value in found.items() if is_colour(value))
    light = f":root{{{rules['light']}}}" if rules["light"] else ""
    dark = f"@media (prefers-color-scheme:dark){{:root{{{rules['dark']}}}}}" if rules["dark"] else ""
    return light + dark


def mappings_of(scale: Any, palette: tuple[str, ...]) -> dict[str, str]:
    """The colours that a scale gives to values, by the values' texts."""
    found = {}
    for each in objects_at(scale, "mappings"):
        colour = colour_of(each.get("color"), palette)
        if colour is not None and each.get("value") is not None:
            found[plain_text(each["value"])] = colour
    return found


def meets(value: Any, operator: str, operand: Any) -> bool:
    """Whether a value meets the condition of a colour rule. What cannot be compared does not."""
    if operator in ("is-null", "is null"):
        return value is None
    if operator in ("is-not-null", "is not null"):
        return value is not None
    if value is None or operand is None:
        return False
    left: Any = value
    right: Any = operand
    try:
        left, right = Decimal(plain_text(value)), Decimal(plain_text(operand))
        if left.is_nan() or right.is_nan():
            return False
    except InvalidOperation:
        left, right = plain_text(value), plain_text(operand)
    tests: dict[str, bool] = {
        "=": left == right, "==": left == right, "!=": left != right, "<>": left != right, "<": left < right,
        "<=": left <= right, ">": left > right, ">=": left >= right,
        "contains": plain_text(operand) in plain_text(value),
        "starts-with": plain_text(value).startswith(plain_text(operand)),
    }  # fmt: skip
    return tests.get(operator, False)
