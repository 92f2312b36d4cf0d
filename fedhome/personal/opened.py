"""Homes' models from wherever they lie: a run's folder, or a file of models."""

from __future__ import annotations

from pathlib import Path

from fedhome.personal.model import PersonalModel
from fedhome.personal.models_file import ModelsFile
from fedhome.personal.stored_models import file_at, home_among


def models_in(path: Path | str, *, own_code: bool = False) -> ModelsFile:
    """Return the models of a run's folder, or of a file.

    Args:
        path: The folder or file.
        own_code: Whether code that the file names may run, as of :class:`ModelsFile`.

    Raises:
        RunError: There are none, or they are damaged.
    """
    return ModelsFile(file_at(path), own_code=own_code)


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
    return models[home_among(models, home, path)]
