"""A home's part in secure sums: what is requested, and what it sends.

A question that wants a sum carries a signed manifest. The home joins (all refusals come before any
training), encodes its numbers in fixed point, masks them, and sends one blob with the next sum's
keys. In a simulation's ideal mode the form alone comes, and words go unmasked to the simulation.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from flwr.app import Message
from numpy.typing import NDArray

from fedhome import secagg
from fedhome.clients.asked_question import AskedQuestion, manifest_of, manifest_terms, scalars_of
from fedhome.clients.protocol_answers import answered, asked_parts
from fedhome.clients.sum_checks import SumTerms, check_form, check_question, check_sum
from fedhome.errors import BundleError, ManifestError, StateError, UpdateError
from fedhome.flower.messages import blob_reply, sum_record, words_reply
from fedhome.plan.aggregation_settings import AggregationMode
from fedhome.plan.settings import Plan
from fedhome.questions import contributions, private_sums
from fedhome.questions.contributions import Terms
from fedhome.questions.empty_handed import empty_words
from fedhome.questions.question_table import summed
from fedhome.questions.shells import shell_layout
from fedhome.questions.transfer import count_of
from fedhome.secagg.form import Form
from fedhome.wire.layout import Layout


class SumParticipation(Protocol):
    """A sum that a home takes part in."""

    @property
    def manifest(self) -> SumTerms:
        """Its terms."""


class SecurePart(Protocol):
    """A home's part in secure sums, wherever its keys are; methods as of :class:`Participant`."""

    @property
    def simulated(self) -> bool:
        """Whether its noise follows from the plan's seed, which hides nothing."""

    def join(self, manifest: bytes, *, question: AskedQuestion, layout: Layout) -> SumParticipation:
        """Take part in a sum, or refuse."""

    def answer(self, message: Message) -> Message:
        """Answer a question of the protocol itself."""

    def upload(self, message: Message, joined: Any, words: NDArray[Any]) -> Message:
        """Mask a home's words and answer with them."""


class Participant:
    """One home's machine of the protocol, as Flower's messages reach it.

    Args:
        machine: The home's machine.
        clock: Seconds since 1970; a manifest past its time is refused.
        simulated: Whether its noise follows from the plan's seed, **which hides nothing**: a
            simulation's then gives the model that ideal sums give.
    """

    def __init__(
        self,
        machine: secagg.HomeParty,
        *,
        clock: Callable[[], float] = time.time,
        simulated: bool = False,
    ) -> None:
        self.machine = machine
        self.simulated = simulated
        self._clock = clock

    def join(self, manifest: bytes, *, question: AskedQuestion, layout: Layout) -> secagg.JoinedSum:
        """Take part in a sum, or refuse.

        Args:
            manifest: The signed manifest.
            question: What was asked, which the manifest must say too.
            layout: Layout of what the home would add up.

        Raises:
            ManifestError: The home refuses; nothing of it was sent.
        """
        return self.machine.join(manifest, now=self._clock(), **manifest_terms(question, layout))

    def answer(self, message: Message) -> Message:
        """Answer a question of the protocol itself: for one-time keys, or for a member's help.

        Raises:
            SecAggError: The home refuses.
        """
        asked = asked_parts(sum_record(message))
        return blob_reply(message, answered(asked, self.machine, now=self._clock()))

    def upload(self, message: Message, joined: secagg.JoinedSum, words: NDArray[Any]) -> Message:
        """Mask a home's words and answer with them, and with keys for the next sum."""
        sent = blobs_for(self.machine, joined.upload(words), now=self._clock())
        return blob_reply(message, sent)


def blobs_for(machine: secagg.HomeParty, upload: bytes, *, now: float) -> dict[str, bytes]:
    """Return what a home answers with: its upload, and keys for the next sum if it can make them.

    It cannot where the disk is full, or where the members have new keys that it does not have yet:
    the server asks for keys when it needs them.

    Args:
        machine: The home's machine.
        upload: What it sends.
        now: Unix time, s.
    """
    try:
        return {"upload": upload, "bundle": machine.bundle(now=now)}
    except (StateError, BundleError):
        return {"upload": upload}


class RequestedSum(NamedTuple):
    """A sum that a message asks a home to take part in.

    Args:
        form: What lies in the vector.
        round: Number of the round, which names the rounding.
        joined: The home's part; None in a simulation's ideal mode.
    """

    form: Form
    round: int
    joined: SumParticipation | None


def requested_sum_of(
    message: Message,
    question: AskedQuestion,
    mode: AggregationMode,
    participant: SecurePart | None,
    *,
    layout: Layout,
    plan: Plan,
) -> RequestedSum | None:
    """Return the sum that a message asks for; None for a plain question that the mode allows.

    Args:
        message: The message.
        question: What it asks.
        mode: How this home's updates are added up; a server cannot change it.
        participant: The home's part in the protocol; None where it has none.
        layout: Layout of the home's model.
        plan: The home's plan.

    Raises:
        ManifestError: The home refuses.
        UpdateError: The settings that came cannot be.
    """
    record, kind = sum_record(message), question.kind
    row = summed(kind)
    check_question(question, plan)
    if mode == "plain":
        if record is None:
            return None
        raise ManifestError(
            "a sum was asked for, but this home's plan is to answer in the clear",
            reason="mode",
            hint="home and server must run the same plan",
        )
    scalars = scalars_of(question, plan)
    if row.update:
        layout = shell_layout(plan, layout, question.settings)
    if mode == "ideal":
        data = None if record is None else record.get("form")
        if record is None or not isinstance(data, bytes):
            raise ManifestError("an ideal sum was asked for without its form", reason="mode")
        form = contributions.form_of(data)
        check_form(form, kind, scalars, _elements(question, layout, plan))
        return RequestedSum(form, _number(record, "round"), None)
    manifest = manifest_of(message)
    if participant is None:
        raise ManifestError("this home has no keys for secure sums", reason="mode")
    joined = participant.join(manifest, question=question, layout=layout)
    check_sum(joined.manifest, question, scalars, _elements(question, layout, plan), plan)
    return RequestedSum(joined.manifest.form, joined.manifest.round, joined)


def _elements(question: AskedQuestion, layout: Layout, plan: Plan) -> int:
    """Return how many numbers of an update of this layout a question of this kind adds up."""
    if not summed(question.kind).update:
        return 0
    return count_of(plan, layout, question.settings)


def add(
    message: Message,
    requested_sum: RequestedSum,
    participant: SecurePart | None,
    *,
    home: str,
    seed: int,
    terms: Terms,
    update: NDArray[np.float32] | None = None,
) -> Message:
    """Answer with one home's numbers: masked, or in ideal mode as they are.

    Args:
        message: The message that asked.
        requested_sum: The sum.
        participant: The home's part in the protocol; None in ideal mode.
        home: Name of the home.
        seed: The plan's seed, which names the rounding where steps are fine.
        terms: The home's numbers, of one home.
        update: What it learnt, float32 ``[1, size]``.

    Raises:
        UpdateError: What it learnt is not finite.
    """
    kind, form = message.metadata.message_type, requested_sum.form
    weights, values = private_sums.added(form, terms)
    if _draws(participant) and update is not None and form.fixed.is_coarse(update, weights).any():
        keys = [os.urandom(32)]
    else:
        keys = contributions.rounding_keys(seed, kind, requested_sum.round, [home])
    noise = _noise_key(message, requested_sum, participant, home=home, seed=seed)
    words = form.encode(update, weights, values, keys, [noise])[0]
    return _reply(message, requested_sum, participant, words)


def empty_handed(
    message: Message,
    requested_sum: RequestedSum,
    participant: SecurePart | None,
    *,
    home: str,
    seed: int,
) -> Message:
    """Answer for a home that has nothing to add: with zeros that look like any other numbers.

    Args:
        message: The message that asked.
        requested_sum: The sum.
        participant: The home's part in the protocol; None in ideal mode.
        home: Name of the home.
        seed: The plan's seed.
    """
    noise = _noise_key(message, requested_sum, participant, home=home, seed=seed)
    words = empty_words(requested_sum.form, noise)
    return _reply(message, requested_sum, participant, words)


def _reply(
    message: Message,
    requested_sum: RequestedSum,
    participant: SecurePart | None,
    words: NDArray[Any],
) -> Message:
    """Return a home's words in a message, masked where it has joined a sum."""
    if requested_sum.joined is None or participant is None:
        return words_reply(message, words)
    return participant.upload(message, requested_sum.joined, words)


def _noise_key(
    message: Message,
    requested_sum: RequestedSum,
    participant: SecurePart | None,
    *,
    home: str,
    seed: int,
) -> bytes:
    """Return the key of a home's noise: a new one, but in a simulation, whose noise is known."""
    if not _draws(participant):
        kind, number = message.metadata.message_type, requested_sum.round
        return contributions.simulated_noise_keys(seed, kind, number, [home])[0]
    return os.urandom(32)  # gone with its use: nobody can take the noise off again


def _draws(participant: SecurePart | None) -> bool:
    """Whether a home draws its own chances: in a simulation all of them follow from the seed."""
    return participant is not None and not participant.simulated


def _number(record: Mapping[str, Any], name: str) -> int:
    value = record.get(name)
    if not isinstance(value, int):
        raise UpdateError(f"a sum was asked for without its {name}")
    return value
