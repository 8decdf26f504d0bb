"""Who may import whom, where SQL and ctypes may stand, what must be documented, and how long a file may be."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import msr_local

PACKAGE = Path(__file__).parents[1] / "msr_local"
MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))

# What the modules of a part may not import: names of modules, inside the package or outside.
FORBIDDEN = {
    "engine": ["cli", "catalogue", "recipe", "store", "training", "evaluation", "viewer", "weights"],
    "store": ["cli", "catalogue", "engine", "recipe", "training", "evaluation", "viewer", "weights"],
    "catalogue": ["cli", "recipe", "training", "evaluation", "viewer"],
    "recipe": ["cli", "training", "evaluation", "viewer", "ctypes", "rich", "sqlite3", "sqlite_utils"],
    "training": ["cli", "viewer", "sqlite3", "sqlite_utils"],
    "evaluation": ["cli", "viewer", "sqlite3", "sqlite_utils"],
    "viewer": ["cli", "catalogue", "engine", "store", "training", "sqlite3", "sqlite_utils"],
}
# Outside modules that only these files may import; a folder stands for all files in it.
ONLY = {
    "ctypes": ["engine/context.py", "engine/forks.py", "engine/hidden.py", "engine/llama.py", "engine/native.py"],
    "llama_cpp": ["engine/context.py", "engine/forks.py", "engine/hidden.py", "engine/llama.py", "engine/native.py"],
    "sqlite3": ["store/", "cli/__init__.py"],  # the command line's table of errors names sqlite3.Error
    "sqlite_utils": ["store/"],
    "typer": ["cli/"],
    "rich": ["cli/", "viewer/"],
}
# The parts of the package that have nothing of their own above them.
LEAVES = {"errors.py", "text.py"}

LONGEST = 450

# Method names that need no docstring: their protocol says it all.
TRIVIAL = {"to_json", "close"}

SQL = re.compile(
    r"\bSELECT\b.+\bFROM\b|\bINSERT\s+(OR\s+\w+\s+)?INTO\b|\bDELETE\s+FROM\b|\bUPDATE\s+\w+\s+SET\b"
    r"|\b(CREATE|DROP|ALTER)\s+(TEMP\s+)?(TABLE|VIEW|INDEX|TRIGGER)\b|\bPRAGMA\s+\w+",
    re.DOTALL,
)


@cache
def tree(module: str) -> ast.Module:
    return ast.parse((PACKAGE / module).read_text(encoding="utf-8"))


@cache
def imports(module: str) -> frozenset[str]:
    """Full names of all that a module imports anywhere, also inside functions and for type checking."""
    return frozenset(imported(tree(module), module))


def imported(parsed: ast.Module, module: str) -> Iterator[str]:
    package = ["msr_local", *Path(module).parent.parts]
    for node in ast.walk(parsed):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in {"import_module", "__import__"}:
            yield from (arg.value for arg in node.args if isinstance(arg, ast.Constant))


def part(name: str) -> str:
    """`msr_local.store.rows.Item` -> `store`; `msr_local.Workspace` -> `store`; `sqlite3.dbapi2` -> `sqlite3`."""
    first, *rest = name.split(".")
    if first != "msr_local" or not rest:
        return first
    return msr_local._HOMES.get(rest[0], rest[0]).split(".")[0]


def strings(parsed: ast.Module) -> Iterator[str]:
    """The string literals of a module, joined as they stand; docstrings are no literals here."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(parsed)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(parsed):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(str(v.value) if isinstance(v, ast.Constant) else " x " for v in node.values)


def public(module: str) -> Iterator[tuple[str, ast.AST]]:
    """Module, classes, functions and methods that have a name for others: (where, node)."""
    yield module, tree(module)

    def inside(node: ast.Module | ast.ClassDef, where: str) -> Iterator[tuple[str, ast.AST]]:
        for child in node.body:
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and child.name[0] != "_":
                name = f"{where}:{child.name}"
                if not (isinstance(node, ast.ClassDef) and trivial(child)):
                    yield name, child
                if isinstance(child, ast.ClassDef):
                    yield from inside(child, name)

    yield from inside(tree(module), module)


def trivial(method: ast.AST) -> bool:
    if not isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef):
        return False
    decorators = {ast.unparse(decorator).split(".")[-1] for decorator in method.decorator_list}
    return method.name in TRIVIAL or bool(decorators & {"property", "cached_property", "setter", "overload"})


def test_the_package_is_found():
    assert {"store/schema.py", "engine/llama.py", "cli/app.py", "recipe/recommender.py"} <= set(MODULES)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import sqlite3.dbapi2", "sqlite3.dbapi2"),
        ("from .. import store", "msr_local.store"),
        ("from ..store.rows import Item", "msr_local.store.rows.Item"),
        ("from . import scoring", "msr_local.recipe.scoring"),
        ("def f():\n    from msr_local.cli import run", "msr_local.cli.run"),
        ("import importlib\nimportlib.import_module('ctypes')", "ctypes"),
    ],
)
def test_no_way_to_import_goes_unseen(code, expected):
    assert expected in set(imported(ast.parse(code), "recipe/captions.py"))


def test_a_public_name_counts_as_the_part_it_comes_from():
    assert {part(name) for name in imported(ast.parse("from .. import Workspace, errors"), "engine/x.py")} == {
        "store",
        "errors",
    }


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_in_one_direction(module):
    folder = module.split("/")[0]
    parts = {part(name) for name in imports(module)}
    assert not parts & set(FORBIDDEN.get(folder, []))
    if folder not in {"cli", "__main__.py"}:
        assert "cli" not in parts
    if module in LEAVES:
        assert not [name for name in imports(module) if name.startswith("msr_local")]


@pytest.mark.parametrize("name", ONLY)
def test_an_outside_module_is_imported_only_where_it_belongs(name):
    users = [module for module in MODULES if name in {part(one) for one in imports(module)}]
    assert [module for module in users if not module.startswith(tuple(ONLY[name]))] == []
    assert users, f"nothing imports {name} any more: take it out of this test"


@pytest.mark.parametrize(
    "sql",
    ["SELECT * FROM items", "INSERT OR REPLACE INTO x", "DELETE FROM x", "UPDATE x SET y", "SELECT a,\n b FROM x"],
)
def test_sql_is_recognised(sql):
    assert any(SQL.search(text) for text in strings(ast.parse(f"run({sql!r})")))
    assert any(SQL.search(text) for text in strings(ast.parse(f"run(f'''{sql} {{where}}''')")))


@pytest.mark.parametrize("module", [module for module in MODULES if not module.startswith("store/")])
def test_all_sql_is_in_the_store(module):
    found = {text for text in strings(tree(module)) if SQL.search(text)}
    assert found == set()


@pytest.mark.parametrize("module", MODULES)
def test_everything_public_has_a_docstring(module):
    if not (PACKAGE / module).read_text(encoding="utf-8").strip():
        return  # an empty __init__.py
    bare = {where for where, node in public(module) if not ast.get_docstring(node)}  # type: ignore[arg-type]
    assert bare == set()


def test_no_two_test_files_have_one_name():
    """pytest imports them by it: the second of a pair stops the whole run, and a run of either alone says nothing."""
    names = Counter(path.name for path in Path(__file__).parent.rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize("module", MODULES)
def test_no_file_is_longer_than_one_can_read(module):
    lines = (PACKAGE / module).read_text(encoding="utf-8").count("\n")
    assert lines <= LONGEST
