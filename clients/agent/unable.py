"""What an agent answers in a sum when its home cannot even begin: zeros, as of any other failure.

Readings that cannot be read, a process that cannot be started: the ClientApp is never asked then,
and cannot join the sum. The agent does, which has the home's keys; so the server is not told.
"""

from __future__ import annotations

import logging
import time
from typing import NamedTuple

import numpy as np
from flwr.app import Message
from numpy.typing import NDArray

from fedhome import secagg
from fedhome.clients.agent.known_model import KnownModel, manifest_in, sliced_layout
from fedhome.clients.asked_question import (
    AskedQuestion,
    HashedLayout,
    manifest_of,
    manifest_terms,
    scalars_of,
)
from fedhome.clients.failure_reason import REFUSALS, reason_of
from fedhome.clients.secure_sums import blobs_for
from fedhome.clients.sum_checks import check_question, check_sum
from fedhome.errors import FedHomeError, LayoutError, UpdateError
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
from fedhome.questions.shells import shell_layout
from fedhome.questions.transfer import count_of
from fedhome.secagg.form import Form
from fedhome.wire.layout import Layout, key_of

_log = logging.getLogger("fedhome.agent")


def unable(
    message: Message, machine: secagg.HomeParty, plan: Plan, known: KnownModel | None = None
) -> Message | None:
    """Take part in a sum with nothing to add.

    A question that any home refuses is refused with the same word: by another one a server would
    know from a question that is none which homes cannot begin.

    Args:
        message: The question.
        machine: The home's part in secure sums.
        plan: The home's plan.
        known: What the agent knows of the home's model; None: its worker has accepted none yet.

    Returns:
        The answer; None where the question asks for no sum, or the plan's homes make none, or the
        agent cannot tell what the plan's sums are: then the home's own failure is all there is.
    """
    kind = message.metadata.message_type
    if kind not in SUMMED or sum_record(message) is None or plan.aggregation.mode == "plain":
        return None
    try:
        return _uploaded(message, machine, plan, known)
    except REFUSALS as error:
        return failure(message, reason_of(error), APP_RAISED)
    except FedHomeError as error:  # such as a stage of transfer that is not installed
        _log.error("the home takes no part in a sum: %s", error)
        return None


def _uploaded(
    message: Message, machine: secagg.HomeParty, plan: Plan, known: KnownModel | None
) -> Message:
    now, settings = time.time(), content_of(message)[1]
    key, model, whole = _model_of(message, plan, known)
    question = AskedQuestion(message.metadata.message_type, settings, model if key else None)
    check_question(question, plan)
    data, scalars = manifest_of(message), scalars_of(question, plan)
    told = _LayoutHash(manifest_in(message).form.layout.hex())
    shell: Layout | None = None
    if SUMMED[question.kind].update and is_sliced(plan):
        shell = None if whole is None else shell_layout(plan, whole, settings)
        layout: HashedLayout = shell or told
    else:
        layout = whole or _model_layout(told, key, known)
    joined = machine.join(data, now=now, **manifest_terms(question, layout))
    form = joined.manifest.form
    elements = _elements(question, form, model.size, plan) if shell is None else shell.size
    check_sum(joined.manifest, question, scalars, elements, plan)
    return blob_reply(message, blobs_for(machine, joined.upload(empty_words(form)), now=now))


class _LayoutHash(NamedTuple):
    """Stands for the layout of a model that the agent does not build."""

    hash: str


def _model_layout(told: _LayoutHash, key: str, known: KnownModel | None) -> _LayoutHash:
    """Return what is known of the home's model, or what a manifest says of it.

    Args:
        told: What the manifest says.
        key: Name under which the model came; empty: none did.
        known: What the agent knows.

    Raises:
        LayoutError: What it says is not of the model that came.
    """
    if known is not None and known.hash:
        return _LayoutHash(known.hash)
    if key and key != key_of(told.hash):
        raise LayoutError(f"a sum was asked for about another model than {key}, which came")
    return told


def _elements(question: AskedQuestion, form: Form, size: int, plan: Plan) -> int:
    """Return how many numbers of an update a question adds up.

    Of a shell that the worker alone knows it takes what the sum says, up to the model's size: zeros
    without end would take the agent's memory.

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


def _model_of(
    message: Message, plan: Plan, known: KnownModel | None
) -> tuple[str, NDArray[np.float32], Layout | None]:
    """Return the model that came: its name, its numbers ``[size]``, its layout if that is known.

    Args:
        message: The question; where it brings no model, the name is empty.
        plan: The home's plan.
        known: What the agent knows of the home's model.

    Raises:
        LayoutError: It is another than the home's, or cannot be any home's.
        UpdateError: Its numbers are none.
    """
    arrays = {key: values_of(array) for key, array in content_of(message)[0].items()}
    if not arrays:
        return "", np.zeros(0, np.float32), None
    key, flat = next(iter(arrays.items()))
    if len(arrays) > 1 or flat.ndim != 1 or not flat.size:
        raise LayoutError("a model came that is not one row of numbers")
    if known is not None:
        known.check(key, flat.size)
    whole = sliced_layout(plan, key, flat.size)
    if flat.dtype != np.float32 or not np.isfinite(flat).all():
        raise UpdateError("what came as a model is none")
    return key, flat, whole
