"""Name to object: a short name of ours or of an installed package's, or a user's own code.

A name in a plan is one of these:

* a short name: a row of a table of ours, or an entry point of the group ``fedhome`` whose name is
  the kind and the short name, such as ``strategy.mine``;
* ``module:attribute``, of a module beside the plan, in the current folder, or installed;
* ``file.py:attribute``, of a file beside the plan, in the current folder, or by its whole path;
* ``handed over: ...``, of an object that stands in for a name: see :mod:`fedhome.passed_objects`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from fedhome.errors import PluginError
from fedhome.own_code import fault_of, imported, located
from fedhome.passed_objects import is_object, object_of
from fedhome.spelling import did_you_mean

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "fedhome"
"""The one group of entry points."""

_Row = TypeVar("_Row")


def look_up(table: Mapping[str, _Row], name: str, kind: str) -> _Row:
    """Return the row of a table of ours.

    Args:
        table: The rows by their names.
        name: Which one.
        kind: What the rows are, for the error: losses, kernels, ...

    Raises:
        PluginError: There is no such row; it says which there are, a nearly right one first.
    """
    if name not in table:
        raise PluginError(
            f"{kind} {name!r} is unknown{did_you_mean(name, table)}",
            hint=f"known are: {', '.join(sorted(table))}",
        )
    return table[name]


def installed(kind: str) -> dict[str, EntryPoint]:
    """Return what installed packages offer of a kind, by short names.

    Args:
        kind: strategy, wrapper, model, task, personaliser or source.

    Raises:
        PluginError: Two packages offer the same name.
    """
    from importlib.metadata import entry_points  # noqa: PLC0415 - 3 MB, where names are looked up

    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        of, _, name = point.name.partition(".")
        if of != kind:
            continue
        if name in found and found[name].value != point.value:
            raise PluginError(
                f"{kind} {name!r} is offered twice: as {found[name].value} and as {point.value}",
                hint="name the one that is meant by its module:attribute",
            )
        found[name] = point
    return found


def load(name: str, kind: str, known: Iterable[str] = ()) -> object:
    """Return the object behind a name that is not one of ours.

    Args:
        name: Where it is: an entry point's short name, ``"module:attribute"`` or
            ``"file.py:attribute"``.
        kind: What it should be: strategy, wrapper, model, task, personaliser or source.
        known: Short names that would have been understood, for the error.

    Raises:
        PluginError: The name is of none of these forms, nothing is there, or its module fails; with
            the file and line.
    """
    what = f"{kind} {name!r}"
    if is_object(name):
        return object_of(name, kind)
    if ":" not in name:
        points = installed(kind)
        if name not in points:
            raise _unknown(name, kind, {*known, *points})
        place = points[name].value
    else:
        place = located(name, [Path()])
    module, _, attribute = place.rpartition(":")
    parts = [*([] if module.endswith(".py") else module.split(".")), *attribute.split(".")]
    if not all(map(str.isidentifier, parts)):
        raise PluginError(
            f"{what} is of neither form that names own code",
            hint='write "module:attribute" or "file.py:attribute", with one colon and no spaces',
        )
    found: object = imported(module, what)
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except (Exception, SystemExit) as error:
            if not isinstance(error, AttributeError):  # a module may make its attributes itself
                raise fault_of(f"{what} fails when it is looked up", type(found), error) from error
            raise PluginError(
                f"{what} is not found: {module} has no {part!r}{_meant(part, found)}",
                hint=f"{module} is imported, and must define it under this name",
            ) from None
    return found


def check_known(name: str, kind: str, known: Iterable[str]) -> None:
    """Refuse a short name behind which there is nothing; own code is not looked at.

    Args:
        name: As of :func:`load`.
        kind: As of :func:`load`.
        known: The short names of ours.

    Raises:
        PluginError: It is none of ours, and no installed package offers it.
    """
    ours = {*known}
    if ":" not in name and name not in ours and name not in (points := installed(kind)):
        raise _unknown(name, kind, {*ours, *points})


def _unknown(name: str, kind: str, known: Iterable[str]) -> PluginError:
    names = sorted(known)
    return PluginError(
        f"{kind} {name!r} is unknown{did_you_mean(name, names)}",
        hint=f'known are: {", ".join(names)}; or name your own as "module:attribute" or '
        '"file.py:attribute"',
    )


def _meant(part: str, inside: object) -> str:
    return did_you_mean(part, [name for name in dir(inside) if not name.startswith("_")])
