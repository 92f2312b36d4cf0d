"""A file of homes' models as it is read: its format, its arrays, and what computes.

Arrays are safetensors, all else JSON in its header; nothing is pickled, so that a file can hold no
code. It can name some: where a model is a module of a user's own, its plan says which, and with
what it is called. Whoever opens a file says if code that it names may run.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from fedhome.data.series.scaling import InputScaling
from fedhome.denied import check_ordinary
from fedhome.errors import FedHomeError, ModelFormatError, PlanError, RunError
from fedhome.learning import fitted
from fedhome.learning.bands import Reach
from fedhome.learning.fitted import Fitted
from fedhome.personal.file_check import UNREADABLE, check_computes
from fedhome.personal.own_module import OwnModule
from fedhome.personal.predictor import Predictor
from fedhome.spelling import did_you_mean
from fedhome.toml_text import parse_toml

MODELS: Final = "models.safetensors"
"""What the file of its homes' models is called in a run's folder."""
FORMAT: Final = 3
"""Every earlier one is read as well: 1 knew no seasons of a year, and no changes; 2 no rules and no
way of reading of a home's own."""
USUAL: Final = 2
"""What a file is written as that needs nothing newer, so that earlier fedhomes read it."""
NAIVE: Final = "without learning"
OWN_MODULE: Final = "own module"


class StoredModels:
    """What a file holds, each home's when it is asked for.

    Args:
        path: The file, or its bytes.
        own_code: Whether its models may be modules of somebody's own: **such a module's code is run
            when the model predicts**, whichever the file names. Only for a file that one wrote
            oneself, or whose maker one trusts.

    Attributes:
        where: What the file is called in errors.
        homes: What its header tells of each home.
        plan_text: The homes' plan, as TOML.

    Raises:
        ModelFormatError: It is of another format.
        RunError: It is missing or damaged.
    """

    def __init__(self, path: Path | bytes, *, own_code: bool = False) -> None:
        self._own_code = own_code
        self.where = "a home's model" if isinstance(path, bytes) else str(path)
        try:
            if isinstance(path, bytes):
                header, self._arrays = _unpacked(path)
            else:
                check_ordinary(RunError, path)
                file: Any = safetensors.safe_open(path, framework="numpy")
                header, self._arrays = file.metadata() or {}, _Lazy(file)
            made = header["format"]
        except (OSError, *UNREADABLE, safetensors.SafetensorError) as error:
            raise self.unreadable(error) from None
        if made not in map(str, range(1, FORMAT + 1)):
            raise ModelFormatError(
                f"{self.where} is of format {made}, and this fedhome reads formats up to {FORMAT}",
                hint="use the release of fedhome that wrote it, or run again",
            )
        try:
            told = json.loads(header["homes"])
            self.homes: Mapping[str, Mapping[str, Any]] = {home["home"]: home for home in told}
            self.plan_text: str = header["plan"]
        except UNREADABLE as error:
            raise self.unreadable(error) from None
        if not told or len(self.homes) < len(told):  # arrays go by a home's place among them
            raise self.unreadable(ValueError())
        self._numbers = {home: number for number, home in enumerate(self.homes)}

    def unreadable(self, error: Exception) -> RunError:
        """Return the error for a file that cannot be read.

        Args:
            error: What came of it.
        """
        if isinstance(error, FileNotFoundError):
            return RunError(
                f"{self.where} is not there: no home's model was kept",
                hint="a run keeps them at its end: go on with one that was cut off, with --resume; "
                'there are none with personalise.name = "none", nor where the run\'s log says why',
            )
        return RunError(
            f"{self.where} cannot be read as homes' models ({type(error).__name__})",
            hint="it was damaged or altered after it was written: take it from a copy",
        )

    def plan_table(self) -> dict[str, Any]:
        """Return the homes' plan as nested tables.

        Raises:
            RunError: It is no plan's TOML.
        """
        try:
            return parse_toml(self.plan_text, where=self.where)
        except (TypeError, PlanError) as error:
            raise self.unreadable(error) from None

    def computed(self, home: str, indicators: Sequence[str]) -> dict[str, Any]:
        """Return of a home's model what computes: arguments of :class:`Predictor`.

        Those that only a plan says are not among them.

        Args:
            home: One of :attr:`homes`.
            indicators: Of the homes' plan: features of which a number says whether they were
                missing.

        Raises:
            RunError: Its part of the file is damaged, or names code that is not to run.
        """
        told = self.homes[home]
        try:
            found = self._computed(told, self._numbers[home])
            check_computes(found, indicators)
            parts = (*found["experts"].values(), found["naive"])
            code = {repr(one.called) for one in parts if isinstance(one, OwnModule)}
        except UNREADABLE as error:
            raise self.unreadable(error) from None
        except (FedHomeError, safetensors.SafetensorError) as error:
            raise self.unreadable(error) from None
        if code and not self._own_code:
            raise RunError(
                f"{self.where} holds a model of {home!r} that is a module of somebody's own: to "
                f"predict, it would run {', '.join(sorted(code))}, as the file says",
                hint="if you trust whoever made the file: fedhome.load(..., own_code=True)",
            )
        return found

    def predictor(self, home: str) -> Predictor:
        """Return what a home's model computes from numbers; errors as of :meth:`computed`.

        Args:
            home: One of :attr:`homes`.
        """
        try:
            # A plan in a file is whole. Settings would check it again, for 10 MB.
            plan = self.plan_table()
            data = plan["data"]
            indicators = tuple(data.get("indicators", ()))
            found = self.computed(home, indicators)
            numbers = found["targets"] == "continuous"
            return Predictor(
                target=data["target"],
                target_unit=data["target_unit"],
                classes=() if numbers else tuple(plan["task"]["classes"]),
                indicators=indicators,
                **found,
            )
        except UNREADABLE as error:
            raise self.unreadable(error) from None

    def _computed(self, told: Mapping[str, Any], number: int) -> dict[str, Any]:
        prefix, names = f"{number}/", self._arrays
        own = {name.removeprefix(prefix): name for name in names if name.startswith(prefix)}

        def of(expert: str) -> Fitted:
            arrays = {
                name.removeprefix(f"{expert}/"): names[place]
                for name, place in own.items()
                if name.startswith(f"{expert}/")
            }
            kind = told["kinds"][expert]
            return OwnModule.of(arrays) if kind == OWN_MODULE else fitted.read(kind, arrays)

        scaling = InputScaling(
            features=tuple(told["features"]),
            medians=names[f"{prefix}scaling/medians"],
            middle=names[f"{prefix}scaling/middle"],
            spread=names[f"{prefix}scaling/spread"],
            bounded=bool(told["bounded"]),
            relative=np.array(told.get("relative", ()), np.bool_),
        )
        heat = told["temperature"]
        return {
            "scaling": scaling,
            "weights": {str(name): float(weight) for name, weight in told["weights"].items()},
            "experts": {name: of(name) for name in told["kinds"] if name != NAIVE},
            "naive": of(NAIVE),
            "changes": bool(told.get("changes", False)),
            "by": Reach(*names[f"{prefix}band"]) if heat is None else float(heat),
            **{name: told[name] for name in ("home", "targets", "unit", "level")},
        }


def file_at(path: Path | str) -> Path:
    """Return the file of homes' models that a path means.

    Args:
        path: The folder of a run, or the file.
    """
    path = Path(path)
    return path / MODELS if path.is_dir() else path


def home_among(homes: Collection[str], home: str | None, path: Path | str) -> str:
    """Return the home that is meant.

    Args:
        homes: Those of which there are models.
        home: Its name; None where there is only one.
        path: Where the models are, for the error.

    Raises:
        RunError: There is no such model, or several and no name.
    """
    if home is None and len(homes) == 1:
        (home,) = homes
    if home is None:
        raise RunError(
            f"{path} holds the models of {len(homes)} homes",
            hint=f"say whose: fedhome.load({str(path)!r}, {next(iter(homes))!r})",
        )
    if home not in homes:
        raise RunError(
            f"{path} holds no model of {home!r}{did_you_mean(home, homes)}",
            hint="a simulation keeps those of its first 200 homes" if len(homes) > 1 else "",
        )
    return home


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
