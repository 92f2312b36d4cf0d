"""What a file of ours uses of Flower, read off its source: imported names, attributes, strings."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").is_file())
OURS = ("fedhome", "clients", "server", "simulations")
ROOM = ("fedhome/flower/*.py",)
MEASURED = ("simulations/benchmarks/flower_*.py",)  # what they measure is Flower's inside
_ITSELF = {"self", "cls"}
_TUPLES = {"_asdict", "_fields", "_make", "_replace"}  # of every named tuple


class Name(NamedTuple):
    """A name as it is written: where it is imported from, and what is taken of it."""

    module: str
    name: str
    rest: tuple[str, ...] = ()


@dataclass
class Uses:
    """What one file uses.

    Attributes:
        path: The file, from the repository's root.
        names: Names of Flower's, imported or named in a string.
        attributes: All attributes that it takes of anything, and methods that it defines.
        taken: Private attributes of other objects, also where they are written as strings.
        own: Private attributes that methods take of ``self``, by the class.
        bases: The classes that each class of the file derives from.
        defined: Private names that it defines itself.
        words: Strings, and pieces of them.
    """

    path: str
    names: set[Name] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)
    taken: set[str] = field(default_factory=set)
    own: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    bases: dict[str, list[Name]] = field(default_factory=dict)
    defined: set[str] = field(default_factory=set)
    words: set[str] = field(default_factory=set)

    @property
    def in_the_room(self) -> bool:
        """Whether it may touch what is not public."""
        return any(fnmatch(self.path, pattern) for pattern in ROOM)

    @property
    def measures(self) -> bool:
        """Whether it measures Flower's own inside."""
        return any(fnmatch(self.path, pattern) for pattern in MEASURED)


def private(name: str) -> bool:
    """Whether a name says of itself that it is private."""
    return name[:1] == "_" != name and not name.startswith("__") and name not in _TUPLES


class _Reader(ast.NodeVisitor):
    """Fills in the uses of one file."""

    def __init__(self, uses: Uses) -> None:
        self.uses = uses
        self._bound: dict[str, Name] = {}  # what is imported of Flower
        self._others: set[str] = set()  # and of others
        self._classes: list[str] = []

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            top = alias.name.split(".")[0]
            if top == "flwr":
                whole = alias.asname is not None
                self._bound[alias.asname or top] = Name(alias.name if whole else top, "")
                self.uses.names.add(Name(alias.name, ""))
            else:
                self._others.add(alias.asname or top)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            if not node.level and (node.module or "").split(".")[0] == "flwr":
                name = Name(str(node.module), alias.name)
                self._bound[alias.asname or alias.name] = name
                self.uses.names.add(name)
            else:
                self._others.add(alias.asname or alias.name)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._define(node.name)
        self.uses.bases[node.name] = [self._named(base) for base in node.bases]
        self._classes.append(node.name)
        self._body(node)
        self._classes.pop()

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._define(node.name)
        if self._classes:
            self.uses.attributes.add(node.name)
        self._body(node)

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

    def visit_Module(self, node: ast.Module) -> None:
        self._body(node)

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Store):
            self._define(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        named = self._named(node)
        if named.module:
            self.uses.names.add(named)
        self.uses.attributes.add(node.attr)
        if private(node.attr):
            self._private(node)
        self.generic_visit(node)

    def visit_keyword(self, node: ast.keyword) -> None:
        if node.arg is not None and private(node.arg):
            self.uses.taken.add(node.arg)
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self.uses.words.add(node.value)
            if private(node.value) and node.value.isidentifier():
                self.uses.taken.add(node.value)
            if node.value.startswith("flwr.") and node.value.replace(".", "a").isidentifier():
                self.uses.names.add(Name(node.value, ""))

    def visit_Dict(self, node: ast.Dict) -> None:
        """Read ``{"flwr.some.module": {"name": ...}}`` as the name of that module."""
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and str(key.value).startswith("flwr."):
                inner = value.keys if isinstance(value, ast.Dict) else []
                names = [one.value for one in inner if isinstance(one, ast.Constant)]
                self.uses.names |= {Name(str(key.value), str(name)) for name in names}
        self.generic_visit(node)

    def _body(self, node: ast.AST) -> None:
        """Visit all but the docstring."""
        for child in ast.iter_child_nodes(node):
            if not (isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)):
                self.visit(child)

    def _define(self, name: str) -> None:
        if private(name):
            self.uses.defined.add(name)

    def _private(self, node: ast.Attribute) -> None:
        owner = node.value
        itself = isinstance(owner, ast.Name) and owner.id in _ITSELF
        parent = isinstance(owner, ast.Call) and getattr(owner.func, "id", "") == "super"
        if (itself or parent) and self._classes:
            self.uses.own[self._classes[-1]].add(node.attr)
            if isinstance(node.ctx, ast.Store):
                self.uses.defined.add(node.attr)
        elif not (isinstance(owner, ast.Name) and owner.id in self._others):
            self.uses.taken.add(node.attr)

    def _named(self, node: ast.expr) -> Name:
        """Return what a chain of names is; of no module if it is none of Flower's."""
        rest: list[str] = []
        while isinstance(node, ast.Attribute):
            rest.insert(0, node.attr)
            node = node.value
        root = node.id if isinstance(node, ast.Name) else ""
        bound = self._bound.get(root)
        if bound is None:
            return Name("", rest[-1] if rest else root)
        return bound._replace(rest=tuple(rest))


def uses_of(source: str, path: str) -> Uses:
    """Return what a file uses, given its text."""
    uses = Uses(path)
    _Reader(uses).visit(ast.parse(source))
    return uses


def files() -> Iterator[Uses]:
    """Yield what each of our files uses; each file once, whatever links lead to it."""
    seen = set()
    for folder in OURS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path.resolve() not in seen:
                seen.add(path.resolve())
                name = path.resolve().relative_to(ROOT.resolve()).as_posix()
                yield uses_of(path.read_text("utf-8"), name)
