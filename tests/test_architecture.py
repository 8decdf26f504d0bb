"""Who may import whom, where SQL and ctypes may stand, what must be documented, and how long a file may be."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest

import msr_local

PACKAGE = Path(__file__).parents[1] / "msr_local"
MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))

# Imports go to parts of a lower rank only, or stay in their part.
RANK = {
    **dict.fromkeys(("errors.py", "text.py", "arrays.py", "progress.py", "recipes.py", "demo"), 0),
    **dict.fromkeys(("files.py", "hardware.py", "values.py"), 1),
    **dict.fromkeys(("engine", "store"), 2),
    **dict.fromkeys(("prompts.py", "catalogue", "recall"), 3),
    "models": 4,
    "recipe": 5,
    **dict.fromkeys(("evaluation", "viewer"), 6),
    **dict.fromkeys(("training", "serve"), 7),
    "cli": 8,
    **dict.fromkeys(("__init__.py", "__main__.py"), 9),
}
# The parts that answer, and what none of their modules may load, not even by way of others.
ANSWERING = ("engine", "store", "catalogue", "recall", "models", "recipe", "prompts.py")
NEVER_LOADED = {"training", "serve", "evaluation", "viewer", "cli", "torch", "transformers", "rich", "typer"}
# Which of `recipe`'s modules the viewer may know: plain results.
PLAIN = {"msr_local.recipe.views"}
# Outside modules that only these files may import; a folder stands for all files in it.
ONLY = {
    "ctypes": ["engine/llama/"],
    "llama_cpp": ["engine/llama/"],
    "sqlite3": ["store/"],
    "sqlite_utils": ["store/"],
    "typer": ["cli/"],
    "rich": ["cli/", "viewer/"],
}
LONGEST = 450

# Method names that need no docstring: their protocol, which has one for each, says it all.
TRIVIAL = {"to_json", "close"}
ENGINE = {"fits", "answers", "write", "vectors", "rendered", "token_ids", "log_odds"}

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


@cache
def edges(module: str) -> frozenset[str]:
    """The files of the package that a module imports."""
    return frozenset(file for name in imports(module) if (file := file_of(name)) and file != module)


def file_of(name: str) -> str | None:
    """`msr_local.store.rows.Item` -> `store/rows.py`; None for what is outside, and for the package itself."""
    parts = name.split(".")
    if parts[0] != "msr_local":
        return None
    if len(parts) > 1 and parts[1] in msr_local._HOMES:
        parts = ["msr_local", *msr_local._HOMES[parts[1]].split(".")]
    for end in range(len(parts), 1, -1):
        for file in ("/".join(parts[1:end]) + ".py", "/".join(parts[1:end]) + "/__init__.py"):
            if file in MODULES:
                return file
    return None


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
    file = file_of(name)
    return file.split("/")[0] if file else name.split(".")[0]


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
                if not (isinstance(node, ast.ClassDef) and trivial(child, module)):
                    yield name, child
                if isinstance(child, ast.ClassDef):
                    yield from inside(child, name)

    yield from inside(tree(module), module)


def trivial(method: ast.AST, module: str) -> bool:
    if not isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef):
        return False
    decorators = {ast.unparse(decorator).split(".")[-1] for decorator in method.decorator_list}
    trivial = TRIVIAL if module == "engine/types.py" else TRIVIAL | ENGINE
    return method.name in trivial or bool(decorators & {"property", "cached_property", "setter", "overload"})


def test_the_package_is_found():
    assert {"store/schema.py", "engine/llama/engine.py", "cli/app.py", "recipe/recommender.py"} <= set(MODULES)
    assert {module.split("/")[0] for module in MODULES} == set(RANK)


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
        "errors.py",
    }


def running_up(module: str, names: Iterable[str]) -> set[str]:
    """Which of the `names` that `module` imports are of its own rank or a higher one, but not of its part."""
    here = module.split("/")[0]
    files = {file for name in names if (file := file_of(name))}
    return {file for file in files if file.split("/")[0] != here and RANK[file.split("/")[0]] >= RANK[here]}


@pytest.mark.parametrize(
    ("module", "code", "expected"),
    [
        ("recipe/x.py", "def f():\n    from ..training import finetune", {"training/finetune.py"}),
        ("engine/llama/x.py", "from ...store.rows import Item", {"store/rows.py"}),
        ("models/x.py", "from .. import Recommender", {"recipe/recommender.py"}),
        ("store/x.py", "from ..cli.output import Output", {"cli/output.py"}),
        ("recipe/x.py", "from ..models import choice\nimport numpy", set()),
    ],
)
def test_an_import_that_runs_up_is_seen(module, code, expected):
    assert running_up(module, imported(ast.parse(code), module)) == expected


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_in_one_direction(module):
    assert running_up(module, imports(module)) == set()
    if module.startswith("viewer/"):
        assert {name for name in imports(module) if part(name) == "recipe"} <= {
            name for name in imports(module) if name.startswith(tuple(PLAIN))
        }


def test_no_files_import_each_other_in_a_circle():
    """Also not by way of others, inside functions, or for type checking."""

    def reached(start: str) -> set[str]:
        seen, left = set(), [start]
        while left:
            new = edges(left.pop()) - seen
            seen |= new
            left += new
        return seen

    assert [module for module in MODULES if module in reached(module)] == []


def loaded(modules: Sequence[str]) -> dict[str, set[str]]:
    """{module: the parts and packages that importing it loads}, each in a process that has nothing of ours yet."""
    names = [
        f"msr_local.{module.removesuffix('.py').removesuffix('/__init__').replace('/', '.')}" for module in modules
    ]
    script = (
        "import importlib, json, os, sys\n"
        "import jinja2, llama_cpp, numpy, PIL.Image, pyarrow, scipy.optimize, scipy.sparse, scipy.stats, sqlite_utils\n"
        "before, found = set(sys.modules), {}\n"
        "for name in sys.argv[1:]:\n"
        "    read, write = os.pipe()\n"
        "    if os.fork() == 0:\n"
        "        importlib.import_module(name)\n"
        "        os.write(write, json.dumps(sorted(set(sys.modules) - before)).encode())\n"
        "        os._exit(0)\n"
        "    os.close(write)\n"
        "    with os.fdopen(read) as pipe: found[name] = json.loads(pipe.read())\n"
        "print(json.dumps(found))\n"
    )
    path = os.pathsep.join([str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    ran = subprocess.run(
        [sys.executable, "-c", script, *names], capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONPATH": path},
    )  # fmt: skip
    found = json.loads(ran.stdout)

    def part_of(name: str) -> str:
        first, _, rest = name.partition(".")
        return rest.split(".")[0] if first == "msr_local" and rest else first

    return {module: set(map(part_of, found[name])) for module, name in zip(modules, names, strict=True)}


def test_what_answers_loads_nothing_that_trains_measures_or_shows():
    answering = [module for module in MODULES if module.split("/")[0] in ANSWERING]
    found = loaded([*answering, "training/questions.py", "cli/options.py"])
    assert {"training", "evaluation"} & found.pop("training/questions.py") and "cli" in found.pop("cli/options.py")
    assert len(found) == len(answering) > 50
    assert {module: parts & NEVER_LOADED for module, parts in found.items() if parts & NEVER_LOADED} == {}


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


def test_what_the_engine_protocols_promise_is_documented():
    protocols = {where.split(":")[-1] for where, _ in public("engine/types.py") if "Engine:" in where}
    assert protocols == ENGINE


def test_no_two_test_files_have_one_name():
    """pytest imports them by it: the second of a pair stops the whole run, and a run of either alone says nothing."""
    names = Counter(path.name for path in Path(__file__).parent.rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize("module", MODULES)
def test_no_file_is_longer_than_one_can_read(module):
    lines = (PACKAGE / module).read_text(encoding="utf-8").count("\n")
    assert lines <= LONGEST
