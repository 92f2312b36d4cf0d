"""Homes' models as one file, written and read; what lies in it is said in :mod:`.stored_models`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from fedhome.errors import PlanError
from fedhome.learning import fitted
from fedhome.learning.bands import Reach
from fedhome.learning.mixture import FleetsBlend, symmetric, upper
from fedhome.personal import stored_models
from fedhome.personal.file_check import UNREADABLE, check_told
from fedhome.personal.model import PersonalModel
from fedhome.personal.own_module import OwnModule
from fedhome.personal.stored_models import NAIVE, OWN_MODULE, StoredModels
from fedhome.plan.own_reading import reading_of
from fedhome.plan.settings import Plan
from fedhome.run.model_file import with_sorted_header

_PLAIN = (
    *("home", "targets", "unit", "level", "time_zone"),
    *("rows", "run", "score", "fitted_until"),
)
_OWN = ("rules", "reading")


def to_bytes(models: Iterable[PersonalModel]) -> bytes:
    """Return the bytes of homes' models, which all have one plan; the same models give the same.

    Args:
        models: The models; at least one.
    """
    arrays: dict[str, NDArray[Any]] = {}
    homes, plan = [], ""
    for number, model in enumerate(models):
        plan = plan or model.plan.to_toml()
        kinds = {}
        for name, expert in {**model.experts, NAIVE: model.naive}.items():
            own = isinstance(expert, OwnModule)
            kinds[name] = OWN_MODULE if own else fitted.kind_of(expert)
            for part, values in expert.arrays().items():
                arrays[f"{number}/{name}/{part}"] = np.ascontiguousarray(values)
        scaling = model.scaling
        for part in ("medians", "middle", "spread"):
            arrays[f"{number}/scaling/{part}"] = getattr(scaling, part)
        by: float | None = None
        if isinstance(model.by, Reach):
            arrays[f"{number}/band"] = np.stack(model.by)
        else:
            by = model.by
        homes.append(
            {name: getattr(model, name) for name in _PLAIN}
            | {
                "features": list(scaling.features),
                "weights": dict(model.weights),
                "kinds": kinds,
                "temperature": by,
                "bounded": scaling.bounded,
                "relative": scaling.relative.tolist(),
                "changes": model.changes,
                "scores": dict(model.scores),
            }
            | ({} if model.blend is None else {"blend": _plain_blend(model.blend)})
            | {name: dict(own) for name in _OWN if (own := getattr(model, name))}
        )
    # An earlier fedhome would read such a home's files in another way, unaware of it.
    later = any(name in home for home in homes for name in _OWN)
    made = stored_models.FORMAT if later else stored_models.USUAL
    header = {"format": str(made), "plan": plan, "homes": json.dumps(homes)}
    return with_sorted_header(safetensors.numpy.save(arrays, header))


class ModelsFile(Mapping[str, PersonalModel]):
    """Homes' models by the homes' names, each read when it is asked for.

    Args:
        path: The file, or its bytes.
        own_code: As of :class:`~fedhome.personal.stored_models.StoredModels`.

    Raises:
        ModelFormatError: It is of another format.
        RunError: It is missing or damaged.
    """

    def __init__(self, path: Path | bytes, *, own_code: bool = False) -> None:
        self._stored = StoredModels(path, own_code=own_code)
        try:
            plan = self._stored.plan_table()
            self._plan = Plan.parse(plan, where=self._stored.where)
        except (ValueError, TypeError, RecursionError) as error:
            raise self._stored.unreadable(error) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored.homes)

    def __len__(self) -> int:
        return len(self._stored.homes)

    def __getitem__(self, home: str) -> PersonalModel:
        """Return a home's model.

        Raises:
            KeyError: There is no such home.
            RunError: Its part of the file is damaged, or names code that is not to run.
        """
        told = self._stored.homes[home]
        computed = self._stored.computed(home, self._plan.data.indicators or ())
        try:
            check_told(told)
            own = {name: told[name] for name in (*_PLAIN, "scores") if name not in computed}
            own |= {name: told.get(name, {}) for name in _OWN}
            reading_of(self._plan.data, own["reading"])
            own["blend"] = _blend_of(told["blend"]) if "blend" in told else None
        except (*UNREADABLE, PlanError) as error:
            raise self._stored.unreadable(error) from None
        return PersonalModel(plan=self._plan, **computed, **own)


def _plain_blend(blend: FleetsBlend) -> dict[str, Any]:
    return {
        "matrix": upper(blend.matrix).tolist(),
        "experts": len(blend.matrix),
        "strength": blend.strength,
        "alone": list(blend.alone),
        "fewest_blocks": blend.fewest_blocks,
    }


def _blend_of(told: Mapping[str, Any]) -> FleetsBlend:
    rate, passes, *batch = told["alone"]  # files of before have no size of batches
    return FleetsBlend(
        matrix=symmetric(told["matrix"], int(told["experts"])),
        strength=float(told["strength"]),
        alone=(float(rate), int(passes), int(batch[0]) if batch else 0),
        fewest_blocks=int(told["fewest_blocks"]),
    )
