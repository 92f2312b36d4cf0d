"""What an agent knows of the model that its worker learns with; it builds none itself.

A home that cannot begin has to refuse a question about another model in the word that any home
would. What its worker has accepted once, it needs no worker to tell from something else: also after
the agent was started anew, so it lies in ``known.fh`` of the home's folder.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Annotated, NamedTuple

from flwr.app import Message

from fedhome.clients.asked_question import manifest_of
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.errors import FedHomeError, LayoutError, StateError
from fedhome.flower.messages import content_of, sum_record, values_of
from fedhome.learning.tasks import task_of
from fedhome.plan.protocol import terms_hash
from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import is_declared, is_sliced
from fedhome.questions.question_table import SUMMED
from fedhome.secagg.directory import Signed
from fedhome.secagg.manifest import Manifest
from fedhome.store import checksummed
from fedhome.wire.codec import Digest, Id, number, octets
from fedhome.wire.codec import Message as Stored
from fedhome.wire.layout import Layout

KNOWN = "known.fh"
_log = logging.getLogger("fedhome.agent")


class KnownModel(NamedTuple):
    """A model that the worker has taken for its own.

    Args:
        key: Name under which its numbers travel.
        size: How many they are.
        hash: SHA-256 of its layout, 64 hexadecimal digits; empty: no question has told it.
    """

    key: str
    size: int
    hash: str = ""

    def check(self, key: str, size: int) -> None:
        """Refuse another model.

        Raises:
            LayoutError: It has another name or size.
        """
        if (key, size) != (self.key, self.size):
            raise LayoutError(
                f"a model came as {key} of {size} numbers, but {self.key} of {self.size} was "
                "expected",
                hint="the home and the server must build the model from the same plan",
            )


@dataclass(frozen=True, kw_only=True)
class _StoredModel(Stored, label="known-model", most=1024):
    plan: Digest  # of what binds the home: another plan's model is another one
    key: Id
    size: Annotated[int, number(least=1)]
    hash: Annotated[bytes, octets(most=32)]


def remembered_model(home_folder: HomeFolder, plan: Plan) -> KnownModel | None:
    """Return what was known of the model before the agent was started; None: nothing.

    Args:
        home_folder: The home's folder.
        plan: The home's plan.
    """
    path = home_folder.path / KNOWN
    if not path.exists():
        return None
    try:
        stored = checksummed.read(path, _StoredModel)
    except StateError as error:
        _log.warning(
            "%s: until this home has learnt again, a server can find out whether it is able to; "
            "there is nothing to do",
            error.message,
        )
        return None
    if stored.plan != terms_hash(plan):
        return None
    return KnownModel(stored.key, stored.size, stored.hash.hex())


def remember_model(home_folder: HomeFolder, plan: Plan, known: KnownModel) -> None:
    """Keep what is known of the model for the agent that is started next.

    Args:
        home_folder: The home's folder.
        plan: The home's plan.
        known: What is known.
    """
    stored = _StoredModel(
        plan=terms_hash(plan), key=known.key, size=known.size, hash=bytes.fromhex(known.hash)
    )
    try:
        checksummed.put(home_folder.path / KNOWN, stored)
    except StateError as error:
        _log.warning("the name and size of the home's model were not saved: %s", error)


def manifest_in(message: Message) -> Manifest:
    """Return the manifest of a message, whose signature is not checked.

    Raises:
        ManifestError: The message has none.
        WireError: It is none.
    """
    data = manifest_of(message)
    return Manifest.from_bytes(Signed.from_bytes(data, most=Manifest.MOST + 128).body)


def learnt(message: Message, plan: Plan, known: KnownModel | None) -> KnownModel | None:
    """Return what is known of the model after the worker has accepted a question.

    Args:
        message: The question, which the home took part in.
        plan: The home's plan.
        known: What was known before.
    """
    kind, record = message.metadata.message_type, sum_record(message)
    if kind not in SUMMED or record is None or "manifest" not in record:
        return known
    for key, array in content_of(message)[0].items():
        if known is None or known.key != key:  # or its inputs are others than they were
            known = KnownModel(key, values_of(array).size)
    if known is not None and not known.hash and not (is_sliced(plan) and SUMMED[kind].update):
        known = known._replace(hash=manifest_in(message).form.layout.hex())
    return known


def sliced_layout(plan: Plan, key: str, size: int) -> Layout | None:
    """Return the layout of a model that is cut into slices.

    That of a multilayer perceptron follows from the plan and the width of the input, and that from
    the number of parameters.

    Args:
        plan: The home's plan.
        key: Name under which the model came.
        size: How many numbers it has.

    Returns:
        None where the worker alone knows it: of a plan without slices, of a module of a user's own,
        or where the plan does not say how many outputs there are.

    Raises:
        LayoutError: No perceptron of the plan has this name and this size.
    """
    if not is_sliced(plan) or is_declared(plan):
        return None
    from fedhome.models.slicing import slices_of  # noqa: PLC0415 - a plan without slices needs none

    try:
        outputs = task_of(plan).outputs
    except FedHomeError:
        return None
    one, two = (slices_of(plan, features, outputs).layout.size for features in (1, 2))
    features = 1 + max(0, size - one) // (two - one)
    whole = slices_of(plan, features, outputs).layout
    KnownModel(whole.key, whole.size).check(key, size)
    return whole
