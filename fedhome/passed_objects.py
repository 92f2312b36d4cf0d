"""Objects that a user hands over in place of names: what a plan says of them, where they are found.

A plan is text. Where a class or function is handed over that a name leads to, the plan has that
name, as if the user had written it. Of any other object (made in a notebook, or an instance) it
says ``handed over:`` and what it is called; the object itself is at hand for as long as the run
lasts, in the context of the call that was given it, and has to be given again to whoever goes on.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

from fedhome.errors import PluginError
from fedhome.own_code import module_name

_PREFIX = "handed over: "  # no module and no file can be called so
_NONE: Mapping[str, object] = MappingProxyType({})
_objects: ContextVar[Mapping[str, object]] = ContextVar("objects", default=_NONE)


@contextmanager
def given(objects: Mapping[str, object]) -> Iterator[None]:
    """Have objects at hand, in place of any others.

    Args:
        objects: By what they are: strategy, model, personaliser, source.
    """
    token = _objects.set(dict(objects))
    try:
        yield
    finally:
        _objects.reset(token)


def at_hand() -> Mapping[str, object]:
    """Return the objects that were given here, by what they are."""
    return _objects.get()


def is_object(name: str) -> bool:
    """Tell whether a plan's name stands for an object that was handed over."""
    return name.startswith(_PREFIX)


def object_of(name: str, kind: str) -> object:
    """Return the object that a plan's name stands for.

    Args:
        name: As the plan has it.
        kind: What it is: strategy, model, personaliser or source.

    Raises:
        PluginError: It was not given here.
    """
    objects = _objects.get()
    if kind not in objects:
        raise PluginError(
            f"the plan's {kind} is an object that was handed over in Python and is not here: "
            f"{name.removeprefix(_PREFIX)}",
            hint="hand it over again: fedhome.resume(RUN, ...) takes what fedhome.simulate took; "
            "commands and other processes find what is named as file.py:Name or module:Name",
        )
    return objects[kind]


def name_of(thing: object) -> str:
    """Return what a plan says of an object: the name that leads to it, else that it is one."""
    named = thing if hasattr(thing, "__qualname__") else type(thing)
    module, name = str(named.__module__), str(named.__qualname__)
    if named is thing and module != "__main__" and _leads_to(module, name) is thing:
        return f"{module_name(module)}:{name}"
    return f"{_PREFIX}{module}.{name}"


def called(text: str) -> str:
    """Return what a plan says of an object that has no name of its own."""
    return f"{_PREFIX}{text}"


def _leads_to(module: str, name: str) -> object:
    found: object = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found
