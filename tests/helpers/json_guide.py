"""docs/json.md and docs/json.schema.json: what commands print with `--json`, from its dataclasses.

python -m helpers.json_guide       write both anew
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter

from fedhome.cli import (
    json_fleets,
    json_models,
    json_pipeline,
    json_plans,
    json_readings,
    json_runs,
    json_tiers,
)
from fedhome.clients.recorded import inspection
from fedhome.server.daemon import server_status

ROOT = Path(__file__).resolve().parents[2]
GUIDE, SCHEMA = ROOT / "docs" / "json.md", ROOT / "docs" / "json.schema.json"


class Shape(NamedTuple):
    """What a command prints: an object, a list of objects, or a line for each."""

    kind: Any
    how: str = "an object"


SHAPES = {
    "server status": Shape(server_status.ServerStatus),
    "server schedule": Shape(json_fleets.ScheduleShown),
    "fleet show": Shape(json_fleets.FleetShown),
    "client status": Shape(json_fleets.HomeShown),
    "client consent": Shape(json_fleets.ConsentShown),
    "client privacy": Shape(json_fleets.PrivacySpent),
    "client record": Shape(json_readings.RowsRecorded, "an object in each line"),
    "client inspect": Shape(inspection.HomeInspected),
    "client exclude": Shape(inspection.PeriodLeftOut, "a list of objects"),
    "client ledger": Shape(json_fleets.LedgerLine, "an object in each line"),
    "model list": Shape(json_models.ReleaseEntry, "a list of objects"),
    "model show": Shape(json_models.ReleaseShown),
    "model verify": Shape(json_models.ChainShown),
    "model slices": Shape(json_models.SliceEntry, "a list of objects"),
    "model tier": Shape(json_tiers.TierChoice),
    "pipeline plan": Shape(json_pipeline.PipelinePlanned),
    "plan explain": Shape(json_plans.PlanExplained),
    "plan numbers": Shape(json_plans.NumbersTable, "a list of objects"),
    "privacy plan": Shape(json_plans.NoisePlan),
    "report": Shape(json_runs.RunsReported),
    "reasons": Shape(json_plans.ReasonEntry, "a list of objects"),
    "data list": Shape(json_plans.SetEntry, "a list of objects"),
    "data describe": Shape(json_plans.SetDescription),
}
ELSEWHERE = {
    "plan show": "the plan's tables as objects; `plan explain` says what each setting means",
    "data check": "`homes`, `excluded`, `notes` and, with a plan, `plan`: [data.md](data.md)",
    "client predict": "one line: [predict.md](predict.md)",
}
_HEAD = """\
# What commands print for programs

```console
$ fedhome server status hub --json | jq .run.round
```

Every command that prints a state or a list takes `--json`: ASCII on standard output, `null` for
what is not known. Errors go to standard error, with a status other than 0. Fields may be added; one
that changes its meaning, or goes, is named in the [changes](../CHANGELOG.md).
[json.schema.json](json.schema.json) is the same as JSON Schema. Both are generated from the code's
types (`make face`), and tests compare with them what commands print.
"""


def adapter(command: str) -> TypeAdapter[Any]:
    """Return what reads the output of a command: the whole of it, or one line."""
    shape = SHAPES[command]
    return TypeAdapter(list[shape.kind] if shape.how.startswith("a list") else shape.kind)


def checked(command: str, printed: str) -> Any:
    """Return what a command printed, after it was held against its shape, field by field."""
    reader, told = adapter(command), json.loads(printed)
    read = reader.validate_json(printed, strict=True)
    assert reader.dump_python(read, mode="json") == told, "it has other fields"
    return told


def schema() -> str:
    """Return the JSON Schema of every command's output."""
    told = {name: adapter(name).json_schema() for name in SHAPES}
    return json.dumps(told, indent=1, sort_keys=True) + "\n"


def guide() -> str:
    """Return the documentation."""
    parts = [_HEAD]
    shown: set[Any] = set()
    for command, shape in SHAPES.items():
        parts.append(f"## `fedhome {command}`\n\n{_first(shape.kind)} Printed as {shape.how}.\n")
        parts += _tables(shape.kind, shown, again=True)
    parts.append("## Described elsewhere\n")
    parts += [f"* `fedhome {command}`: {words}." for command, words in ELSEWHERE.items()]
    return "\n".join(parts) + "\n"


def _tables(kind: Any, shown: set[Any], *, again: bool = False) -> list[str]:
    """Return the table of a dataclass, and of those in it that have not been shown."""
    if kind in shown and not again:
        return []
    title = "" if again else f"`{kind.__name__}`: {_first(kind)}\n\n"
    shown.add(kind)
    hints = get_type_hints(kind)
    meanings = _meanings(kind)
    rows = [
        f"| `{field.name}` | {_type(hints[field.name])} | {meanings[field.name]} |"
        for field in dataclasses.fields(kind)
    ]
    table = "\n".join([f"{title}| field | type | what |", "|---|---|---|", *rows, ""])
    inner = [one for hint in hints.values() for one in _dataclasses(hint)]
    return [table, *(text for one in inner for text in _tables(one, shown))]


def _dataclasses(hint: Any) -> list[Any]:
    if dataclasses.is_dataclass(hint):
        return [hint]
    return [one for inner in get_args(hint) for one in _dataclasses(inner)]


def _type(hint: Any) -> str:
    """Return a type in JSON's words."""
    names = {str: "text", int: "integer", float: "number", bool: "true or false", Any: "any"}
    names |= {type(None): "null"}
    if hint in names or dataclasses.is_dataclass(hint):
        return names.get(hint) or f"`{getattr(hint, '__name__', hint)}`"
    inner, outer = get_args(hint), get_origin(hint)
    if outer is Literal:
        return " or ".join(f'`"{one}"`' for one in inner)
    if outer in {list, tuple}:
        return f"list of {_type(inner[0])}"
    return f"object of {_type(inner[1])}" if outer is dict else " or ".join(map(_type, inner))


def _first(kind: Any) -> str:
    return (inspect.getdoc(kind) or "").split("\n", 1)[0]


def _meanings(kind: Any) -> dict[str, str]:
    """Return what the docstrings of a dataclass and those below it say of its fields."""
    found: dict[str, str] = {}
    for one in reversed(kind.__mro__[:-1]):
        text = inspect.cleandoc(one.__doc__ or "").partition("Args:\n")[2]
        for name, words in re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", text, re.MULTILINE):
            told = " ".join(words.split()).replace("``", "`")
            told = re.sub(r"\bNone\b", "null", told)
            found[name] = re.sub(r":(?:mod|class):`([^`]*)`", r"`\1`", told)
    return found


if __name__ == "__main__":
    GUIDE.write_text(guide(), "utf-8")
    SCHEMA.write_text(schema(), "utf-8")
