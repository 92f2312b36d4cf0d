"""The model that a home predicts by, from its folder; and any home's own, wherever it lies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fedhome.denied import paths_told
from fedhome.errors import ModelFormatError, RunError

if TYPE_CHECKING:  # each function imports what it needs: a process that stays counts its memory
    from fedhome.clients.membership.home_folder import HomeFolder
    from fedhome.personal.model import PersonalModel
    from fedhome.personal.predictor import Predictor

_SETTINGS = "home.toml"


def load(path: Path | str, home: str | None = None, *, own_code: bool = False) -> PersonalModel:
    """Return a home's own model, which predicts from its readings.

    >>> fedhome.load("oak").predict("kitchen.csv")            # doctest: +SKIP
    >>> fedhome.load("runs/default-1", "home-0042")           # doctest: +SKIP

    Args:
        path: A home's folder, where this user may read its keys; the folder of a simulation's run;
            or a file of models. A home that has ended no run yet predicts by the fleet's model.
        home: Name of the home; None where there is only one.
        own_code: Whether a model may be a module of somebody's own. **Its code is run when it
            predicts, whichever the file names**: say so of a file that you made yourself, or whose
            maker you trust. A home's folder is sealed by its key and needs none: its people have
            agreed to the plan that names the code.

    Raises:
        RunError: There is no such model, it is damaged, or it would run code.
        StateError: What a home keeps cannot be read.
        ReleaseError: A home's copy of the fleet's model is damaged.
        DataError: A new home has too few readings to scale the fleet's model by.
    """
    from fedhome.personal import opened  # noqa: PLC0415

    place = folder_at(Path(path), home)
    return opened.load(path, home, own_code=own_code) if place is None else own_or_fleets(place)


def load_predictor(
    path: Path | str, home: str | None = None, *, own_code: bool = False
) -> Predictor:
    """Return what a home's own model computes from numbers, for a process that stays.

    It loads numpy and no reader of tables: some 40 MB in all, where a model that reads tables has a
    hundred. It is the model as it is now; after a run ask again.

    >>> predictor = fedhome.load_predictor("oak")             # doctest: +SKIP
    >>> predictor.predict([[21.5, 0.4, 0.3]])                 # doctest: +SKIP

    Args:
        path: As of :func:`load`. A home needs a model of its own: the fleet's, before its first,
            is scaled by the home's readings.
        home: As of :func:`load`.
        own_code: As of :func:`load`.

    Raises:
        RunError: There is no such model, it is damaged, or it would run code.
        StateError: What a home keeps cannot be read.
    """
    from fedhome.personal.stored_models import (  # noqa: PLC0415
        StoredModels,
        file_at,
        home_among,
    )

    place = folder_at(Path(path), home)
    if place is not None:
        return StoredModels(_own_bytes(place), own_code=True).predictor(place.settings.home)
    stored = StoredModels(file_at(path), own_code=own_code)
    return stored.predictor(home_among(stored.homes, home, path))


def folder_at(path: Path, home: str | None = None) -> HomeFolder | None:
    """Return the home's folder that a path is; None: it is none.

    Args:
        path: The path.
        home: The home that is meant; None: whichever it is of.

    Raises:
        RunError: It is another home's.
        StateError: It cannot be read.
    """
    with paths_told(RunError, path):
        if not (path / _SETTINGS).exists():
            return None
    from fedhome.clients.membership.home_folder import HomeFolder  # noqa: PLC0415

    place = HomeFolder(path)
    name = place.settings.home
    if home not in (None, name):
        raise RunError(
            f"{path} is the folder of home {name!r}, not of {home!r}",
            hint=f"leave the name out, or name the folder of {home!r}",
        )
    return place


def own_or_fleets(home_folder: HomeFolder) -> PersonalModel:
    """Return a home's own model; before its first, the fleet's, with what the home's rows tell.

    The fleet's stands in too for a model of its own that a newer fedhome wrote, where an earlier
    one was installed again: its next run makes one.

    Raises:
        RunError: There is neither, or one that cannot be used.
        StateError: A file cannot be read.
        ReleaseError: The release is damaged.
        DataError: The home has too few readings to scale the fleet's model by.
    """
    from fedhome.clients.membership.own_models import OwnModels  # noqa: PLC0415

    kept = OwnModels(home_folder.path, home_folder.settings.home)
    because = ""
    if kept.path.exists():
        try:
            return own_model(home_folder)
        except ModelFormatError as error:
            because = f" ({error.message})"
    return _fleets(home_folder, because)


def _fleets(home_folder: HomeFolder, because: str) -> PersonalModel:
    from fedhome.clients.agent.kept_releases import release_of  # noqa: PLC0415
    from fedhome.clients.membership.carried_tier import carried_tier  # noqa: PLC0415
    from fedhome.clients.own_readings import read_own, source_of  # noqa: PLC0415
    from fedhome.personal.of_release import model_of_release  # noqa: PLC0415
    from fedhome.plan.own_reading import own_of  # noqa: PLC0415
    from fedhome.plan.settings import Plan  # noqa: PLC0415

    release = release_of(home_folder)
    if release is None:
        return own_model(home_folder)
    settings, plan = home_folder.settings, Plan.load(home_folder.plan_path)
    own = read_own(plan, source_of(home_folder), name=settings.home, reading=settings.reading)
    return model_of_release(
        plan,
        release.model.layout,
        release.model.flat,
        own.matched,
        called=f"release {release.manifest.number}{because}",
        learnt=release.manifest.learnt,
        tier=carried_tier(home_folder, plan).in_use,
        slices=next(iter(release.manifest.slices), None),
        reading=own_of(settings.reading, plan.data),
    )


def own_model(home_folder: HomeFolder) -> PersonalModel:
    """Return a home's own model.

    Raises:
        RunError: It has none yet, or one of another format.
        StateError: Its file cannot be read.
    """
    from fedhome.personal.models_file import ModelsFile  # noqa: PLC0415

    data = _own_bytes(home_folder)
    # Sealed by this home's key, and its plan was agreed to.
    return ModelsFile(data, own_code=True)[home_folder.settings.home]


def _own_bytes(home_folder: HomeFolder) -> bytes:
    from fedhome.clients.membership.own_models import OwnModels  # noqa: PLC0415

    home = home_folder.settings.home
    data = OwnModels(home_folder.path, home).read()
    if data is None:
        raise RunError(
            f"home {home!r} has no model of its own yet",
            hint="until it has taken part in a run to its end, it predicts by the fleet's model, "
            f"which its agent fetches: `fedhome client start {home_folder.path}`",
        )
    return data
