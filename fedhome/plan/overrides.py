"""A plan's layers as nested tables: TOML files, single settings, and laying one over the other."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from fedhome.errors import PlanError, PluginError
from fedhome.guarded_code import check_file, guarded
from fedhome.own_code import located
from fedhome.passed_objects import is_object
from fedhome.spelling import did_you_mean, setting_meant
from fedhome.toml_text import AS_WRITTEN, parse_toml

_MOST_PLAN = 1 << 20  # characters of a file
_MOST_SHOWN = 300  # characters of a wrong value: a plan may come from anybody


def read_toml(path: Path, *, hint: str = "") -> dict[str, Any]:
    """Read a TOML file.

    Args:
        path: Its path.
        hint: What to do where it is not there or cannot be read; as for a plan by default.

    Raises:
        PlanError: No such file, or a syntax error with its line.
    """
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_MOST_PLAN + 1)
    except FileNotFoundError:
        raise PlanError(
            ["there is no such file"],
            where=str(path),
            hint=hint or "give the path of a plan; without one the defaults hold",
        ) from None
    except (OSError, ValueError) as error:  # not UTF-8, or a name that no file can have
        raise PlanError(
            [f"it cannot be read: {type(error).__name__}"],
            where=str(path),
            hint=hint or "a plan is a file of text in UTF-8 that this account may read",
        ) from None
    if len(text) > _MOST_PLAN:
        raise PlanError(
            [f"it has more than {_MOST_PLAN} characters"],
            where=str(path),
            hint=hint or "a plan is a short file of text: is this another one?",
        )
    return parse_toml(text, where=str(path), hint=hint or AS_WRITTEN)


def listed_sets(sets: object) -> Iterable[str]:
    """Return settings to change, if they are a list; each is looked at by :func:`parse_set`.

    Raises:
        PlanError: They are one text, or a table, whose parts would be taken for settings.
    """
    if isinstance(sets, str):
        raise PlanError([f"sets is a text, not a list of texts: {sets!r}"], hint=f"sets=[{sets!r}]")
    if isinstance(sets, Mapping) or not isinstance(sets, Iterable):
        made = (
            [f"{key}={value}" for key, value in sets.items()] if isinstance(sets, Mapping) else []
        )
        raise PlanError(
            [f"sets is of type {type(sets).__name__}, not a list of texts"],
            hint=f"sets={made or ['train.epochs=1']}",
        )
    return sets


def parse_set(setting: str) -> dict[str, Any]:
    """Turn ``"section.key=value"`` into nested tables.

    Raises:
        PlanError: No ``=``, or an empty name.
    """
    if not isinstance(setting, str):  # from Python, where nobody has to check types
        raise PlanError(
            [f"a setting is of type {type(setting).__name__}, not text"],
            hint='for example: sets=["train.epochs=1"]',
        )
    name, equals, text = setting.partition("=")
    keys = [part.strip() for part in name.split(".")]
    if not equals or not all(keys):
        raise PlanError(
            [f"--set {setting!r} is not of the form section.key=value"],
            hint="for example: --set train.epochs=1",
        )
    try:
        value = tomllib.loads(f"value = {text.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    for part in reversed(keys):
        value = {part: value}
    return dict(value)


def merge(table: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Lay nested changes over nested tables, in place."""
    for name, value in changes.items():
        below = table.get(name)
        if isinstance(value, Mapping) and isinstance(below, dict):
            merge(below, value)
        else:
            table[name] = dict(value) if isinstance(value, Mapping) else value


_OWN_CODE = (
    ("data", "source"),
    ("task", "kind"),
    ("model", "name"),
    ("method", "name"),
    ("strategy", "name"),
    ("strategy", "wrap"),
    ("personalise", "name"),
)


def locate(table: dict[str, Any], folders: Sequence[Path]) -> None:
    """Name a user's own code so that every process on this machine finds it, in place.

    Args:
        table: A plan's settings as nested tables.
        folders: Where its files are looked for, in this order: the plan's folder, the current one.

    Raises:
        PlanError: A name that no file can have.
    """
    for section, key in _OWN_CODE:
        inside = table.get(section)
        name = inside.get(key) if isinstance(inside, dict) else None
        if isinstance(inside, dict) and isinstance(name, str):
            try:
                inside[key] = located(name, folders)
            except PluginError as error:
                raise PlanError([f"{section}.{key}: {error.message}"], hint=error.hint) from None


def process_faults(plan: BaseModel) -> list[str]:
    """Return why other processes cannot run a plan.

    It names objects that only one of them had, or lets a simulation's devices choose their tiers.

    Args:
        plan: The plan.
    """
    from fedhome.plan.sliced_plan import NOT_SETTLED  # noqa: PLC0415 - plans are made of this

    tier = plan.model_dump(include={"slicing"})["slicing"]["tier"]
    return ([NOT_SETTLED] if tier == "auto" else []) + [
        f"{section}.{key} is an object that was handed over in Python, which only the process that "
        f"has it can use: name it as file.py:Name or module:Name (it is {name!r})"
        for section, key in _OWN_CODE
        if is_object(name := getattr(getattr(plan, section), key))
    ]


def guarded_faults(plan: BaseModel) -> list[str]:
    """Return why a fleet's processes on this machine would refuse files of a plan's own code.

    Args:
        plan: The plan, which names files by their whole paths.
    """
    faults = []
    for section, key in _OWN_CODE:
        file = getattr(getattr(plan, section), key).rpartition(":")[0]
        if file.endswith(".py"):
            try:
                with guarded():
                    check_file(Path(file).resolve())
            except PluginError as error:
                faults.append(f"{section}.{key}: {error.message}; {error.hint}")
    return faults


def names_of(section: type[BaseModel], prefix: str = "") -> list[str]:
    """Return the names of all settings of a table and the tables in it, with their sections."""
    names: list[str] = []
    for name, field in section.model_fields.items():
        below = field.annotation
        if isinstance(below, type) and issubclass(below, BaseModel):
            names += names_of(below, f"{prefix}{name}.")
        else:
            names.append(f"{prefix}{name}")
    return names


def faults_in(error: ValidationError, known: Sequence[str]) -> list[str]:
    """Return pydantic's findings as plain sentences.

    A list of which an entry is wrong lacks that entry: that it is too short then is no fault.

    Args:
        error: The findings.
        known: The names of all settings, as of `names_of`.
    """
    found = error.errors()
    inside = {item["loc"][:depth] for item in found for depth in range(len(item["loc"]))}
    return [
        _fault_of(dict(item), known)
        for item in found
        if not (item["type"] == "too_short" and item["loc"] in inside)
    ]


def _fault_of(item: Mapping[str, Any], known: Sequence[str]) -> str:
    setting, given = ".".join(str(part) for part in item["loc"]) or "the plan", item["input"]
    match item["type"]:
        case "extra_forbidden":
            what = "section" if isinstance(given, dict) else "setting"
            return f"{setting} is not a {what}{setting_meant(setting, given, known)}"
        case "model_type":
            inside = ", ".join(name for name in known if name.startswith(f"{setting}."))
            return f"{setting} is a section, not a setting (it is {given!r}): it has {inside}"
        case "literal_error" if isinstance(given, str):
            meant = did_you_mean(given, re.findall(r"'([^']*)'", item["ctx"]["expected"]))
        case _:
            meant = ""
    told = _told(given)
    told = told if len(told) <= _MOST_SHOWN else f"{told[:_MOST_SHOWN]}..."
    return f"{setting}: {item['msg'][0].lower()}{item['msg'][1:]} (it is {told}){meant}"


def _told(given: object) -> str:
    if isinstance(given, bool):
        return str(given).lower()  # as TOML writes it
    if isinstance(given, list | tuple):
        parts = (str(one).lower() if isinstance(one, bool) else repr(one) for one in given)
        return f"[{', '.join(parts)}]"
    return repr(given)


_AT_HOME = (("task", "kind"), ("model", "name"), ("method", "name"), ("personalise", "name"))


def code_at_home(plan: BaseModel) -> tuple[str, ...]:
    """Return what a home of a plan would run that is neither ours nor what a package offers us.

    That is what a plan names as ``module:attribute`` or ``file.py:attribute``: anything that is
    installed, whatever it was made for. What a package offers under a short name was made for this.

    Args:
        plan: The plan.

    Returns:
        What it is for, its name and what it is given, in words fit to print.
    """
    found = []
    for section, key in _AT_HOME:
        settings = getattr(plan, section)
        name, args = getattr(settings, key), getattr(settings, "args", {})
        if ":" in name and not is_object(name):
            given = ", ".join(f"{arg!a}={value!a}" for arg, value in args.items())
            found.append(f"{section} {name!a}" + (f" with {given}" if given else ""))
    return tuple(found)
