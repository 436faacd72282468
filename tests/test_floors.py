"""The house stands: a floor imports only what lies below it, and the core is pure."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "crdtsync"

FLOORS = {
    "errors": 0, "ids": 0, "limits": 0, "clock": 0,
    "authority": 1, "documents": 1, "practice": 1, "sealing": 1, "replication": 1,
    "storage": 2, "transport": 2,
    "asking": 3, "backup": 3, "changes": 3, "conflicts": 3, "copies": 3, "driver": 3, "engine": 3, "folder": 3,
    "founding": 3,
    "history": 3, "host": 3, "joining": 3, "members": 3, "network": 3, "opened": 3, "persons": 3, "query": 3,
    "serve": 3, "site": 3, "status": 3, "transaction": 3,
    "brake": 3, "chosen": 3, "kept": 3, "numbering": 3, "numbers": 3, "plans": 3, "proposals": 3,
    "ranges": 3, "undo": 3, "contact": 3, "freshness": 3, "held": 3, "leaving": 3,
    "duties": 3, "frozen": 3, "issuing": 3, "series": 3, "series_state": 3,
    "interop": 4, "testing": 4, "verify": 4,
    "cli": 5,
}  # fmt: skip
"""The part of the house behind each name directly under `crdtsync`, from the ground up."""

NEIGHBOURS = {
    ("practice", "documents"),  # practice declares its records with what documents offers to everybody
    ("sealing", "replication"),  # the envelopes and key objects that are sealed have their shape from there
}
"""Imports between neighbours that are allowed on floors 1 and 2."""

FREE_FLOORS = {0, 3}
"""Where neighbours may import each other as they like, as long as there is no circle."""

IMPURE = {
    "asyncio", "anyio", "trio", "sniffio", "threading", "multiprocessing", "concurrent", "subprocess", "signal",
    "queue", "time", "random", "secrets", "uuid", "os", "pathlib", "tempfile", "shutil", "io", "socket",
    "ssl", "select", "selectors", "sqlite3", "sqlcipher3", "aiosqlite", "logging", "warnings", "urllib", "http",
}  # fmt: skip
"""What would bring a clock, randomness, input and output, threads or logging into floors 0 and 1."""

IMPURE_CALLS = {"open", "print", "input"}
CLOCK_CALLS = {("datetime", "now"), ("datetime", "utcnow"), ("datetime", "today"), ("date", "today")}

ONLY_IN = {"pycrdt": "documents", "cryptography": "sealing", "typer": "cli", "rich": "cli"}
"""Libraries that one part of the house alone may know."""


def part_of(path: Path) -> str:
    """The part of the house that `path` belongs to: the folder's or the module's name; "" for `__init__.py`."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py") if first != "__init__.py" else ""


def sources() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts)


def imports(tree: ast.AST, path: Path) -> Iterator[tuple[str, int]]:
    """Every module that is imported, anywhere in the file, by its full name, and the line."""
    package = ("crdtsync", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module or "") if part)
            for alias in node.names:
                yield f"{module}.{alias.name}", node.lineno


def own_imports(path: Path) -> list[tuple[str, int]]:
    """The parts of this house that a file imports, and the line."""
    found = []
    for name, line in imports(ast.parse(path.read_text(encoding="utf-8")), path):
        words = name.split(".")
        if words[0] == "crdtsync" and len(words) > 1 and words[1] in FLOORS:
            found.append((words[1], line))
    return found


def where(path: Path, line: int) -> str:
    return f"{path.relative_to(PACKAGE.parent)}:{line}"


def test_every_part_has_a_floor() -> None:
    parts = {part_of(path) for path in sources()} - {"", "__main__"}
    assert parts <= set(FLOORS), f"name a floor for {parts - set(FLOORS)}"


def test_imports_point_downwards() -> None:
    wrong = []
    for path in sources():
        part = part_of(path)
        if part not in FLOORS:
            continue
        for other, line in own_imports(path):
            if other == part:
                continue
            level = FLOORS[part] - FLOORS[other]
            same_floor_allowed = (part, other) in NEIGHBOURS or FLOORS[part] in FREE_FLOORS
            if level < 0 or (level == 0 and not same_floor_allowed):
                wrong.append(f"{where(path, line)} imports {other}")
    assert not wrong, "\n".join(wrong)


def test_no_two_parts_need_each_other() -> None:
    needs: dict[str, set[str]] = {}
    for path in sources():
        needs.setdefault(part_of(path), set()).update(other for other, _ in own_imports(path) if other != part_of(path))
    needs.pop("", None)
    while free := [part for part, others in needs.items() if not others & set(needs)]:
        for part in free:
            del needs[part]
    assert not needs, f"these import each other in a circle: {sorted(needs)}"


def floor_0_and_1() -> list[Path]:
    return [path for path in sources() if FLOORS.get(part_of(path), 9) <= 1]


@pytest.mark.parametrize("path", floor_0_and_1(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_core_is_pure(path: Path) -> None:
    """No async, clock, randomness, input and output, threads or logging on floors 0 and 1."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    wrong = []
    for name, line in imports(tree, path):
        if name.split(".")[0] in IMPURE:
            wrong.append(f"{where(path, line)} imports {name}")
    for node in ast.walk(tree):
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
            wrong.append(f"{where(path, node.lineno)} is async")
        if isinstance(node, ast.Call) and is_impure_call(node.func):
            wrong.append(f"{where(path, node.lineno)} calls {ast.unparse(node.func)}")
    assert not wrong, "\n".join(wrong)


def is_impure_call(function: ast.expr) -> bool:
    if isinstance(function, ast.Name):
        return function.id in IMPURE_CALLS
    if isinstance(function, ast.Attribute):
        owner = function.value.attr if isinstance(function.value, ast.Attribute) else getattr(function.value, "id", "")
        return (owner, function.attr) in CLOCK_CALLS
    return False


@pytest.mark.parametrize("library", sorted(ONLY_IN))
def test_some_libraries_are_known_in_one_place_only(library: str) -> None:
    wrong = [
        f"{where(path, line)} imports {name}"
        for path in sources()
        for name, line in imports(ast.parse(path.read_text(encoding="utf-8")), path)
        if name.split(".")[0] == library and part_of(path) != ONLY_IN[library]
    ]
    assert not wrong, "\n".join(wrong)


def test_no_module_is_a_drawer_for_odds_and_ends() -> None:
    names = {path.stem for path in sources()}
    assert not names & {"utils", "util", "helpers", "helper", "misc", "common", "manager"}


def test_the_checks_would_notice(tmp_path: Path) -> None:
    """The two walkers find what they are for: an import that hides in a function, a clock read, an await."""
    tree = ast.parse("def f():\n    from crdtsync import site\n    import os.path as p\n")
    names = [name for name, _ in imports(tree, PACKAGE / "documents" / "merge.py")]
    assert names == ["crdtsync.site", "os.path"]
    relative = ast.parse("from ..storage import base\nfrom . import merge\n")
    assert [name for name, _ in imports(relative, PACKAGE / "documents" / "merge.py")] == [
        "crdtsync.storage.base",
        "crdtsync.documents.merge",
    ]
    call = ast.parse("datetime.datetime.now()").body[0]
    assert isinstance(call, ast.Expr) and isinstance(call.value, ast.Call) and is_impure_call(call.value.func)
