"""What an agent answers in a sum when its home cannot even begin: zeros, as of any other failure.

Readings that cannot be read, a process that cannot be started: the ClientApp is never asked then,
and cannot join the sum. The agent does, which has the home's keys; so the server is not told.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np
from flwr.app import Message
from numpy.typing import NDArray

from fedhome import secagg
from fedhome.clients.asked_question import AskedQuestion, manifest_of, manifest_terms, scalars_of
from fedhome.clients.failure_reason import REFUSALS, reason_of
from fedhome.clients.secure_sums import blobs_for, check_question, check_sum
from fedhome.errors import LayoutError, UpdateError
from fedhome.flower.messages import (
    APP_RAISED,
    blob_reply,
    content_of,
    failure,
    sum_record,
    values_of,
)
from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import is_sliced
from fedhome.questions.empty_handed import empty_words
from fedhome.questions.question_table import SUMMED
from fedhome.questions.transfer import count_of
from fedhome.secagg.directory import Signed
from fedhome.secagg.form import Form
from fedhome.secagg.manifest import Manifest
from fedhome.wire.layout import Layout


def unable(message: Message, machine: secagg.HomeParty, plan: Plan) -> Message | None:
    """Take part in a sum with nothing to add.

    A question that any home refuses is refused with the same word: by another one a server would
    know from a question that is none which homes cannot begin.

    Args:
        message: The question.
        machine: The home's part in secure sums.
        plan: The home's plan.

    Returns:
        The answer; None where the question asks for no sum, or the plan's homes make none.
    """
    kind, now = message.metadata.message_type, time.time()
    if kind not in SUMMED or sum_record(message) is None or plan.aggregation.mode == "plain":
        return None
    try:
        settings, model = content_of(message)[1], _model_of(message)
        question = AskedQuestion(kind, settings, model if model.size else None)
        check_question(question, plan)
        data, scalars = manifest_of(message), scalars_of(question, plan)
        manifest = Manifest.from_bytes(Signed.from_bytes(data, most=Manifest.MOST + 128).body)
        terms = manifest_terms(question, _AnyLayout(manifest.form.layout.hex()))
        joined = machine.join(data, now=now, **terms)
        elements = _elements(question, joined.manifest.form, model.size, plan)
        check_sum(joined.manifest, question, scalars, elements, plan)
        upload = joined.upload(empty_words(joined.manifest.form))
        return blob_reply(message, blobs_for(machine, upload, now=now))
    except REFUSALS as error:
        return failure(message, reason_of(error), APP_RAISED)


class _AnyLayout(NamedTuple):
    """Stands for the layout of a model that nobody could build: its hash is the sum's."""

    hash: str


def _elements(question: AskedQuestion, form: Form, size: int, plan: Plan) -> int:
    """Return how many numbers of an update a question adds up; a shell's are known to the worker.

    It has no more than the model: zeros without end would take the agent's memory.

    Args:
        question: What is asked.
        form: What lies in the vector.
        size: Numbers of the model.
        plan: The home's plan.
    """
    if not SUMMED[question.kind].update:
        return 0
    if is_sliced(plan):
        return min(max(1, form.elements), size)
    return count_of(plan, Layout(("model",), ((size,),)), question.settings)


def _model_of(message: Message) -> NDArray[np.float32]:
    """Return the model that came, float32 ``[size]``; empty where none did.

    Raises:
        LayoutError: It has no numbers.
        UpdateError: It is none.
    """
    arrays = list(content_of(message)[0].values())
    flat = values_of(arrays[0]) if arrays else np.zeros(0, np.float32)
    if arrays and flat.ndim == 1 and not flat.size:
        raise LayoutError("a model came that has no numbers")
    if flat.dtype != np.float32 or flat.ndim != 1 or not np.isfinite(flat).all():
        raise UpdateError("a model came that is none")
    return flat
