"""Homes' models as one file: arrays as safetensors, and all else as JSON in its header.

Nothing is pickled, so that a file can hold no code. It can name some: where a model is a module of
a user's own, its plan says which, and with what it is called. Whoever opens a file says if code
that it names may run. It says its format; a file of another one is refused.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from fedhome.data.series.scaling import InputScaling
from fedhome.errors import FedHomeError, ModelFormatError, RunError
from fedhome.learning import fitted
from fedhome.learning.bands import Reach
from fedhome.learning.fitted import Fitted
from fedhome.personal.model import PersonalModel
from fedhome.personal.own_module import OwnModule
from fedhome.plan.settings import Plan
from fedhome.run.model_file import with_sorted_header

FORMAT: Final = 1
_NAIVE = "without learning"
_OWN_MODULE = "own module"
_PLAIN = (
    *("home", "targets", "unit", "level", "time_zone"),
    *("rows", "run", "score", "fitted_until"),
)


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
        for name, expert in {**model.experts, _NAIVE: model.naive}.items():
            own = isinstance(expert, OwnModule)
            kinds[name] = _OWN_MODULE if own else fitted.kind_of(expert)
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
                "scores": dict(model.scores),
            }
        )
    header = {"format": str(FORMAT), "plan": plan, "homes": json.dumps(homes)}
    return with_sorted_header(safetensors.numpy.save(arrays, header))


class ModelsFile(Mapping[str, PersonalModel]):
    """Homes' models by the homes' names, each read when it is asked for.

    Args:
        path: The file, or its bytes.
        own_code: Whether its models may be modules of somebody's own: **such a module's code is run
            when the model predicts**, whichever the file names. Only for a file that one wrote
            oneself, or whose maker one trusts.

    Raises:
        ModelFormatError: It is of another format.
        RunError: It is missing or damaged.
    """

    def __init__(self, path: Path | bytes, *, own_code: bool = False) -> None:
        self._own_code = own_code
        self._where = "a home's model" if isinstance(path, bytes) else str(path)
        try:
            if isinstance(path, bytes):
                self._header, self._arrays = _unpacked(path)
            else:
                file: Any = safetensors.safe_open(path, framework="numpy")
                self._header, self._arrays = file.metadata() or {}, _Lazy(file)
            made = self._header["format"]
        except (OSError, KeyError, ValueError, safetensors.SafetensorError) as error:
            raise self._unreadable(error) from None
        if made != str(FORMAT):
            raise ModelFormatError(
                f"{self._where} is of format {made}, and this fedhome reads format {FORMAT}",
                hint="use the release of fedhome that wrote it, or run again",
            )
        try:
            self._homes = {home["home"]: home for home in json.loads(self._header["homes"])}
            self._plan = Plan.parse(tomllib.loads(self._header["plan"]), where=self._where)
        except (KeyError, ValueError, TypeError) as error:
            raise self._unreadable(error) from None
        self._numbers = {home: number for number, home in enumerate(self._homes)}

    def _unreadable(self, error: Exception) -> RunError:
        if isinstance(error, FileNotFoundError):
            return RunError(f"{self._where} is not there: no home's model was kept")
        return RunError(
            f"{self._where} cannot be read as homes' models ({type(error).__name__})",
            hint="it was damaged or altered after it was written: take it from a copy",
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._homes)

    def __len__(self) -> int:
        return len(self._homes)

    def __getitem__(self, home: str) -> PersonalModel:
        """Return a home's model.

        Raises:
            KeyError: There is no such home.
            RunError: Its part of the file is damaged, or names code that is not to run.
        """
        told = self._homes[home]
        try:
            model = self._model(told, self._numbers[home])
            all_parts = (*model.experts.values(), model.naive)
            code = {repr(one.called) for one in all_parts if isinstance(one, OwnModule)}
        except (KeyError, ValueError, TypeError, IndexError, safetensors.SafetensorError) as error:
            raise self._unreadable(error) from None
        except FedHomeError as error:
            raise self._unreadable(error) from None
        if code and not self._own_code:
            raise RunError(
                f"{self._where} holds a model of {home!r} that is a module of somebody's own: to "
                f"predict, it would run {', '.join(sorted(code))}, as the file says",
                hint="if you trust whoever made the file: fedhome.load(..., own_code=True)",
            )
        return model

    def _model(self, told: Mapping[str, Any], number: int) -> PersonalModel:
        prefix, names = f"{number}/", self._arrays
        own = {name.removeprefix(prefix): name for name in names if name.startswith(prefix)}

        def of(expert: str) -> Fitted:
            arrays = {
                name.removeprefix(f"{expert}/"): names[place]
                for name, place in own.items()
                if name.startswith(f"{expert}/")
            }
            kind = told["kinds"][expert]
            return OwnModule.of(arrays) if kind == _OWN_MODULE else fitted.read(kind, arrays)

        scaling = InputScaling(
            features=tuple(told["features"]),
            medians=names[f"{prefix}scaling/medians"],
            middle=names[f"{prefix}scaling/middle"],
            spread=names[f"{prefix}scaling/spread"],
            bounded=bool(told["bounded"]),
        )
        heat = told["temperature"]
        return PersonalModel(
            plan=self._plan,
            scaling=scaling,
            weights={str(name): float(weight) for name, weight in told["weights"].items()},
            experts={name: of(name) for name in told["kinds"] if name != _NAIVE},
            naive=of(_NAIVE),
            by=Reach(*names[f"{prefix}band"]) if heat is None else float(heat),
            scores=told["scores"],
            **{name: told[name] for name in _PLAIN},
        )


class _Lazy(Mapping[str, NDArray[Any]]):
    """The arrays of an open file, each read when it is asked for."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._names = tuple(file.keys())

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self._names:
            raise KeyError(name)
        found: NDArray[Any] = self._file.get_tensor(name)
        return found


def _unpacked(data: bytes) -> tuple[Mapping[str, str], Mapping[str, NDArray[Any]]]:
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    return header.get("__metadata__", {}), safetensors.numpy.load(data)
