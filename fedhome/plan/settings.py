"""The plan: every setting of a run, typed, from TOML and ``--set``; the only home of defaults."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import tomli_w
from pydantic import (
    BeforeValidator,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from fedhome.errors import PlanError
from fedhome.plan.aggregation_settings import AggregationMode, AggregationSettings
from fedhome.plan.data_settings import DataSettings
from fedhome.plan.evaluation_settings import EvaluationSettings
from fedhome.plan.overrides import (
    faults_in,
    listed_sets,
    locate,
    merge,
    names_of,
    parse_set,
    read_toml,
)
from fedhome.plan.privacy_settings import PrivacySettings
from fedhome.plan.round_settings import RoundSettings
from fedhome.plan.section import Section
from fedhome.plan.slicing_settings import SlicingSettings
from fedhome.plan.transfer_settings import TransferSettings
from fedhome.run.compared_models import ALONE, EXPERTS

EngineName = Literal["vector", "sequential", "ray"]
Precision = Literal["float32", "tf32", "bf16"]

Expert = Literal["tuned", "global", "naive", "linear", "trees"]
Opponent = Literal["seasonal", "linear", "trees", "local", "settings"]

AUTO: Final = "auto"
"""Of a rate: the fleet chooses it (:mod:`fedhome.plan.tried_rates`)."""

MOST_PASSES: Final = 1000
"""Of training in a round, and of what homes make of a model: there each is one way of a trial."""
LARGEST_BATCH: Final = 32
"""Examples in a training step that no plan names, at most (docs/decisions/109)."""
_MOST_STEPS, _MOST_IN_BATCH, _MOST_LAYERS = 100_000, 65_536, 64  # what a small device can do
MOST_RATES: Final = 16
"""Rates that are tried: each is compared with every other one."""
_MOST_TOLD = 100  # faults: a plan may come from anybody, and names thousands in a few kilobytes

Multiple = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _named_or_chosen(value: object) -> object:
    """Tell of a rate in one sentence what it may be: a union would tell it once for each kind."""
    if value == AUTO or (type(value) in (int, float) and 0 < value < math.inf):  # type: ignore[operator]
        return value
    raise PydanticCustomError("rate", 'a number above 0, or "auto", is needed')


Rate = Annotated[Multiple | Literal["auto"], BeforeValidator(_named_or_chosen)]

DEVICES = re.compile(r"cpu|cuda(:\d+)?")
"""Where the vector engine can compute."""

SECURE_HOMES = 200
"""Simulations of up to this many homes are secure by default, larger ones ideal."""


class TaskSettings(Section):
    """What is predicted and how it is scored."""

    kind: str = Field(
        "",
        description='"regression", "binary", "multi-class", or yours as "file.py:name"; empty: as '
        "the target's values tell",
    )
    classes: tuple[str, ...] = Field((), description="class names; empty: those of the data")
    score: str = Field("", description="metric that ranks models; empty: the kind's own")


class ModelSettings(Section):
    """The module that every home trains."""

    name: str = Field("mlp", description='"mlp", or a class or function of yours as "file.py:Name"')
    hidden: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (64, 64), max_length=_MOST_LAYERS, description="widths of the hidden layers"
    )
    dropout: float = Field(0.0, ge=0.0, lt=1.0, description="share of hidden units left out")
    norm: Literal["none", "layer", "group"] = Field(
        "none", description='normalisation in hidden layers: "none", "layer" or "group"'
    )
    args: dict[str, Any] = Field(default_factory=dict, description="arguments of your callable")


class TrainSettings(Section):
    """Local learning in a home."""

    optimiser: str = Field("sgd", description='"sgd" or "adam"')
    learning_rate: float = Field(0.1, gt=0, description="size of the optimiser's steps")
    rate: Rate = Field(
        1.0,
        description="multiple of train.learning_rate at which homes learn in rounds; auto: the "
        "fleet tries train.rates in the first rounds, and keeps what is best in validation",
    )
    rates: tuple[Multiple, ...] = Field(
        (1.0, 0.3, 3.0),
        min_length=1,
        max_length=MOST_RATES,
        description='what train.rate = "auto" tries, in this order',
    )
    momentum: float = Field(0.0, ge=0, lt=1, description="share of the last step kept (sgd)")
    weight_decay: float = Field(0.0, ge=0, description="pull of every parameter towards 0")
    batch_size: int | None = Field(
        None,
        ge=1,
        le=_MOST_IN_BATCH,
        description="examples in a training step; unset: a sixteenth of the usual home's training "
        "rows, 4 to 32; 32 with noise, train.steps, a model other than mlp, or no rows at hand",
    )
    epochs: int = Field(
        2, ge=1, le=MOST_PASSES, description="passes over the home's data in a round"
    )
    steps: int = Field(
        0,
        ge=0,
        le=_MOST_STEPS,
        description="steps in a round, the same for homes with few rows and with many; 0: as many "
        "as train.epochs has",
    )
    clip_norm: float = Field(5.0, ge=0, description="greatest L2 norm of a gradient; 0: any")
    warm_rate: float = Field(
        0.2,
        gt=0,
        le=1,
        description="share of the learning rate in a run that begins with another one's model",
    )

    @property
    def batch_rows(self) -> int:
        """Examples in a training step, where the plan leaves it open as many as at most."""
        return LARGEST_BATCH if self.batch_size is None else self.batch_size


class MethodSettings(Section):
    """What a home does in a round, beside plain descent (docs/methods.md)."""

    name: str = Field(
        "fedavg",
        description='how homes learn, such as "fedavg" or "fedper", or yours as "module:Class"',
    )
    args: dict[str, Any] = Field(default_factory=dict, description="its own settings")


class StrategySettings(Section):
    """The server's aggregation: any Flower strategy."""

    name: str = Field("fedavg", description='a Flower strategy, or yours as "file.py:Name"')
    args: dict[str, Any] = Field(default_factory=dict, description="its own arguments")
    rate: Rate = Field(
        1.0,
        description="how far the server goes, as a multiple of what the strategy says; auto: the "
        "fleet tries strategy.rates in the first rounds, and keeps what is best in validation",
    )
    rates: tuple[Multiple, ...] = Field(
        (1.0, 0.5, 2.0),
        min_length=1,
        max_length=MOST_RATES,
        description='what strategy.rate = "auto" tries, in this order',
    )
    wrap: str = Field("", description="a wrapper around it, such as a privacy wrapper of Flower's")
    wrap_args: dict[str, Any] = Field(default_factory=dict, description="the wrapper's arguments")
    works_on: Literal["auto", "sums", "updates"] = Field(
        "auto", description="what it needs to see: sums of groups, or every single update"
    )


class PersonaliseSettings(Section):
    """What each home makes of the global model at the end."""

    name: str = Field(
        "fine-tune",
        description='"fine-tune", "fine-tune-head" (the last layer alone), "knn-per" (remembered '
        'rows), "none", or yours as "file.py:name"',
    )
    epochs: int = Field(60, ge=1, le=MOST_PASSES, description="most passes of fine-tuning")
    local_epochs: int = Field(
        60, ge=1, le=MOST_PASSES, description="most passes of the local-only baseline"
    )
    local_batches: tuple[Annotated[int, Field(ge=1, le=_MOST_IN_BATCH)], ...] = Field(
        (),
        max_length=MOST_RATES,
        description="examples in a training step of networks alone, which try each; empty: "
        "as train.batch_size is, or 32 where that is unset",
    )
    patience: int = Field(8, ge=1, description="passes without improvement before a baseline stops")
    rates: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (0.3, 1.0),
        min_length=1,
        max_length=MOST_RATES,
        description="learning rates tried, as multiples of train.learning_rate",
    )
    experts: tuple[Expert, ...] = Field(
        EXPERTS,
        min_length=1,
        description="what a home's predictions are a mean of: " + ", ".join(EXPERTS),
    )
    opponents: tuple[Opponent, ...] = Field(
        ALONE,
        min_length=1,
        description="what a home could have alone, to hold the fleet against: " + ", ".join(ALONE),
    )
    refit: bool = Field(default=True, description="train once more on training + validation")


class FaultSettings(Section):
    """Homes that fail on purpose, in a simulation."""

    dropout: float = Field(0.0, ge=0, lt=1, description="chance that a home is silent in a round")
    stragglers: float = Field(0.0, ge=0, le=1, description="share of homes that are slow")
    slowdown: float = Field(10.0, ge=1, description="how much slower they are")
    step_s: float = Field(0.01, gt=0, description="simulated seconds of an ordinary training step")


class EngineSettings(Section):
    """What computes a simulation."""

    name: EngineName = Field("vector", description='"vector", "sequential" or "ray"')
    threads: int = Field(
        0,
        ge=0,
        description="worker threads (of each Ray shard; a GPU is fed by one), and processes "
        "of a secure simulation's parties; 0: one for each core",
    )
    device: str = Field(
        "cpu", description='where the vector engine trains: "cpu", "cuda" or "cuda:N" (one GPU)'
    )
    kernel: Literal["auto", "fused", "onchip", "captured", "traced", "eager"] = Field(
        "auto", description="how the vector engine trains; auto takes the fastest that fits"
    )
    precision: Precision = Field(
        "float32",
        description='of what a GPU multiplies in training: "float32"; "tf32" (ten bits and a '
        'leading one); or "bf16" (seven, engine.kernel = "onchip"). Parameters, sums and scores '
        "stay float32",
    )
    examples_gb: float = Field(
        0.0,
        ge=0,
        le=1e6,
        description="what homes' examples may take of a GPU's memory, in GB (10^9 bytes); what "
        "does not fit goes over part by part; 0: half of what is free when a run begins",
    )
    hold: Literal["auto", "all", "asked"] = Field(
        "auto",
        description="which homes are in memory: all, or those that are asked, made or read anew "
        "each time (docs/simulate.md); auto: all of up to 20 000",
    )
    ray_address: str = Field("", description="an existing Ray cluster; empty: this machine")
    ray_shards: int = Field(
        0, ge=0, description="Ray actors; 0: one for each core, or GPU where homes train on these"
    )


class Plan(Section):
    """Every setting of a run.

    Load one with :meth:`load`; :meth:`check` says what does not fit together.
    """

    name: str = Field(
        "default", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="what its runs are called"
    )
    seed: int = Field(1, ge=0, lt=2**63, description="seed of all randomness")
    data: DataSettings = DataSettings()
    task: TaskSettings = TaskSettings()
    model: ModelSettings = ModelSettings()
    slicing: SlicingSettings = SlicingSettings()
    train: TrainSettings = TrainSettings()
    method: MethodSettings = MethodSettings()
    strategy: StrategySettings = StrategySettings()
    aggregation: AggregationSettings = AggregationSettings()
    transfer: TransferSettings = TransferSettings()
    privacy: PrivacySettings = PrivacySettings()
    rounds: RoundSettings = RoundSettings()
    personalise: PersonaliseSettings = PersonaliseSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    faults: FaultSettings = FaultSettings()
    engine: EngineSettings = EngineSettings()

    @model_validator(mode="wrap")
    @classmethod
    def _in_words(cls, given: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Say what is wrong as everywhere else, also where a plan is made by its class."""
        try:
            return handler(given)
        except ValidationError as error:
            faults = faults_in(error, names_of(cls))
            more = len(faults) - _MOST_TOLD
            raise PlanError(
                [*faults[:_MOST_TOLD], *([f"and {more} more like these"] if more > 0 else [])],
                hint="`fedhome plan explain` lists every setting with its meaning",
            ) from None

    @classmethod
    def load(
        cls, path: Path | str | None = None, *, sets: Sequence[str] = (), **sections: Any
    ) -> Plan:
        """Read a plan from TOML, change single settings, and check it.

        Files of your own code are looked for in the plan's folder, then in the current one; the
        plan then names them by their whole paths.

        Args:
            path: A TOML file; None for the defaults.
            sets: Settings as ``"section.key=value"``, the value in TOML's notation or
                plain text.
            sections: Whole or partial tables, such as ``train={"epochs": 1}``.

        Raises:
            PlanError: All faults at once: unknown names, wrong values, and what does not
                fit together.
        """
        if path is not None and not isinstance(path, str | Path):
            raise PlanError(
                [f"a plan is of type {type(path).__name__}, not a file's path"],
                hint="settings that are in Python already: fedhome.Plan.load(train={'epochs': 1})",
            )
        where = str(path) if path else "the plan"
        table = read_toml(Path(path)) if path else {}
        merge(table, sections)
        for setting in listed_sets(sets):
            merge(table, parse_set(setting))
        locate(table, [Path(path).parent, Path()] if path else [Path()])
        return cls.parse(table, where=where)

    @classmethod
    def parse(cls, table: Mapping[str, Any], *, where: str = "the plan") -> Plan:
        """Build a checked plan from nested tables.

        Raises:
            PlanError: All faults at once.
        """
        try:
            plan = cls.model_validate(table)
        except PlanError as error:
            raise PlanError(error.faults, where=where, hint=error.hint) from None
        if faults := plan.check():
            raise PlanError(faults, where=where)
        return plan

    def check(self) -> list[str]:
        """Return what does not fit together, one plain sentence each; empty when all does."""
        from fedhome.plan.plan_faults import faults_of  # noqa: PLC0415 - it reads plans itself

        return faults_of(self)

    def change(self, **sections: Mapping[str, Any] | str | int) -> Plan:
        """Return a checked copy with some settings replaced.

        Raises:
            PlanError: The changed plan does not hold.
        """
        table = self.model_dump()
        merge(table, sections)
        return Plan.parse(table)

    def located(self) -> Plan:
        """Return the plan with whole paths for files of own code in the current folder."""
        table = self.model_dump()
        locate(table, [Path()])
        return Plan.model_validate(table)

    def aggregation_mode(self, homes: int) -> AggregationMode:
        """Return how a simulation of this many homes adds updates up."""
        mode = self.aggregation.mode
        if mode == "auto":
            return "secure" if homes <= SECURE_HOMES else "ideal"
        return mode

    def to_toml(self) -> str:
        """Return the whole resolved plan as TOML (unset settings are left out)."""
        return tomli_w.dumps(json.loads(self.model_dump_json(exclude_none=True)))
