"""What users may rely on, as text: every public name with its signature.

    make face                 write it down anew; `git diff` then shows what changes for users

Without make: ``PYTHONPATH=tests python -m helpers.public_face``. It is held by
tests/project/test_public_names.py. Of what is Flower's we promise the name alone.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import ModuleType

from pydantic import BaseModel

import fedhome

FACE = Path(__file__).parents[1] / "project" / "public_names.json"


def face() -> dict[str, str]:
    """Return each public name, and what it is: a signature, or a word for it."""
    modules = [fedhome, *(found for _, found in _named(fedhome) if isinstance(found, ModuleType))]
    return {
        name: text
        for module in modules
        for short, found in _named(module)
        for name, text in _texts(f"{module.__name__}.{short}", found)
    }


def _named(module: ModuleType) -> Iterator[tuple[str, object]]:
    for name in module.__all__:
        yield name, getattr(module, name)


def _texts(name: str, found: object) -> Iterator[tuple[str, str]]:
    if isinstance(found, ModuleType):
        yield name, "module"
    elif isinstance(found, Mapping):
        yield name, f"names {', '.join(sorted(found))}"
    elif not callable(found):
        yield name, type(found).__name__
    elif not found.__module__.startswith("fedhome."):
        yield name, f"of {found.__module__.partition('.')[0]}"
    elif not isinstance(found, type):
        yield name, str(inspect.signature(found))
    else:
        # The settings of a plan are its constructor's arguments: `fedhome plan explain` lists them.
        yield name, "settings" if issubclass(found, BaseModel) else _made(found)
        for short, member in vars(found).items():
            if not short.startswith("_") and (text := _member(member)):
                yield f"{name}.{short}", text


def _made(found: type) -> str:
    bases = ", ".join(base.__name__ for base in found.__bases__ if base is not object)
    return f"class{f' of {bases}' if bases else ''}, {inspect.signature(found)}"


def _member(member: object) -> str:
    if isinstance(member, property | cached_property):
        return "attribute"
    inner = member.__func__ if isinstance(member, classmethod | staticmethod) else member
    return str(inspect.signature(inner)) if inspect.isfunction(inner) else ""


if __name__ == "__main__":
    FACE.write_text(json.dumps(face(), indent=1, sort_keys=True) + "\n", "utf-8")
