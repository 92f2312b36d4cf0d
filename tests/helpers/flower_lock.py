"""What fedhome uses of Flower beside its public names, as text: a lock, and a diff at an upgrade.

    make lock                 write what the installed release has into the lock
    make lock FLOWER=1.42     the same of another release, which is installed beside it

Without make: ``PYTHONPATH=tests python -m helpers.flower_lock --write``. Without ``--write`` it
tells what the installed release has otherwise; with ``--others``, which other releases the lock
holds. What it has of those stays, for as long as the pin in pyproject.toml takes them. So an
upgrade is: widen the pin, ``make lock FLOWER=...``, read the diff.

tests/flower/flower_lock.json holds, by the names in our sources: signatures of functions and of
those methods whose names the same file uses, the fields of messages, the values of constants,
private attributes, and the SuperLink's paths, remote methods and middleware that we name in
strings. Lines that all releases share stand there once. Signatures are as Flower's sources have
them, so that they are the same under every version of Python. What counts as public:
see test_flower_lock.py.
"""

from __future__ import annotations

import ast
import inspect
import json
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from functools import cache
from importlib import import_module
from importlib.metadata import version
from types import ModuleType
from typing import Any, get_origin

from google.protobuf.descriptor import FieldDescriptor
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from helpers.flower_uses import ROOT, Name, Uses, files, private

LOCK = ROOT / "tests/flower/flower_lock.json"
ALL = "every release"
GONE = "is not there"
PUBLIC = (
    "flwr.app",
    "flwr.client",
    "flwr.client.mod",
    "flwr.clientapp",
    "flwr.clientapp.mod",
    "flwr.server",
    "flwr.server.strategy",
    "flwr.server.workflow",
    "flwr.serverapp",
    "flwr.serverapp.exception",
    "flwr.serverapp.strategy",
    "flwr.simulation",
)
"""The packages that Flower documents; what they export is public, by that path alone."""

Texts = dict[str, str]


# --- Names: what they are in the Flower that is installed ---------------------------------------


def found(name: Name) -> tuple[Name, Any]:
    """Return a name by the innermost module that it is in, and what it is; None if it is gone."""
    try:
        thing: Any = import_module(name.module)
    except ImportError:
        return name, None
    module, path = name.module, [part for part in (name.name, *name.rest) if part]
    while path and isinstance(thing, ModuleType):
        module, inner = thing.__name__, path.pop(0)
        if not hasattr(thing, inner):
            try:
                thing = import_module(f"{module}.{inner}")
            except ImportError:
                return Name(module, inner, tuple(path)), None
        else:
            thing = getattr(thing, inner)
        name = Name(module, inner, tuple(path))
    if isinstance(thing, ModuleType):
        name = Name(thing.__name__, "")
    return name, thing


def public(name: Name) -> bool:
    """Whether Flower documents a name, by the path that it is imported from."""
    if name.module not in PUBLIC:
        return False
    module = import_module(name.module)
    exported = getattr(module, "__all__", [one for one in vars(module) if one[0] != "_"])
    return not name.name or name.name in exported


def key_of(name: Name) -> str:
    return f"{name.module}.{name.name}".rstrip(".")


# --- Texts: what a thing is, in one line --------------------------------------------------------

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@cache
def source(module: str) -> str:
    """Return a module's text."""
    return inspect.getsource(import_module(module))


@cache
def definitions(module: str) -> Mapping[str, Definition]:
    """Return what a module's text defines, by the qualified names."""
    told: dict[str, Definition] = {}

    def read(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, Definition):
                inside = "" if isinstance(child, ast.ClassDef) else "<locals>."
                if "setter" not in map(_last_name, child.decorator_list):
                    told[prefix + child.name] = child
                read(child, f"{prefix}{child.name}.{inside}")
            else:
                read(child, prefix)

    read(ast.parse(source(module)), "")
    return told


def _last_name(decorator: ast.expr) -> str:
    return getattr(decorator, "attr", "") or getattr(decorator, "id", "")


def text_of(thing: Any) -> str:
    """Return a line about a thing: its signature, its bases, its value."""
    told = type(thing).__name__
    if hasattr(thing, "DESCRIPTOR"):
        told = f"message {thing.DESCRIPTOR.full_name}"
    elif isinstance(thing, type):
        bases = [base.__name__ for base in thing.__bases__ if base is not object]
        told = f"class({', '.join(bases)})"
    elif isinstance(thing, property):
        told += signature(thing.fget).rpartition(")")[2]
    elif isinstance(thing, classmethod | staticmethod):
        told += " " + signature(thing.__func__)
    elif inspect.isroutine(thing):
        told = signature(thing)
    elif isinstance(thing, Enum):
        told = repr(thing.value)
    elif isinstance(thing, str | int | float | bytes | None) or get_origin(thing):
        told = repr(thing)
    return told


def signature(function: Any) -> str:
    """Return a function's signature as its source has it; of one without source, Python's."""
    inner = inspect.unwrap(function)
    node = definitions(inner.__module__).get(inner.__qualname__)
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):  # as a dataclass's __init__
        return str(inspect.signature(function))
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    begin = "async " if isinstance(node, ast.AsyncFunctionDef) else ""
    return f"{begin}({ast.unparse(node.args)}){returns}"


def theirs(kind: type) -> list[type]:
    """Return a class and its bases, those that are Flower's own code."""
    own = (one for one in kind.__mro__ if one.__module__.split(".")[0] == "flwr")
    return [one for one in own if not hasattr(one, "DESCRIPTOR")]


@cache
def given(kind: type) -> Mapping[str, str]:
    """Return lines about the attributes that a class's source gives its objects, by the names."""
    told: Texts = {}
    for node in ast.walk(definitions(kind.__module__)[kind.__qualname__]):
        match node:
            case ast.Subscript(value=held, slice=ast.Constant(value=str(name))):
                if ast.unparse(held) == "self.__dict__":
                    told[name] = "attribute"
            case ast.AnnAssign(target=ast.Name(id=name), annotation=of):
                told[name] = f"attribute: {ast.unparse(of)}"
            case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                told.setdefault(name, "attribute")
            case _:
                pass
    return told


def attributes(kind: type) -> set[str]:
    """Return the names of what a class itself has or gives its objects."""
    return {*given(kind), *vars(kind)}


def member(kind: type, name: str) -> str:
    """Return the line about an attribute of a class, or of its class; none if it has none."""
    for one in (*theirs(kind), *theirs(type(kind))):
        if name in vars(one):
            return text_of(vars(one)[name])
        if name in given(one):
            return given(one)[name]
    return ""


def fields(message: Any) -> Iterator[tuple[str, str]]:
    """Yield the fields of a protobuf message, as its .proto has them."""
    for one in message.DESCRIPTOR.fields:
        kind = one.message_type or one.enum_type
        told = kind.name if kind else _KINDS[one.type]
        yield one.name, f"{'repeated ' if one.is_repeated else ''}{told} = {one.number}"


_KINDS = {
    number: name.removeprefix("TYPE_").lower()
    for name, number in vars(FieldDescriptor).items()
    if name.startswith("TYPE_")
}


# --- The lock -----------------------------------------------------------------------------------


def names_used(some: Iterable[Uses]) -> Iterator[tuple[Uses, Name, Any]]:
    """Yield what files use of Flower by name, public or not."""
    for uses in some:
        for written in sorted(uses.names):
            name, thing = found(written)
            yield uses, name, thing


def privates_used(some: list[Uses]) -> Iterator[tuple[Uses, str, str]]:
    """Yield the private attributes of Flower's objects that files use, and a line about each."""
    holders = _holders(some)
    known: dict[str, list[type]] = {}
    for kind in {one for found_kind in holders.values() for one in theirs(found_kind)}:
        for name in filter(private, attributes(kind)):
            known.setdefault(name, []).append(kind)
    ours = set().union(*(uses.defined for uses in some))
    derived = _derived(some, holders)
    for uses in some:
        here = {one for found_kind in _holders([uses]).values() for one in theirs(found_kind)}
        for name in sorted(uses.taken):
            kinds = known.get(name, [])
            for kind in [one for one in kinds if one in here] or kinds:
                yield uses, f"{kind.__module__}.{kind.__qualname__}.{name}", member(kind, name)
            attribute = name in uses.attributes
            if attribute and uses.names and name not in known and name not in ours:
                yield uses, f"unknown.{name}", "of no class of Flower's that is used by name"
        for own, taken in uses.own.items():
            for kind in derived.get(own, ()):
                for name in sorted(taken & attributes(kind)):
                    yield uses, f"{kind.__module__}.{kind.__qualname__}.{name}", member(kind, name)


def _holders(some: list[Uses]) -> dict[str, type]:
    """Return the classes of Flower's that files name, public or not."""
    told = {key_of(name): thing for _, name, thing in names_used(some)}
    return {key: thing for key, thing in told.items() if isinstance(thing, type) and theirs(thing)}


def _derived(some: list[Uses], holders: Mapping[str, type]) -> dict[str, set[type]]:
    """Return what our classes derive from of Flower's, over whatever others of ours."""
    told: dict[str, set[type]] = {}
    bases = [(own, base) for uses in some for own, of in uses.bases.items() for base in of]
    for _ in range(len(bases)):
        before = sum(map(len, told.values()))
        for own, base in bases:
            theirs_here = holders.get(key_of(found(base)[0])) if base.module else None
            more = set(theirs(theirs_here)) if theirs_here else told.get(base.name, set())
            told.setdefault(own, set()).update(more)
        if sum(map(len, told.values())) == before:
            break
    return told


@cache
def superlink() -> tuple[set[str], Texts]:
    """Return the names of the SuperLink's middleware, and its paths with their methods."""
    app = import_module("flwr.superlink.main").create_app()
    paths = {path: " ".join(sorted(way)) for path, way in app.openapi()["paths"].items()}
    return {one.cls.__name__ for one in app.user_middleware}, paths


def words_used(some: Iterable[Uses]) -> Iterator[tuple[Uses, str, str]]:
    """Yield what files name of the SuperLink in strings: paths, remote methods, middleware."""
    layers, paths = superlink()
    modules = {one.__module__ for kind in _holders(some).values() for one in theirs(kind)}
    for uses in some:
        for path, way in paths.items():
            if not path.startswith("/v1/"):
                continue
            folder, _, last = path.rpartition("/")
            if path in uses.words or {f"{folder}/", last} <= uses.words:
                yield uses, path, way
        for word in sorted(uses.words):
            if word.startswith("/flwr.proto."):
                known = any(f'"{word}"' in source(module) for module in modules)
                yield uses, word, "in use" if known else GONE
            if word.endswith("Middleware") and word.isidentifier():
                yield uses, f"middleware {word}", "in use" if word in layers else GONE


def what_is_used(some: list[Uses]) -> Texts:
    """Return a line about everything of Flower's that is used and not public."""
    told: Texts = {}
    for uses, name, thing in names_used(some):
        if public(name):
            continue
        key = key_of(name)
        if thing is None:
            told[key] = GONE
            continue
        told[key] = text_of(thing)
        if hasattr(thing, "DESCRIPTOR"):
            told |= {f"{key}.{one}": line for one, line in fields(thing)}
        elif isinstance(thing, type):
            asked = {"__init__", *filter(lambda one: not private(one), uses.attributes)}
            lines = {
                one: member(thing, one) for one in asked if one[:2] != "__" or one == "__init__"
            }
            told |= {f"{key}.{one}": line for one, line in lines.items() if line}
    told |= {key: line for _, key, line in privates_used(some)}
    told |= {key: line for _, key, line in words_used(some)}
    return dict(sorted(told.items()))


def installed() -> str:
    """Return the minor release of Flower that is installed, such as ``1.42``."""
    return ".".join(version("flwr").split(".")[:2])


def pinned() -> list[str]:
    """Return the minor releases that the pin in pyproject.toml takes, oldest first."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    needed = map(Requirement, project["dependencies"])
    (takes,) = (one.specifier for one in needed if one.name == "flwr")
    return [
        f"1.{minor}" for minor in range(200) if SpecifierSet(str(takes)).contains(f"1.{minor}.0")
    ]


def locked(release: str) -> Texts:
    """Return the lock's lines for a release."""
    lock = json.loads(LOCK.read_text("utf-8"))
    return {**lock[ALL], **lock.get(release, {})}


def held() -> list[str]:
    """Return the releases that the lock holds."""
    return [key for key in json.loads(LOCK.read_text("utf-8")) if key != ALL]


def write(told: Texts) -> None:
    """Write the installed release's lines into the lock, beside those of the pin's others."""
    known = held() if LOCK.is_file() else []
    lines = {release: locked(release) for release in known if release in pinned()}
    lines[installed()] = told
    common = dict(sorted(set.intersection(*(set(one.items()) for one in lines.values()))))
    lock = {ALL: common} | {
        release: {key: line for key, line in lines[release].items() if key not in common}
        for release in pinned()
        if release in lines
    }
    LOCK.write_text(json.dumps(lock, indent=1) + "\n", "utf-8")


def differences(before: Texts, now: Texts) -> list[str]:
    """Return what differs, as the lines of a diff."""
    return [
        f"{sign} {key}: {lines[key]}"
        for key in sorted(before.keys() | now.keys())
        for sign, lines in (("-", before), ("+", now))
        if key in lines and before.get(key) != now.get(key)
    ]


def main(arguments: list[str]) -> None:
    if arguments == ["--others"]:
        told = [release for release in held() if release != installed()]
    elif arguments == ["--write"]:
        told = []
        write(what_is_used(list(files())))
    elif not arguments:
        told = differences(locked(installed()), what_is_used(list(files())))
    else:
        sys.exit(__doc__)
    for line in told:
        print(line)  # noqa: T201 - a command's answer


if __name__ == "__main__":
    main(sys.argv[1:])
