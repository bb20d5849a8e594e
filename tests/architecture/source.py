"""The package's modules as syntax trees, for tests that read the source."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "rolesanywhere_helper"


@dataclass(frozen=True, slots=True)
class Module:
    """One file of the package: its path within it (``cli/main.py``), and what it says."""

    path: str
    tree: ast.Module

    @property
    def room(self) -> str:
        return self.path.partition("/")[0].removesuffix(".py")


@dataclass(frozen=True, slots=True)
class Import:
    """An import of a library: where it stands, and whether it runs when the module is loaded."""

    library: str
    line: int
    at_module_level: bool


def package_modules() -> list[Module]:
    return [parse(file.relative_to(PACKAGE).as_posix(), file.read_text()) for file in sorted(PACKAGE.rglob("*.py"))]


def parse(path: str, text: str) -> Module:
    return Module(path, ast.parse(text, path))


def imports(module: Module) -> list[Import]:
    """Return every import that can run; those for type checkers only cost and need nothing."""
    return list(_imports(module.tree, at_module_level=True))


def _imports(node: ast.AST, *, at_module_level: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name.partition(".")[0], child.lineno, at_module_level)
        elif isinstance(child, ast.ImportFrom):
            yield Import((child.module or "").partition(".")[0], child.lineno, at_module_level)
        elif isinstance(child, ast.If) and _is_type_checking(child.test):
            for other in child.orelse:
                yield from _imports(other, at_module_level=at_module_level)
        else:
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _imports(child, at_module_level=at_module_level and not inside)


def _is_type_checking(test: ast.expr) -> bool:
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"
