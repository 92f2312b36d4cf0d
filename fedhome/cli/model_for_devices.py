"""``fedhome model export HOME --format c``: a home's own model for devices without Python."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fedhome.counted import counted
from fedhome.errors import RunError
from fedhome.plan.time_steps import ahead_of
from fedhome.plugins import look_up
from fedhome.store import disk

if TYPE_CHECKING:
    from fedhome.personal.model import PersonalModel, Readings

_DIGITS = 4


class OwnExport(NamedTuple):
    """What of a home's own model is to be written.

    ``where`` is the home's folder, a run's folder or a file of models; ``home`` whose model, None
    where there is one; ``kind`` the format; ``precision`` ``"float"`` or ``"int8"``; ``experts``
    names with commas, None for all; ``readings`` where the loss is measured, None for the home's
    own; ``out`` the file, None for one that is called as the home; ``horizon`` which one, where the
    model predicts several.
    """

    where: Path
    home: str | None
    kind: str
    precision: str
    experts: str | None
    readings: Path | None
    out: Path | None
    horizon: str | None = None


def write_own(asked: OwnExport) -> Iterator[str]:
    """Write a home's own model, and yield what is to be said of it, one sentence each.

    Args:
        asked: What is to be written.

    Raises:
        RunError: There is no such model, or it cannot be written.
        StateError: The file cannot be written there.
        PluginError: No such format or precision.
        DataError: The readings cannot be used.
    """
    from fedhome.personal.horizons import at_horizon  # noqa: PLC0415 - arrow
    from fedhome.personal.portable import (  # noqa: PLC0415 - arrow
        FORMATS,
        PRECISIONS,
        export_model,
        in_int8,
        with_experts,
    )
    from fedhome.personal.portable.raw_inputs import own_name  # noqa: PLC0415
    from fedhome.personal.portable.text import identifier  # noqa: PLC0415

    look_up(FORMATS, asked.kind, "format")
    int8 = look_up(dict.fromkeys(PRECISIONS, False) | {"int8": True}, asked.precision, "precision")
    model, readings = _opened(asked)
    names = None
    if asked.experts is not None:
        names = [name.strip() for name in asked.experts.split(",") if name.strip()]
    chosen = with_experts(model, names)
    if asked.horizon is not None:
        model, chosen = (at_horizon(one, asked.horizon) for one in (model, chosen))
    if int8:
        chosen = in_int8(chosen)
    data = export_model(chosen, asked.kind, int8=int8)
    left = [name for name in model.weights if name not in chosen.weights]
    loss = [_loss(model, chosen, readings)] if left or int8 else []
    out = asked.out or Path(f"{identifier(own_name(model))}.{asked.kind}")
    disk.put(out, data)
    whose = f"the own model of {model.home}"
    if not model.rows:  # it was fitted to none: the home has ended no run yet
        whose = f"the fleet's, {model.run}, with the scales of {model.home}"
    ahead = "" if model.ahead is None else f", {ahead_of(str(model.ahead))}"
    yield f"{out}: {whose}{ahead}; {len(data):,} bytes"
    yield "experts: " + ", ".join(f"{name} {share:.0%}" for name, share in chosen.weights.items())
    if left:
        share = sum(model.weights[name] for name in left)
        fitted = "The band was" if model.targets == "continuous" else "The temperature was"
        yield (
            f"left out: {', '.join(left)}, {share:.0%} of its say; the others have that now. "
            f"{fitted} fitted to all of them"
        )
    yield from loss
    yield "not encrypted: whoever has the file has the model, and can learn from it about the home"


def _loss(
    model: PersonalModel, chosen: PersonalModel, readings: Callable[[], Readings] | str
) -> str:
    from fedhome.personal.newest_rows import newest_rows, tried  # noqa: PLC0415

    if isinstance(readings, str):
        return f"what that costs was not measured: {readings}"
    table = readings()
    whole, less = model.predictions(table), chosen.predictions(table)
    rows = newest_rows(model, whole)
    before, now = tried(model, whole, rows), tried(chosen, less, rows)
    if not before.rows:
        return "what that costs was not measured: no reading is newer than those it was fitted to"
    what, unit = "Brier score", ""
    if model.targets == "continuous":
        what, unit = "mean absolute error", f" {model.target_unit}" if model.target_unit else ""
    return (
        f"on the {before.rows:,} newest rows that it was not fitted to: {what} "
        f"{now.error:.{_DIGITS}g}{unit}; of the whole model {before.error:.{_DIGITS}g}{unit}"
    )


def _opened(asked: OwnExport) -> tuple[PersonalModel, Callable[[], Readings] | str]:
    """Return a home's model, and how readings are read to try it on; or why it is not tried."""
    from fedhome.clients.kept_model import folder_at, own_or_fleets  # noqa: PLC0415
    from fedhome.personal.portable import own_code_of  # noqa: PLC0415

    source = asked.readings
    if (folder := folder_at(asked.where, asked.home)) is None:
        model = _of_run(asked)
        if named := own_code_of(model):
            return model, f"to predict, the whole would run {named!r}, as the file says"
        if source is None:
            return model, "name the home's readings with --from"
        return model, lambda: source
    from fedhome.clients.own_readings import read_files, source_of  # noqa: PLC0415

    settings, model = folder.settings, own_or_fleets(folder)
    where = source_of(folder) if source is None else source

    def read() -> Readings:
        return read_files(model.plan, where, name=settings.home, reading=settings.reading).table

    return model, read


def _of_run(asked: OwnExport) -> PersonalModel:
    from fedhome.personal.opened import load, models_in  # noqa: PLC0415

    models = models_in(asked.where)
    if asked.home is None and len(models) > 1:
        raise RunError(
            f"{asked.where} holds the models of {counted(len(models), 'home')}",
            hint=f"say whose: --home {next(iter(models))}",
        )
    # What code it names is left out or refused, and nothing of it is run to write the rest.
    return load(asked.where, asked.home, own_code=True)
