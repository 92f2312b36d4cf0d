"""A thing that a server may ask of homes, and what people are told of it before they agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Asker = Literal["server", "simulation"]
"""Who may ask: a fleet's server, or a simulation alone of the homes that it made itself."""

Often = Literal["round", "run", "sum"]
"""An honest server asks a home at most once in each."""


@dataclass(frozen=True, kw_only=True)
class ConsentWords:
    """What people are told of a question.

    Texts may name ``{update}`` (how many numbers an update has), ``{most}`` (the greatest
    weight), ``{weight_of_training}`` and ``{weight_of_validation}`` (by what homes count),
    ``{bins}`` (steps of a score), and what :func:`fedhome.questions.mixtures.sizes` names.

    Args:
        when: When it is asked.
        secure: What answers it where the plan is secure, besides ``numbers``.
        plain: What answers it where the plan is plain; empty: nothing does.
        numbers: What each bounded number of the sum is, by the stem of its name.
    """

    when: str
    secure: str = ""
    plain: str = ""
    numbers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Question:
    """A thing that a server may ask of homes.

    Args:
        name: Type of its messages.
        asker: Who may ask.
        often: How often an honest server asks at most.
        consent: What people are told of it.
        clear: What each key of an answer in the clear holds; a ``*`` stands for any part of it.
    """

    name: str
    asker: Asker = "server"
    often: Often
    consent: ConsentWords
    clear: Mapping[str, str] = field(default_factory=dict)
