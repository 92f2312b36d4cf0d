"""What a home ended a run with becomes its own model: made where readings are, kept by its keys.

The worker makes the model and holds it against the kept one, on rows to which neither was fitted.
It has no keys: the kept model comes to it as bytes, and the one to keep goes back as bytes.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fedhome.clients.failure_reason import reason_of
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.clients.membership.own_models import OwnModels
from fedhome.counted import counted
from fedhome.errors import RunError, StateError
from fedhome.plan.own_reading import own_of
from fedhome.plan.sliced_plan import is_sliced
from fedhome.reasons import in_words

if TYPE_CHECKING:  # these load torch, arrow or both
    from fedhome.clients.home import ClientHome
    from fedhome.clients.own_readings import ReadingsSource
    from fedhome.data.table import HomeTable
    from fedhome.learning.personalise.home_end import HomeEnd
    from fedhome.personal.horizons import Predictions
    from fedhome.personal.model import PersonalModel
    from fedhome.personal.newest_rows import Trial

_AS_GOOD = 1.0 + 1e-9  # predictions of one model differ by this much between machines
_NO_FRESH_ROW = (
    "there is no row yet to which neither of the two was fitted; the next run compares them"
)
_log = logging.getLogger("fedhome.agent")


class Verdict(NamedTuple):
    """Which model is kept: ``model`` is to be put in use, empty where the kept one stays.

    ``told`` says why, in words for the home's own log; empty where nothing is new.
    """

    model: bytes
    told: str


class EndedRuns:
    """What a home's runs end with.

    Args:
        home: The home, as it answers questions.
        home_folder: Its folder; keys and state are left alone.
        source: Where its readings are.
    """

    def __init__(self, home: ClientHome, home_folder: HomeFolder, source: ReadingsSource) -> None:
        self._home, self._home_folder, self._source = home, home_folder, source
        self._last: HomeEnd | None = None

    def ended(self) -> bool:
        """Return whether a run has ended since this was asked last."""
        from fedhome.learning.personalise.home_end import home_end  # noqa: PLC0415

        device = self._home.device
        end, before = home_end(device, device.homes[0]), self._last
        self._last = end
        return end is not None and end is not before

    def verdict(self, kept: bytes, *, run: int) -> Verdict:
        """Make a model of what the home ended with, and hold it against the kept one.

        Whatever goes wrong, the kept one stays: the run's questions are answered all the same.

        Args:
            kept: The model in use; empty where there is none, or where it cannot be read.
            run: Number of the run; a home knows no name of it but its plan's.
        """
        name = f"run {run} of {self._home.plan.name}"
        try:
            return self._verdict(kept, name)
        except Exception as error:  # noqa: BLE001 - a run does not end by what a home keeps
            why = in_words(reason_of(error))
            return Verdict(b"", f"no model of its own is kept of {name}: {why}")

    def anew(self, kept: bytes, *, called: str) -> Verdict:
        """Hold a model that was fitted between runs against the kept one.

        They are compared on rows to which neither was fitted: of what counts now, the kept one may
        have been fitted to more than the new one.

        Args:
            kept: The model in use.
            called: What the new one is of.

        Raises:
            FedHomeError: The readings, or what came of them, cannot be used.
        """
        self.ended()
        return self._verdict(kept, called, fresh=True)

    def _verdict(self, kept: bytes, run: str, *, fresh: bool = False) -> Verdict:
        from fedhome.clients.own_readings import read_files  # noqa: PLC0415
        from fedhome.personal.models_file import to_bytes  # noqa: PLC0415

        settings = self._home_folder.settings
        table = read_files(
            self._home.plan, self._source, name=settings.home, reading=settings.reading
        ).table
        new = self._scored(self._made(table, run))
        data = to_bytes([new])
        if data == kept:
            return Verdict(b"", "")
        sliced = is_sliced(self._home.plan)
        most = self._home.device.learning.layout.size if sliced else None
        old, why = _comparable(kept, new, most=most)
        if old is None:
            return Verdict(data, f"the home keeps the model of {run}: {why}")
        after = old.fitted_until if fresh else None
        tried, other = (
            self._trial(model, model.predictions(table), after=after) for model in (new, old)
        )
        if fresh and not tried.rows:
            return Verdict(b"", f"the home keeps the model that it had: {_NO_FRESH_ROW}")
        better, told = _compared(tried, other, new)
        return Verdict(data if better else b"", told)

    def _made(self, table: HomeTable, run: str) -> PersonalModel:
        from fedhome.personal.built import personal_model  # noqa: PLC0415

        assert self._last is not None, "a run has ended"
        device = self._home.device
        return personal_model(
            self._last,
            plan=self._home.plan,
            learning=device.learning,
            examples=device.examples,
            time_zone=table.time_zone,
            rules=table.rules,
            reading=own_of(self._home_folder.settings.reading, self._home.plan.data),
            run=run,
        )

    def _scored(self, model: PersonalModel) -> PersonalModel:
        """Return a model with its scores on test rows, beside those of no learning."""
        from fedhome.learning.fitted import InputRows  # noqa: PLC0415
        from fedhome.learning.tasks.statements import ENCODINGS  # noqa: PLC0415

        device = self._home.device
        rows, name = device.rows("test"), device.learning.task.score
        inputs = InputRows(rows.x, *(np.asarray(v, np.float64) for v in (rows.naive, rows.seasons)))
        output = ENCODINGS[model.targets].output(model.state(inputs))
        found = {
            "personalised": device.measure(np.asarray(output, np.float32), "test"),
            "baseline": device.baseline("test").metrics,
        }
        scores = {one: float(metrics[name][0]) for one, metrics in found.items()}
        return replace(model, scores=scores)

    def _trial(
        self, model: PersonalModel, predicted: Predictions, *, after: int | None = None
    ) -> Trial:
        """Return how wrong a model is on the home's test rows: no run of these readings has them.

        A model of earlier readings was fitted to earlier rows alone. ``after`` is the last moment,
        or row, that does not count; None: all do.
        """
        from fedhome.personal.newest_rows import moments, tried  # noqa: PLC0415

        examples, at = self._home.device.examples, moments(predicted)
        test = examples.rows("test")
        if len(examples.time_s):
            rows = np.isin(at, examples.time_s[test])
        else:
            each = max(len(model.horizons), 1)
            rows = np.arange(len(at)) >= len(at) - (test.stop - test.start) * each
        if after is not None:
            rows &= at > after
        return tried(model, predicted, rows)


def _comparable(
    kept: bytes, new: PersonalModel, *, most: int | None
) -> tuple[PersonalModel | None, str]:
    """Return the kept model, if it predicts the same from the same; else why it goes.

    Args:
        kept: The kept model.
        new: The one that it is held against.
        most: Numbers of the largest network that the device carries; None: it carries any.
    """
    from fedhome.personal.models_file import ModelsFile  # noqa: PLC0415

    if not kept:
        return None, "it is its first"
    try:
        (old,) = ModelsFile(kept, own_code=True).values()  # sealed by this home's key
    except RunError as error:
        return None, f"the one before is of no use here: {error.message}"
    for what, one, other in (
        ("target", old.target, new.target),
        ("unit", old.target_unit, new.target_unit),
        ("classes", old.classes, new.classes),
        ("horizon", old.plan.data.horizon, new.plan.data.horizon),
        ("inputs", old.plan.data.inputs, new.plan.data.inputs),
    ):
        if one != other:
            return None, f"the plan changed since the one before, which has another {what}"
    if most is not None and _largest(old) > most:
        return None, "the one before is of a larger slice than its device carries now"
    return old, ""


def _largest(model: PersonalModel) -> int:
    """Return the numbers of a model's largest network; 0 where it mixes none."""
    from fedhome.learning.fitted import Perceptron  # noqa: PLC0415
    from fedhome.personal.own_module import OwnModule  # noqa: PLC0415

    sizes = [0]
    for one in model.experts.values():
        if isinstance(one, Perceptron):
            sizes.append(sum(a.size for a in one.layers.values()))
        elif isinstance(one, OwnModule):
            sizes.append(one.params.size)
    return max(sizes)


def _compared(new: Trial, old: Trial, model: PersonalModel) -> tuple[bool, str]:
    """Return whether the new model is as good as the kept one, and both numbers in words."""
    better = bool(new.error <= old.error * _AS_GOOD) or not np.isfinite(old.error)
    unit = f" {model.target_unit}" if model.target_unit else ""
    kind, unit = ("mean error", unit) if model.targets == "continuous" else ("Brier score", "")
    outcome = (
        "the home keeps the model" if better else "the home keeps the model that it had, not that"
    )
    return better, (
        f"{outcome} of {model.run}: on its newest {counted(new.rows, 'row')} the new one has "
        f"a {kind} of "
        f"{new.error:.4g}{unit}, the one before of {old.error:.4g}{unit}"
    )


class OwnModelKeeper:
    """The agent's end: it has the keys.

    Args:
        home_folder: The home's folder.
    """

    def __init__(self, home_folder: HomeFolder) -> None:
        self._home_folder = home_folder

    @property
    def kept(self) -> bytes:
        """The model in use; empty where there is none, or where it cannot be read."""
        try:
            return self._models.read() or b""
        except StateError as error:
            _log.warning("the home's own model cannot be read: %s", error)
            return b""

    def take(self, verdict: Verdict) -> None:
        """Put a model in use, if the verdict has one, and tell the home's log why.

        A disk that does not take it is told too, and the kept one stays.
        """
        if verdict.model:
            try:
                self._models.replace(verdict.model)
            except StateError as error:
                _log.error("a model of the home's own was not kept: %s", error)
                return
        if verdict.told:
            _log.log(logging.INFO if verdict.model else logging.WARNING, "%s", verdict.told)

    @property
    def _models(self) -> OwnModels:
        return OwnModels(self._home_folder.path, self._home_folder.settings.home)


def keep_ended(runs: EndedRuns, keeper: OwnModelKeeper, *, run: int) -> None:
    """Keep what a home ended with, where its keys and its readings are in one process.

    Args:
        runs: What the home's runs end with.
        keeper: What keeps it.
        run: Number of the run.
    """
    if runs.ended():
        keeper.take(runs.verdict(keeper.kept, run=run))
