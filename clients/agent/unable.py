"""What an agent answers in a sum when its home cannot even begin: zeros, as of any other failure.

Readings that cannot be read, a process that cannot be started: the ClientApp is never asked then,
and cannot join the sum. The agent does, which has the home's keys; so the server is not told.
"""

from __future__ import annotations

import time

import numpy as np
from flwr.app import Message
from numpy.typing import NDArray

from fedhome import secagg
from fedhome.clients.asked_question import manifest_of
from fedhome.clients.secure_sums import blobs_for
from fedhome.errors import SecAggError, UpdateError
from fedhome.flower.messages import blob_reply, content_of, sum_record, values_of
from fedhome.questions.empty_handed import empty_words
from fedhome.questions.question_table import SUMMED
from fedhome.questions.settings import settings_hash
from fedhome.secagg.directory import Signed
from fedhome.secagg.manifest import Manifest
from fedhome.wire.layout import model_hash


def unable(message: Message, machine: secagg.HomeParty) -> Message | None:
    """Take part in a sum with nothing to add.

    Args:
        message: The question.
        machine: The home's part in secure sums.

    Returns:
        The answer; None where the question asks for no sum, or for one over more numbers than the
        model has, or the home refuses it or is in it.
    """
    kind, now = message.metadata.message_type, time.time()
    if kind not in SUMMED or sum_record(message) is None:
        return None
    try:
        data = manifest_of(message)
        manifest = Manifest.from_bytes(Signed.from_bytes(data, most=Manifest.MOST + 128).body)
        model = _model_of(message)
        if manifest.form.elements not in (0, model.size):
            return None  # zeros without end would take the agent's memory
        joined = machine.join(
            data,
            now=now,
            purpose=kind.rpartition(".")[2],
            settings=settings_hash(content_of(message)[1]),
            model_hash=model_hash(model) if model.size else bytes(32),
            layout=manifest.form.layout,
        )
        upload = joined.upload(empty_words(manifest.form))
        return blob_reply(message, blobs_for(machine, upload, now=now))
    except (SecAggError, UpdateError):
        return None


def _model_of(message: Message) -> NDArray[np.float32]:
    """Return the model that came, float32 ``[size]``; empty where none did.

    Raises:
        UpdateError: It is none.
    """
    arrays = list(content_of(message)[0].values())
    flat = values_of(arrays[0]) if arrays else np.zeros(0, np.float32)
    if flat.dtype != np.float32 or flat.ndim != 1 or (arrays and not flat.size):
        raise UpdateError("a model came that is none")
    return flat
