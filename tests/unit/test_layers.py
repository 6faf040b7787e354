"""Imports point down a list of layers only, and no file imports itself by a detour."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import aiq
from aiq.ledger.records import StatementRow

ROOT = Path(aiq.__file__).parent
LAYERS = (
    "cli",
    "serve demo doctor magic dbt",
    "dashboards alerts local",
    "engines",
    "statements",
    "sql telemetry",
    "runtime functions",
    "batch",
    "gateway",
    "transport answers",
    "policy",
    "ledger providers",
    "config",
    "amounts content request image forked metric_names resources shipped_sql simulator",
    "errors",
)
"""The highest first; packages of one layer do not import each other. Some of them are still to be built."""
DEVIATIONS = {("demo/story.py", "cli"), ("functions/__init__.py", "engines")}
"""Imports that point up, yet: this list may only become shorter."""
FILES = [path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py")]


@cache
def tree_of(file: str) -> ast.Module:
    return ast.parse((ROOT / file).read_text())


def trees() -> Iterator[tuple[str, ast.Module]]:
    return ((file, tree_of(file)) for file in FILES)


def module(file: str) -> str:
    return "aiq." + file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


MODULES = {module(file): file for file in FILES if file != "__init__.py"}


def imported(nodes: Iterator[ast.AST]) -> Iterator[str]:
    """The modules of aiq that these nodes import."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            inner = [f"{node.module}.{name.name}" for name in node.names]
            yield from (name if name in MODULES else node.module for name in inner)


def test_every_package_has_a_layer() -> None:
    assert {file.split("/")[0].removesuffix(".py") for file in FILES} - {"__init__"} <= set(" ".join(LAYERS).split())


def test_imports_point_down() -> None:
    level = {name: number for number, layer in enumerate(LAYERS) for name in layer.split()}
    up = set()
    for file, tree in trees():
        package = file.split("/")[0].removesuffix(".py")
        for name in imported(ast.walk(tree)):
            other = name.split(".")[1] if name.startswith("aiq.") else package
            if package in level and other != package and level[other] <= level[package]:
                up.add((file, other))
    assert up == DEVIATIONS


def test_no_file_imports_itself_by_a_detour() -> None:
    """What is imported inside a function, or for types alone, is no part of loading a file."""
    graph = {name: set(imported(iter(tree_of(file).body))) & set(MODULES) for name, file in MODULES.items()}
    order = list(TopologicalSorter(graph).static_order())
    assert len(order) == len(MODULES)


def private(name: str) -> bool:
    """Not what a NamedTuple has: `_replace`, `_fields` and their kind are for everybody. Nor what PySpark names so."""
    return name.startswith("_") and not name.startswith("__") and not hasattr(StatementRow, name) and name != "_jvm"


def defined(tree: ast.Module) -> set[str]:
    """The private names that a file gives to something of its own."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return set(filter(private, names))


def reached(tree: ast.Module) -> Iterator[str]:
    """The private names that a file imports, or reads of something that is not itself, nor a module of others."""
    foreign = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            ours = isinstance(node, ast.ImportFrom) and (node.module or "").startswith("aiq")
            for name in node.names:
                if not ours:
                    foreign.add(name.asname or name.name.split(".")[0])
                elif private(name.name):
                    yield name.name
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and private(node.attr):
            of = node.value.id if isinstance(node.value, ast.Name) else ""
            if of not in {"self", "cls"} | foreign:
                yield node.attr


def test_no_file_reaches_into_anothers_private_names() -> None:
    own = {file: defined(tree) for file, tree in trees()}
    known = set().union(*own.values())
    assert {(file, name) for file, tree in trees() for name in reached(tree) if name in known - own[file]} == set()


def test_the_picture_has_at_most_fourteen_floors() -> None:
    """A package stands on what its files import when they are loaded; `statements.session` on `gateway`, and so on."""
    packages: dict[str, set[str]] = {}
    for name, file in MODULES.items():
        package = name.split(".")[1]
        below = {other.split(".")[1] for other in imported(iter(tree_of(file).body)) if other.startswith("aiq.")}
        below = {other for other in below if (file, other) not in DEVIATIONS}
        packages.setdefault(package, set()).update(below - {package})
    floor: dict[str, int] = {}
    for package in TopologicalSorter(packages).static_order():
        floor[package] = 1 + max((floor[other] for other in packages.get(package, ())), default=0)
    assert max(floor.values()) <= 14, floor


def test_the_simulator_is_on_its_own() -> None:
    """It stands for servers of others, so it must not know how aiq asks them."""
    names = {name for file, tree in trees() if file.startswith("simulator/") for name in imported(ast.walk(tree))}
    own = {name for name in names if name.split(".")[0] == "aiq" and not name.startswith("aiq.simulator")}
    assert own <= {"aiq.errors"}


def test_no_two_classes_have_one_name() -> None:
    """Or a search for one finds the other."""
    names = Counter(node.name for _, tree in trees() for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    assert {name for name, count in names.items() if count > 1} == set()
