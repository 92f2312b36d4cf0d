"""A home's model before it has ended a run: the fleet's, with what the home's few rows can say.

These rows train nothing. They tell how the home's inputs and target are scaled, how far the band
around a prediction reaches, and whether the model is better than no learning.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedhome.data.inputs import MatchedHome
from fedhome.data.series.examples import HomeExamples, Targets
from fedhome.data.series.windows import examples, with_indicators
from fedhome.errors import RunError
from fedhome.learning.bands import Reach, reach, temperature
from fedhome.learning.fitted import Constant, Fitted, InputRows, Seasonal
from fedhome.learning.methods import method_of
from fedhome.learning.tasks import kind_of, task_of
from fedhome.learning.tasks.statements import ENCODINGS, finite_or
from fedhome.personal.built import network_of
from fedhome.personal.model import PersonalModel
from fedhome.personal.own_slice import fits, own_slice
from fedhome.plan.learnt_changes import learnt_by
from fedhome.plan.own_reading import NOTHING_OWN
from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import is_sliced
from fedhome.registry.release import ReleaseSlices
from fedhome.run.model_file import Learnt
from fedhome.wire.layout import Layout

_GLOBAL = "global"


def model_of_release(
    plan: Plan,
    layout: Layout,
    flat: NDArray[np.float32],
    own: MatchedHome,
    *,
    called: str,
    learnt: Learnt,
    tier: str = "",
    slices: ReleaseSlices | None = None,
    reading: Mapping[str, Any] = NOTHING_OWN,
) -> PersonalModel:
    """Return the fleet's model as one home can use it.

    Args:
        plan: The home's plan.
        layout: Names and shapes of the release's parameters.
        flat: The parameters, float32 ``[size]``.
        own: The home's readings, with the plan's inputs found in them.
        called: What the release is called.
        learnt: What its model states of a series: it is read so, whatever the plan says.
        tier: Name of the home's tier, where the plan's devices carry slices: it takes its own.
        slices: In which slices the release says that devices trained it; None: in none, or it does
            not say.
        reading: How the home's files are read, where that differs from the plan.

    Raises:
        RunError: The release is no model of this plan, or its method keeps part of the model at
            each home, so that the rest alone predicts nothing; or as of `own_slice`.
        DataError: The home has fewer rows than `data.min_rows` say.
    """
    if kept := method_of(plan.method).private(layout.names):
        raise RunError(
            f"the method {plan.method.name} keeps {', '.join(sorted(kept))} at each home, so that "
            f"{called} alone predicts nothing",
            hint="the home has a model of its own when it has taken part in a run to its end",
        )
    if learnt != learnt_by(plan):
        plan = plan.change(data={"learns": learnt})
    targets = kind_of(plan.task.kind).targets
    inputs = [spec.name for spec in plan.data.inputs or ()]
    home = with_indicators(
        examples(own.table, plan.data, inputs, targets), plan.data.indicators or ()
    )
    if not _fits(plan, layout, home.x.shape[1]):
        raise _of_another_plan(called)
    if is_sliced(plan):
        layout, flat = own_slice(plan, layout, flat, tier=tier, said=slices, called=called)
    network = network_of(plan, layout, flat)
    naive, by = _held_against(home, network, plan, targets)
    assert home.scaling is not None, "examples that were cut from a table say how"
    return PersonalModel(
        home=home.home,
        plan=plan,
        targets=targets,
        scaling=home.scaling,
        unit=home.unit,
        level=home.middle,
        changes=bool(len(home.anchors)),
        weights={_GLOBAL: 1.0},
        experts={_GLOBAL: network},
        naive=naive,
        by=by,
        time_zone=own.table.time_zone,
        rules=own.table.rules,
        reading=reading,
        rows=0,
        run=called,
        fitted_until=_scaled_until(home, by_class=plan.data.split_by == "class"),
    )


def _held_against(
    home: HomeExamples, network: Fitted, plan: Plan, targets: Targets
) -> tuple[Fitted, Reach | float]:
    """Return the forecast without learning, and how sure the network is of the home's rows."""
    known, encoding = home.rows("train+validation"), ENCODINGS[targets]
    last, seasons = (np.asarray(v[known], np.float64) for v in (home.naive, home.seasons()))
    rows = InputRows(home.x[known], last, seasons)
    stated = encoding.stated(network.state(rows))
    truth = encoding.truth(home.y[known], stated.shape[1])
    naive: Fitted = Constant(truth.mean(axis=0))
    if targets == "continuous" and plan.data.series:
        naive = Seasonal(0, stated.shape[1])
    stated = finite_or(stated, naive.state(rows))
    if targets != "continuous":
        return naive, temperature(stated, truth)
    column = slice(None) if plan.data.several else 0
    return naive, reach((truth - stated)[:, column], home.times()[known])


def _fits(plan: Plan, layout: Layout, features: int) -> bool:
    """Return whether parameters are of the plan's network; of a module of one's own it says so."""
    if plan.model.name != "mlp":
        return True
    if is_sliced(plan):
        return fits(plan, layout, features, task_of(plan).outputs)
    matrices = [shape for shape in layout.shapes if len(shape) > 1]
    widths = [inputs for _, inputs in matrices] + [outputs for outputs, _ in matrices[-1:]]
    return widths == [features, *plan.model.hidden, task_of(plan).outputs]


def _scaled_until(home: HomeExamples, *, by_class: bool) -> int:
    """Return the last moment, or row, that scales come from; never too early."""
    if len(home.time_s):
        return int(home.time_s[home.rows("train")].max()) + home.reach_s
    later = 0 if by_class else sum(home.counts[1:])
    return home.tally.rows - later - 1


def _of_another_plan(called: str) -> RunError:
    return RunError(
        f"{called} is no model of this home's plan: it takes other inputs, or has other outputs",
        hint="ask whoever runs the fleet which plan its homes have, and join again with it",
    )
