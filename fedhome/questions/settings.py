"""The settings that come with a question: what may be in them, and the hash that binds them.

A manifest holds the hash. So all homes of a sum were told the same, or their masks do not cancel;
and each home holds what it was told against its own plan before it does anything.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import msgpack

from fedhome.errors import ManifestError
from fedhome.learning import methods, update_clipping
from fedhome.plan.judged_rounds import adaptation_of, judged_every
from fedhome.plan.learnt_changes import learns_changes
from fedhome.plan.settings import Plan
from fedhome.plan.tried_rates import train_rates

ROUND = "server-round"
"""Number of the round, as Flower's strategies name it."""

WARM = "warm-rate"
"""Multiple of the learning rate, where a run begins with another one's model."""

RATE = "train-rate"
"""Multiple of the learning rate, where the plan has another than 1 or leaves it to the fleet."""

SHELL = "slice-shell"
"""Which shell of a sliced model a training adds up, from 1; without it the first, which is 0."""

INPUTS = "inputs"
"""Hash of what the inputs of a plan mean: it comes with every question."""

OTHER_INPUTS = "this home's plan gives its inputs another meaning than the question's"
"""Why a home refuses; the server leaves it out of the run."""

_MEANING = (
    "inputs",
    "features",
    "target",
    "target_unit",
    "lags",
    "horizon",
    "calendar",
    "step",
    "rules",
    "missing",
    "indicators",
    "scale",
)

_LABEL, _SCHEMA = b"fedhome/settings/2\0", b"fedhome/inputs/1\0"


def settings_hash(settings: Mapping[str, Any]) -> bytes:
    """Return SHA-256 of a question's settings, whatever their order.

    Args:
        settings: Numbers, texts, bytes, and lists of these, by name.
    """
    rows = [[name, _plain(value)] for name, value in sorted(settings.items())]
    return hashlib.sha256(_LABEL + msgpack.packb(rows, use_bin_type=True)).digest()


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def inputs_hash(plan: Plan) -> str:
    """Return SHA-256 of all that gives the numbers of a model's inputs their meaning, as hex.

    That is the inputs in their order with kinds, units and words; the target with its classes, and
    whether its changes are learnt; and how rows become examples.

    Args:
        plan: The plan of a home, or of the server.
    """
    table = plan.data.model_dump(mode="json")
    kind = plan.task.kind.rpartition("/")[2]  # one's own code may lie elsewhere
    rows = {name: table[name] for name in _MEANING} | {"kind": kind, "classes": plan.task.classes}
    if learns_changes(plan):
        rows["learns"] = "change"  # of levels the hash is that of plans before there was a choice
    return hashlib.sha256(_SCHEMA + json.dumps(rows, sort_keys=True).encode()).hexdigest()


def check_inputs(settings: Mapping[str, Any], plan: Plan) -> None:
    """Refuse a question about inputs of another meaning.

    One that does not say is left to the rest of what binds it: in a sum, the hash of the plan.

    Args:
        settings: The settings that came.
        plan: The home's plan.

    Raises:
        ManifestError: ``inputs``.
    """
    if settings.get(INPUTS, own := inputs_hash(plan)) != own:
        raise ManifestError(
            OTHER_INPUTS,
            reason="inputs",
            hint="invite the home to the plan that the server runs: "
            "`fedhome fleet invite HOME --again`",
        )


def check_settings(faults: Iterator[str]) -> None:
    """Refuse a question with settings that a home's plan does not allow.

    Raises:
        ManifestError: ``settings``: the first fault.
    """
    for fault in faults:
        raise ManifestError(
            f"a question came with {fault}",
            reason="settings",
            hint="home and server must run the same plan: invite the homes to the new one",
        )


def round_faults(settings: Mapping[str, Any], plan: Plan) -> Iterator[str]:
    """Yield what is wrong with the settings of a question of a round.

    What a strategy of somebody's own sends besides is bound by the hash, and no home acts on it.
    """
    number, most = settings.get(ROUND), plan.rounds.count
    if number is not None and not (type(number) is int and 1 <= number <= most):
        yield f"{ROUND} {number!r}, and the plan has rounds 1 to {most}"


def adaptation_faults(settings: Mapping[str, Any], plan: Plan) -> Iterator[str]:
    """Yield what is wrong with how homes are to adapt the model."""
    rate, epochs, own = settings.get("rate"), settings.get("epochs"), plan.personalise
    if rate not in own.rates:
        yield f"a rate of {rate!r}, which is none of the plan's {list(own.rates)}"
    if type(epochs) is not int or not 0 <= epochs <= own.epochs:
        yield f"{epochs!r} epochs, and the plan allows 0 to {own.epochs}"


def judging_faults(settings: Mapping[str, Any], plan: Plan) -> Iterator[str]:
    """Yield what is wrong with how homes are to adapt a round's model before they test it."""
    if not judged_every(plan):
        yield "a test of the adapted model, and the plan has none between rounds"
        return
    yield from round_faults(settings, plan)
    own = adaptation_of(plan)
    if (asked := {name: settings.get(name) for name in own}) != own:
        yield (
            f"a test of the model adapted at {_in_words(asked)}, and this home's plan has it "
            f"adapted at {_in_words(own)}: by nothing, it would be the same question twice"
        )


def _in_words(adaptation: Mapping[str, Any]) -> str:
    return f"a rate of {adaptation['rate']!r} for {adaptation['epochs']!r} epochs"


def census_faults(settings: Mapping[str, Any], plan: Plan) -> Iterator[str]:
    """Yield what is wrong with a count of examples: no plan that names the weight asks for it."""
    del settings
    if plan.aggregation.greatest_weight is not None:
        yield "a count of examples, and the plan names the greatest weight"
    if plan.privacy.mechanism != "none":
        yield "a count of examples, and with noise all homes count alike"


def train_faults(settings: Mapping[str, Any], plan: Plan) -> Iterator[str]:
    """Yield what is wrong with the settings of a training.

    What a strategy tells homes (a clip, a method's setting) is taken where the plan's own strategy
    does so.
    """
    yield from round_faults(settings, plan)
    shell, shells = settings.get(SHELL), len(plan.slicing.tiers)
    if shell is not None and not (type(shell) is int and 0 < shell < shells):
        yield f"{SHELL} {shell!r}, and the plan has {shells} slices"
    if update_clipping.KEY in settings and not plan.strategy.wrap:
        yield f"{update_clipping.KEY}, and the plan's strategy is wrapped in none that clips"
    if (rate := settings.get(WARM, plan.train.warm_rate)) != plan.train.warm_rate:
        yield f"{WARM} {rate!r}, and the plan says {plan.train.warm_rate}"
    if (rate := settings.get(RATE, 1.0)) not in (known := train_rates(plan)):
        yield f"{RATE} {rate!r}, and the plan has {', '.join(f'{one:g}' for one in known)}"
    yield from methods.told_faults(settings, plan)


def no_faults(settings: Mapping[str, Any], plan: Plan) -> Iterator[str]:
    """Yield nothing: of a question whose settings no home reads."""
    del settings, plan
    return iter(())
