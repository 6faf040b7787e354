"""Markdown of text widgets as HTML that can do nothing: headings, lists, quotes, tables, emphasis, code, links.

HTML in the text is shown as text; links lead to http, https and mailto only; of an image stands its description.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from urllib.parse import urlsplit

_HEADING = re.compile(r"(#{1,6})\s+(.*?)\s*#*\s*$")
_ITEM = re.compile(r"(\s*)(?:([-*+])|(\d{1,9})[.)])\s+(.*)$")
_RULE = re.compile(r"\s*(?:-\s*){3,}$|\s*(?:\*\s*){3,}$|\s*(?:_\s*){3,}$")
_FENCE = re.compile(r"\s*(```|~~~)")
_CELLS = re.compile(r"\s*\|?\s*:?-{2,}:?\s*(?:\|\s*:?-{2,}:?\s*)*\|?\s*$")
_INLINE = re.compile(
    r"(?P<code>`+)(?P<coded>.+?)(?P=code)"
    r"|(?P<image>!?)\[(?P<words>[^\]\n]*)\]\((?P<url>[^\s()]*(?:\([^\s()]*\)[^\s()]*)*)(?:\s+\"[^\"]*\")?\)"
    r"|<(?P<auto>(?:https?://|mailto:)[^\s<>]+)>"
    r"|(?P<strong>\*\*|__)(?=\S)(?P<bold>.+?)(?<=\S)(?P=strong)"
    r"|~~(?=\S)(?P<gone>.+?)(?<=\S)~~"
    r"|(?<![\w*])(?P<em>[*_])(?=[^\s*_])(?P<slanted>.+?)(?<=[^\s*_])(?P=em)(?![\w*])"
    r"|\\(?P<plain>[\\`*_{}\[\]()#+.!|~<>-])"
)
_DEEPEST = 6


def safe_url(url: str) -> str | None:
    """A link that may be followed: http, https or mailto. None for any other."""
    found = re.sub(r"[\x00-\x20\x7f-\x9f]", "", url)
    try:
        parts = urlsplit(found)
    except ValueError:
        return None
    if parts.scheme.lower() in ("http", "https"):
        return found if parts.netloc else None
    return found if parts.scheme.lower() == "mailto" else None


def link(url: str, words: str, *, title: str = "") -> str:
    """A link as HTML, `words` being HTML already; the words alone where the link may not be followed."""
    target = safe_url(url)
    if target is None:
        return words
    titled = f' title="{escape(title)}"' if title else ""
    return f'<a href="{escape(target)}" rel="noopener noreferrer" target="_blank"{titled}>{words}</a>'


def to_html(text: str) -> str:
    """A Markdown text as HTML."""
    return "".join(_blocks(text.replace("\r\n", "\n").replace("\r", "\n").split("\n")))


def inline(text: str, depth: int = 0) -> str:
    """One line's emphasis, code and links as HTML."""
    if depth > _DEEPEST:
        return escape(text)
    found, at = [], 0
    for match in _INLINE.finditer(text):
        found += [escape(text[at : match.start()]), _piece(match, depth + 1)]
        at = match.end()
    return "".join([*found, escape(text[at:])])


def _piece(match: re.Match[str], depth: int) -> str:
    if match["coded"] is not None:
        return f"<code>{escape(match['coded'].strip())}</code>"
    if match["url"] is not None:
        words = escape(match["words"]) if match["image"] else inline(match["words"], depth)
        return link(match["url"], words or escape(match["url"]))
    if match["auto"] is not None:
        return link(match["auto"], escape(match["auto"].removeprefix("mailto:")))
    for group, tag in (("bold", "strong"), ("gone", "del"), ("slanted", "em")):
        if match[group] is not None:
            return f"<{tag}>{inline(match[group], depth)}</{tag}>"
    return escape(match["plain"])


def _blocks(lines: list[str]) -> Iterator[str]:
    at = 0
    while at < len(lines):
        line = lines[at]
        if not line.strip():
            at += 1
        elif fence := _FENCE.match(line):
            end = next((n for n in range(at + 1, len(lines)) if lines[n].strip().startswith(fence[1])), len(lines))
            yield "<pre><code>" + escape("\n".join(lines[at + 1 : end])) + "</code></pre>"
            at = end + 1
        elif heading := _HEADING.match(line):
            level = min(len(heading[1]) + 1, 6)  # the page's own title is the first
            yield f"<h{level}>{inline(heading[2])}</h{level}>"
            at += 1
        elif _RULE.match(line):
            yield "<hr>"
            at += 1
        elif line.lstrip().startswith(">"):
            end = _while(lines, at, lambda each: each.lstrip().startswith(">"))
            inner = [each.lstrip()[1:].removeprefix(" ") for each in lines[at:end]]
            yield f"<blockquote>{'<br>'.join(map(inline, inner))}</blockquote>"
            at = end
        elif "|" in line and at + 1 < len(lines) and _CELLS.match(lines[at + 1]):
            end = _while(lines, at + 2, lambda each: "|" in each)
            yield _table([line, *lines[at + 2 : end]])
            at = end
        elif _ITEM.match(line):
            end = _while(lines, at, lambda each: bool(_ITEM.match(each)) or each.startswith("  "))
            yield _list(lines[at:end])
            at = end
        else:
            end = _while(lines, at + 1, _goes_on)
            yield f"<p>{'<br>'.join(inline(each.strip()) for each in lines[at:end])}</p>"
            at = end


def _while(lines: list[str], at: int, test: object) -> int:
    assert callable(test)
    while at < len(lines) and lines[at].strip() and test(lines[at]):
        at += 1
    return at


def _goes_on(line: str) -> bool:
    """Whether a line belongs to the paragraph above."""
    starts = (_FENCE, _HEADING, _RULE, _ITEM)
    return not line.lstrip().startswith(">") and not any(each.match(line) for each in starts)


def _table(lines: list[str]) -> str:
    rows = [[inline(cell.strip()) for cell in line.strip().strip("|").split("|")] for line in lines]
    head = "".join(f"<th>{cell}</th>" for cell in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows[1:])
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _list(lines: list[str]) -> str:
    """A list, and the lists within it by their indentation."""
    html: list[str] = []
    open_lists: list[tuple[int, str]] = []
    for line in lines:
        item = _ITEM.match(line)
        if item is None:
            html.append(f"<br>{inline(line.strip())}")
            continue
        depth, tag = len(item[1].expandtabs(4)), "ul" if item[2] else "ol"
        while open_lists and depth < open_lists[-1][0]:
            html.append(f"</li></{open_lists.pop()[1]}>")
        if open_lists and depth < open_lists[-1][0] + 2:
            html.append("</li>")
        else:
            first = f' start="{int(item[3])}"' if item[3] and int(item[3]) != 1 else ""
            html.append(f"<{tag}{first}>")
            open_lists.append((depth, tag))
        html.append(f"<li>{inline(item[4])}")
    while open_lists:
        html.append(f"</li></{open_lists.pop()[1]}>")
    return "".join(html)
