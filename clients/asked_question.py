"""What a message asks of a home, and what the manifest of its sum must say of that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, TypedDict

import numpy as np
from flwr.app import Message
from numpy.typing import NDArray

from fedhome.errors import ManifestError
from fedhome.flower.messages import content_of, read_flat, sum_record
from fedhome.plan.settings import Plan
from fedhome.questions.question_table import summed
from fedhome.questions.settings import SHELL, settings_hash
from fedhome.secagg.scalars import Scalar
from fedhome.secagg.shell_roster import purpose_of
from fedhome.wire.layout import Layout, model_hash


class AskedQuestion(NamedTuple):
    """What a message asked of a home: all that it acts on.

    Args:
        kind: Type of the message.
        settings: The settings that came, by name.
        start: The parameters that came, float32 ``[size]``; None where none did.
    """

    kind: str
    settings: Mapping[str, Any]
    start: NDArray[np.float32] | None

    @classmethod
    def of(cls, message: Message, layout: Layout) -> AskedQuestion:
        """Read it from a message.

        Raises:
            LayoutError: The parameters are of another model.
            UpdateError: They cannot be read.
        """
        arrays, settings = content_of(message)
        start = read_flat(layout, arrays) if arrays else None
        return cls(message.metadata.message_type, settings, start)


def manifest_of(message: Message) -> bytes:
    """Return the signed manifest that a message brings.

    Raises:
        ManifestError: It brings none.
    """
    record = sum_record(message)
    manifest = None if record is None else record.get("manifest")
    if not isinstance(manifest, bytes):
        raise ManifestError(
            f"a message of type {message.metadata.message_type!r} came without a manifest: this "
            "home takes part in secure sums alone",
            reason="mode",
            hint='set aggregation.mode = "plain" on both sides where nothing has to be kept '
            "from the server",
        )
    return manifest


class ManifestTerms(TypedDict):
    """What a manifest must say, as :meth:`fedhome.secagg.HomeParty.join` takes it."""

    purpose: str
    settings: bytes
    model_hash: bytes
    layout: bytes


class HashedLayout(Protocol):
    """What is known of a layout to whoever has no model of it."""

    @property
    def hash(self) -> str:
        """SHA-256 of its names and shapes, as 64 hexadecimal digits."""


def manifest_terms(question: AskedQuestion, layout: HashedLayout) -> ManifestTerms:
    """Return what the manifest of a question must say; arguments as of `Participant.join`."""
    shell = question.settings.get(SHELL, 0) if summed(question.kind).update else 0
    return {
        "purpose": purpose_of(question.kind.rpartition(".")[2], shell),
        "settings": settings_hash(question.settings),
        "model_hash": bytes(32) if question.start is None else model_hash(question.start),
        "layout": bytes.fromhex(layout.hash),
    }


def scalars_of(question: AskedQuestion, plan: Plan) -> tuple[Scalar, ...]:
    """Return the bounded numbers that a question sums.

    Raises:
        UpdateError: The settings that came cannot be.
    """
    return summed(question.kind).lanes(question.settings, plan.personalise)
