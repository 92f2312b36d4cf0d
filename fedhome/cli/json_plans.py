"""What commands on plans, privacy, reasons and data sets print with `--json`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ReasonEntry:
    """A word, and what it stands for.

    Args:
        word: The word.
        where: Where it is met.
        why: What it means.
        remedy: Who does what about it; empty: nobody can do anything.
    """

    word: str
    where: str
    why: str
    remedy: str


@dataclass(frozen=True, kw_only=True)
class SettingEntry:
    """A setting of a plan.

    Args:
        name: Its name, as `--set` takes it.
        value: Its value; null: unset.
        default: The value that it has in the plan without a single setting.
        meaning: What it says.
    """

    name: str
    value: Any
    default: Any
    meaning: str


@dataclass(frozen=True, kw_only=True)
class DerivedEntry:
    """What secure sums derive from a plan.

    Args:
        name: Which parameter.
        meaning: Its value, and why.
    """

    name: str
    meaning: str


@dataclass(frozen=True, kw_only=True)
class PlanExplained:
    """A plan, setting by setting.

    Args:
        name: The plan's name.
        homes: Homes that secure sums are explained for.
        mode: How updates are added up with this many homes in a simulation.
        settings: Every setting.
        derived: What secure sums derive from them; empty where sums are not secure.
        notes: What else follows.
    """

    name: str
    homes: int
    mode: str
    settings: list[SettingEntry]
    derived: list[DerivedEntry]
    notes: list[str]


@dataclass(frozen=True, kw_only=True)
class NumbersTable:
    """Some of the numbers that leave a home.

    Args:
        title: What they are.
        text: What is said of all of them.
        header: Names of the columns; empty where there is text alone.
        rows: The rows, a text for each column.
    """

    title: str
    text: str
    header: list[str]
    rows: list[list[str]]


@dataclass(frozen=True, kw_only=True)
class NoiseEntry:
    """What another epsilon would come to.

    Args:
        epsilon: What the whole run may cost each home.
        noise_multiplier: Noise of the sum, in clips.
        noise_clips: Length of a round's noise, in clips.
        largest_model: Numbers that a model may have; 0: none of any size.
    """

    epsilon: float
    noise_multiplier: float
    noise_clips: float
    largest_model: int


@dataclass(frozen=True, kw_only=True)
class NoisePlan:
    """What noise would hide, and what it would cost.

    Args:
        homes: Homes in the fleet.
        honest: Homes whose noise alone is counted on.
        rounds: Rounds of the run.
        epsilon: What the whole run costs each home, against one that adds nothing but its noise.
        epsilon_between: The same between any two contents of its readings.
        delta: For which that holds.
        parameters: Numbers of the model that homes share.
        noise_multiplier: Noise of the sum, in clips.
        noise_of_a_home: Noise of each home in each number, in clips.
        error_of_the_mean: Noise of the mean in each number, in clips.
        noise_clips: Length of a round's noise, in clips.
        largest_model: Numbers that a model may have; 0: none of any size.
        realistic: Whether a model of this many numbers learns under it.
        ways_out: What would make it so, where it is not.
        others: What other epsilons would come to.
    """

    homes: int
    honest: int
    rounds: int
    epsilon: float
    epsilon_between: float
    delta: float
    parameters: int
    noise_multiplier: float
    noise_of_a_home: float
    error_of_the_mean: float
    noise_clips: float
    largest_model: int
    realistic: bool
    ways_out: list[str]
    others: list[NoiseEntry]


@dataclass(frozen=True, kw_only=True)
class SetEntry:
    """A named set of real homes.

    Args:
        name: Its name.
        title: What it is.
        homes: Homes.
        licence: Its licence.
        cached: Whether it is on this machine.
    """

    name: str
    title: str
    homes: int
    licence: str
    cached: bool


@dataclass(frozen=True, kw_only=True)
class SetDescription:
    """All that is known of a named set.

    Args:
        name: Its name.
        title: What it is.
        about: The same at length.
        homes: Homes.
        rows: Rows of all homes.
        columns: What each column means, by its name.
        train: Settings by which a run learns from it, as `--set` takes them.
        licence: Its licence.
        citation: What to cite.
        page: Where it comes from.
        unpinned: Files without a known checksum.
        manual: How it is got by hand.
    """

    name: str
    title: str
    about: str
    homes: int
    rows: int
    columns: dict[str, str]
    train: list[str]
    licence: str
    citation: str
    page: str
    unpinned: list[str]
    manual: str
