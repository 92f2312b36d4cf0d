"""A sliced model that a command was given: a release, or the folder of a run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from fedhome.cli.json_models import SliceEntry, score_told
from fedhome.cli.opened_registry import opened_registry
from fedhome.errors import ModelError, RunError
from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import is_declared
from fedhome.registry.release import ReleaseScores, TierScore
from fedhome.run.folder import RunFolder
from fedhome.run.model_file import Learnt

if TYPE_CHECKING:
    from fedhome.models.cut_slices import FinishedModel
    from fedhome.models.slice_cut import SliceCut

_REPEATS, _TRIES = 200, 5
_MASKED = "under masks scores are added up over all tiers together"
_UNTOLD: Final = (
    f"no score where this release tells none: {_MASKED}, a tier with fewer homes than a sum takes "
    "has none, nor has a release that is older than scores"
)
_ADDED_UP: Final = f"no score: {_MASKED}, so that nobody knows a tier's"
_UNSCORED: Final = "no score of tiers whose homes this run did not score"


@dataclass(frozen=True, kw_only=True)
class SlicedSource:
    """A model that was named.

    Args:
        cuts: Its slices that are worth a look, from the smallest.
        named: Returns the slice of a width and a depth; None: the deepest.
        runs: Returns what computes one prediction of a slice.
        by: What that is, in words.
        scores: What its tiers' homes came to; none where that is not known.
        unscored: Why a tier has no score, in words.
        plan: Name of its plan.
        round: The round after which it was saved.
        learnt: What it states of a series.
        told: What it is called in a sentence.
    """

    cuts: Sequence[SliceCut]
    named: Callable[[float, int | None], SliceCut]
    runs: Callable[[SliceCut], Callable[[], object]]
    by: str
    scores: tuple[ReleaseScores, ...]
    unscored: str
    plan: str
    round: int
    learnt: Learnt
    told: str

    @property
    def tiers(self) -> tuple[SliceCut, ...]:
        """The slices that tiers trained; none where it is not known which."""
        return tuple(cut for cut in self.cuts if cut.tier is not None)

    def entry(self, cut: SliceCut) -> SliceEntry:
        """Return what is told of a slice; a prediction is timed for it."""
        scored: Mapping[str, TierScore] = {
            one.tier: one for told in self.scores for one in told.tiers
        }
        return SliceEntry(
            hidden=list(cut.hidden),
            width=cut.width,
            depth=cut.depth,
            parameters=cut.size,
            bytes=4 * cut.size,
            bytes_int8=cut.size + 4 * len(cut.parameters),
            microseconds=_microseconds(self.runs(cut)),
            tier=cut.tier,
            **score_told(scored.get(cut.tier or "")),
        )


def sliced_source(
    name: str, registry: Path, key_file: Path | None, passphrase_file: Path | None
) -> SlicedSource:
    """Return the model that a command's words name.

    Args:
        name: The folder of a run, else a release of the registry.
        registry: The registry's folder.
        key_file: As of `opened_registry`, and so is the next.
        passphrase_file: Where its passphrase is read.

    Raises:
        LayoutError: It was not trained in slices that are networks of their own.
        RegistryError: There is no such release, or it cannot be opened.
        RunError: A file of the run is missing or damaged.
        ModelError: A module of a user's own declares slices that cannot be.
    """
    from fedhome.models.cut_slices import FinishedModel  # noqa: PLC0415 - for its use alone

    if Path(name).is_dir():
        return _of_run(RunFolder.open(name), f"run {name}")
    opened = opened_registry(registry, key_file, passphrase_file)
    chosen = opened.find(name)
    parameters = opened.load(chosen).parameters
    said = next(iter(chosen.manifest.slices), None)
    tiers = {} if said is None else {one.units: one.name for one in said.tiers}
    model = FinishedModel.trained_in(tuple(tiers), "" if said is None else said.rule, parameters)
    return _of_perceptron(
        model,
        tiers,
        scores=chosen.manifest.scores,
        unscored=_UNTOLD,
        plan=chosen.manifest.plan,
        round_number=chosen.manifest.round,
        learnt=chosen.manifest.learnt,
        told=f"release {chosen.number}",
    )


def _of_run(run: RunFolder, told: str) -> SlicedSource:
    from fedhome.models.cut_slices import FinishedModel  # noqa: PLC0415 - for its use alone
    from fedhome.server.report.tier_scores import told_scores  # noqa: PLC0415 - arrow

    saved, plan = run.read_model(), Plan.parse(run.read_plan(), where=str(run.plan_path))
    masked = any(event.event == "scores-counted" for event in run.read_events())
    scores = told_scores(run)
    unscored = _ADDED_UP if masked and not scores else _UNSCORED
    if is_declared(plan):
        return _of_module(run, plan, scores=scores, unscored=unscored, told=told)
    tiers = {one.widths(plan.model.hidden): one.name for one in plan.slicing.in_order()}
    return _of_perceptron(
        FinishedModel.of_run(plan, saved.parameters),
        tiers,
        scores=scores,
        unscored=unscored,
        plan=saved.plan,
        round_number=saved.round,
        learnt=saved.learnt,
        told=told,
    )


def _of_perceptron(
    model: FinishedModel,
    tiers: Mapping[tuple[int, ...], str],
    *,
    scores: tuple[ReleaseScores, ...],
    unscored: str,
    plan: str,
    round_number: int,
    learnt: Learnt,
    told: str,
) -> SlicedSource:
    from fedhome.learning.fitted import Perceptron  # noqa: PLC0415 - for its use alone
    from fedhome.models.slice_cut import SliceCut  # noqa: PLC0415 - the same

    def cut(widths: tuple[int, ...]) -> SliceCut:
        return SliceCut(
            hidden=widths,
            width=widths[-1] / model.hidden[len(widths) - 1],
            depth=len(widths),
            parameters=model.cut(widths),
            tier=tiers.get(widths),
        )

    def runs(one: SliceCut) -> Callable[[], object]:
        network = Perceptron(one.parameters)
        x = np.zeros((1, one.parameters["0.weight"].shape[1]), np.float32)
        return lambda: network.output(x)

    return SlicedSource(
        cuts=[cut(widths) for widths in model.slices],
        named=lambda width, depth: cut(
            model.widths(width, max(model.exits) if depth is None else depth)
        ),
        runs=runs,
        by="numpy",
        scores=scores,
        unscored=unscored,
        plan=plan,
        round=round_number,
        learnt=learnt,
        told=told,
    )


def _of_module(
    run: RunFolder, plan: Plan, *, scores: tuple[ReleaseScores, ...], unscored: str, told: str
) -> SlicedSource:
    """Return a run's model that is a module of a user's own; its code is run."""
    import torch  # noqa: PLC0415 - a perceptron needs none of it

    from fedhome.learning.tasks import task_of  # noqa: PLC0415 - for its use alone
    from fedhome.models.declared_cut import declared_cuts  # noqa: PLC0415 - torch

    saved, (features, classes) = run.read_model(), widths_of_run(run, plan)
    cuts = declared_cuts(plan, saved.parameters, features, task_of(plan, classes).outputs)
    by_tier = {one.cut.tier: one for one in cuts}

    def named(width: float, depth: int | None) -> SliceCut:
        wanted = (width, max(one.cut.depth for one in cuts) if depth is None else depth)
        for one in cuts:
            if (one.cut.width, one.cut.depth) == wanted:
                return one.cut
        known = "; ".join(one.cut.told for one in cuts)
        raise ModelError(
            f"no tier trained the slice of width {wanted[0]:g} and depth {wanted[1]} of "
            f"{plan.model.name}",
            hint=f"slices of a module of your own are cut as tiers trained them: {known}",
        )

    def runs(one: SliceCut) -> Callable[[], object]:
        module, x = by_tier[one.tier].module, torch.zeros(1, features)

        def output() -> object:
            with torch.no_grad():
                return module(x)

        return output

    return SlicedSource(
        cuts=[one.cut for one in cuts],
        named=named,
        runs=runs,
        by="torch",
        scores=scores,
        unscored=unscored,
        plan=saved.plan,
        round=saved.round,
        learnt=saved.learnt,
        told=told,
    )


def widths_of_run(run: RunFolder, plan: Plan) -> tuple[int, tuple[str, ...]]:
    """Return the width of the input of a sliced run's model, and its classes.

    Args:
        run: The run's folder.
        plan: Its plan.

    Raises:
        RunError: The model is a module of a user's own, and the run's log does not say.
    """
    if not is_declared(plan):
        arrays = list(run.read_model().parameters.values())
        features, outputs = arrays[0].shape[1], arrays[-1].shape[0]  # the last is a bias
        return features, plan.task.classes or tuple(map(str, range(outputs)))
    for event in run.read_events():
        told = event.data if event.event == "fleet-ready" else {}
        features, outputs = told.get("features"), told.get("outputs", 0)
        if isinstance(features, int) and isinstance(outputs, int):
            return features, plan.task.classes or tuple(map(str, range(outputs)))
    raise RunError(
        f"the log of {run.path} does not say how many numbers go into its model",
        hint="`fedhome model tier` takes the run's plan in place of its folder",
    )


def _microseconds(run: Callable[[], object]) -> float:
    """Return the time of one prediction in µs, the best of some: others use the machine as well."""
    best = float("inf")
    for _ in range(_TRIES):
        begin = time.perf_counter()
        for _ in range(_REPEATS):
            run()
        best = min(best, (time.perf_counter() - begin) / _REPEATS)
    return best * 1e6
