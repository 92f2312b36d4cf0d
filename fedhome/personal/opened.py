"""Homes' models from wherever they lie: a run's folder, or a file of models."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fedhome.errors import RunError
from fedhome.personal.model import PersonalModel
from fedhome.personal.models_file import ModelsFile
from fedhome.spelling import did_you_mean

MODELS: Final = "models.safetensors"
"""What the file of its homes' models is called in a run's folder."""


def models_in(path: Path | str, *, own_code: bool = False) -> ModelsFile:
    """Return the models of a run's folder, or of a file.

    Args:
        path: The folder or file.
        own_code: Whether code that the file names may run, as of :class:`ModelsFile`.

    Raises:
        RunError: There are none, or they are damaged.
    """
    path = Path(path)
    return ModelsFile(path / MODELS if path.is_dir() else path, own_code=own_code)


def load(path: Path | str, home: str | None = None, *, own_code: bool = False) -> PersonalModel:
    """Return a home's own model, which predicts from its readings.

    >>> model = fedhome.load("runs/default-1", "home-0042")  # doctest: +SKIP
    >>> model.predict("kitchen.csv").to_pandas()             # doctest: +SKIP

    Args:
        path: Folder of a run, or a file of models.
        home: Name of the home; None where there is only one.
        own_code: Whether a model may be a module of somebody's own. **Its code is run when it
            predicts, whichever the file names**: say so of a file that you made yourself, or whose
            maker you trust.

    Raises:
        RunError: There is no such model, it is damaged, or it would run code.
    """
    models = models_in(path, own_code=own_code)
    if home is None and len(models) == 1:
        home = next(iter(models))
    if home is None:
        raise RunError(
            f"{path} holds the models of {len(models)} homes",
            hint=f"say whose: fedhome.load({str(path)!r}, {next(iter(models))!r})",
        )
    if home not in models:
        raise RunError(
            f"{path} holds no model of {home!r}{did_you_mean(home, models)}",
            hint="a simulation keeps those of its first 200 homes" if len(models) > 1 else "",
        )
    return models[home]
