"""The homes' machines of a secure simulation, asked many at a time, by position.

The machines live in this process (here), or in worker processes
(:mod:`.worker_parties`), which hold a share of the homes each and do for them exactly what is
done here. Neither Flower nor torch is imported, so that a worker starts in a moment.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedhome.clients.protocol_answers import answered
from fedhome.errors import BundleError, FedHomeError
from fedhome.secagg import (
    Directory,
    Form,
    HomeEntry,
    HomeParty,
    HomeState,
    JoinedSum,
    Policy,
    Verify,
)
from fedhome.secagg.one_time import OneTime
from fedhome.secagg.workings import ServerWorkings, Workings
from fedhome.simulations.engines.shared_masks import HomeMasks
from fedhome.simulations.engines.shared_reads import KnownKeys, Reading


class AcceptedForm(NamedTuple):
    """What a home read in a manifest that it accepted.

    Args:
        form: What lies in the vector.
        round: Number of the round, which names the rounding.
    """

    form: Form
    round: int


class Numbers(NamedTuple):
    """What one home adds to a sum.

    Args:
        update: What it learnt, float32 ``[1, elements]``; None where the form has no elements.
        weights: Its weight, int64 ``[1]``.
        values: Its bounded numbers, float64 ``[1, scalars]``.
        key: For rounding, 32 bytes.
        noise_key: For its noise, 32 bytes, where the form has noise.
    """

    update: NDArray[np.float32] | None
    weights: NDArray[np.int64]
    values: NDArray[np.float64]
    key: bytes
    noise_key: bytes


class PartyKeys(NamedTuple):
    """What all parties know before they have a directory.

    Args:
        authority: Public key of the fleet's authority.
        policy: What the homes insist on.
    """

    authority: bytes
    policy: Policy


class Party:
    """One home's machine, and the sum that it is in.

    Args:
        home: Its name.
        enrolment: What it knows of the fleet before it has a directory.
        read: How it reads what all homes read alike.
    """

    def __init__(self, home: str, enrolment: PartyKeys, read: Reading) -> None:
        self._keys = KnownKeys.create(home)
        self._keys.known = read.verify
        masks = HomeMasks(read.masks)
        self._drawn: OneTime | None = None
        self._uploaded = False
        self.machine = HomeParty(
            self._keys,
            enrolment.authority,
            policy=read.policy,
            state=HomeState(),
            store=_NullStore(),
            verify=read.verify,
            read_directory=read.directory,
            read_manifest=read.manifest,
            workings=Workings(
                key=read.key,
                agree=masks.agree,
                mask=masks.add,
                draw=self._draw,
                seals=read.seals,
                write=read.write,
                once=read.once,
                read=read.message,
                name_rows=read.name_rows,
                combine=read.combine,
            ),
        )
        self._joined: JoinedSum | None = None

    def entry(self) -> HomeEntry:
        """Return what the directory says of this home."""
        return self._keys.entry()

    def renew(self, directory: bytes) -> None:
        """Accept a directory; see :meth:`fedhome.secagg.HomeParty.renew`."""
        self.machine.renew(directory)

    def answer(self, asked: Mapping[str, bytes]) -> dict[str, bytes]:
        """Answer a question of the protocol; see :mod:`fedhome.clients.protocol_answers`."""
        return answered(asked, self.machine, now=time.time())

    def join(
        self, manifest: bytes, *, purpose: str, settings: bytes, model_hash: bytes, layout: bytes
    ) -> AcceptedForm:
        """Take part in a sum; see :meth:`fedhome.secagg.HomeParty.join`."""
        joined = self._joined = self.machine.join(
            manifest,
            now=time.time(),
            purpose=purpose,
            settings=settings,
            model_hash=model_hash,
            layout=layout,
        )
        return AcceptedForm(joined.manifest.form, joined.manifest.round)

    @property
    def form(self) -> Form | None:
        """What lies in the vector of the sum that this home is in; None: it is in none."""
        return None if self._joined is None else self._joined.manifest.form

    def upload(
        self, numbers: Numbers, words: NDArray[np.unsignedinteger[Any]] | None = None
    ) -> dict[str, bytes]:
        """Return the home's masked words, and keys for the next sum beside them.

        Args:
            numbers: What it adds.
            words: These as words, which are changed; None: they are encoded here.
        """
        if self._joined is None:
            raise BundleError(
                "a home was asked for an upload to a sum that it is not in", reason="used"
            )
        joined, self._joined = self._joined, None
        if words is None:
            words = encoded([numbers], joined.manifest.form)[0]
        sent = {"upload": joined.upload(words)}
        self._uploaded = True
        try:
            sent["bundle"] = self.machine.bundle(now=time.time())
        except BundleError:  # the members have new keys: the server gives them out
            pass
        finally:
            self._uploaded = False
        return sent

    def _draw(self, directory: Directory) -> OneTime:
        """Return secrets for a bundle: those of the last one, where the home was in its sum.

        What they come to with each other home's, and their shares, are then known. That hides
        nothing, as a simulation does not: all homes' keys are in one place. A home that did not
        upload draws new ones, as its key was opened.
        """
        if self._drawn is None or not self._uploaded or self.machine.state.live:
            self._drawn = OneTime.drawn(directory)
        return self._drawn


class Parties(ABC):
    """All homes' machines. A refusal is yielded as its home's response, not raised.

    Ask one question at a time: responses that were not yet read are lost with the next one.
    """

    def entries(self, positions: Sequence[int]) -> list[HomeEntry]:
        """Return what the directory says of some homes."""
        return [_value_or_raise(entry) for entry in self.ask("entry", positions)]

    def renew(self, positions: Sequence[int], directory: bytes) -> None:
        """Let homes accept a directory.

        Raises:
            SecAggError: One does not.
        """
        for answer in self.ask("renew", positions, {"directory": directory}):
            _value_or_raise(answer)

    def join(
        self, positions: Sequence[int], manifest: bytes, expected: Mapping[str, Any]
    ) -> Iterator[AcceptedForm | FedHomeError]:
        """Let homes take part in a sum.

        Args:
            positions: The homes.
            manifest: As the server signed it.
            expected: What the home checks it against: `HomeParty.join`'s ``purpose``,
                ``settings``, ``model_hash`` and ``layout``.
        """
        return self.ask("join", positions, {"manifest": manifest, **expected})

    def upload(
        self, positions: Sequence[int], numbers: Sequence[Numbers]
    ) -> Iterator[dict[str, bytes] | FedHomeError]:
        """Yield what each home sends: ``upload`` and ``bundle``."""
        return self.ask("upload", positions, own=[(one,) for one in numbers])

    def answers(
        self, positions: Sequence[int], asked: Sequence[Mapping[str, bytes]]
    ) -> Iterator[dict[str, bytes] | FedHomeError]:
        """Yield what each home answers to its question of the protocol."""
        return self.ask("answer", positions, own=[(one,) for one in asked])

    @abstractmethod
    def ask(
        self,
        question: str,
        positions: Sequence[int],
        common: Mapping[str, Any] | None = None,
        own: Sequence[tuple[Any, ...]] | None = None,
    ) -> Iterator[Any]:
        """Call a method of :class:`Party` for some homes, and yield each one's answer, in order.

        Args:
            question: Name of the method.
            positions: The homes.
            common: Arguments that are the same for all.
            own: Arguments of each.
        """


class LocalParties(Parties):
    """Machines in this process.

    Args:
        names: Name of the home at each position.
        enrolment: What the homes know of the fleet before they have a directory.
    """

    def __init__(self, names: Mapping[int, str], enrolment: PartyKeys) -> None:
        read = self._read = Reading(enrolment.policy)
        self.verify: Verify = read.verify
        self.parties = {position: Party(name, enrolment, read) for position, name in names.items()}

    @property
    def workings(self) -> ServerWorkings:
        """How a server in this process works things out; ask before the homes write bundles."""
        return self._read.of_server

    def ask(
        self,
        question: str,
        positions: Sequence[int],
        common: Mapping[str, Any] | None = None,
        own: Sequence[tuple[Any, ...]] | None = None,
    ) -> Iterator[Any]:
        """Ask the homes one by one, each when its response is read."""
        if question == "upload" and own:
            own = self._with_words(positions, own)
        for row, position in enumerate(positions):
            try:
                answer = getattr(self.parties[position], question)(
                    *(own[row] if own else ()), **(common or {})
                )
            except FedHomeError as error:
                answer = error
            yield answer

    def _with_words(
        self, positions: Sequence[int], own: Sequence[tuple[Any, ...]]
    ) -> Sequence[tuple[Any, ...]]:
        """Return homes' numbers with their words, if all can be encoded at once."""
        forms = [self.parties[position].form for position in positions]
        if forms[0] is None or any(form is not forms[0] for form in forms):
            return own
        try:
            words = encoded([numbers for (numbers,) in own], forms[0])
        except FedHomeError:  # of one of them: each by itself, so that the others' are heard
            return own
        return [(*numbers, row) for numbers, row in zip(own, words, strict=True)]


def encoded(numbers: Sequence[Numbers], form: Form) -> NDArray[np.unsignedinteger[Any]]:
    """Return what homes add as words, unsigned ``[homes, words]``: each row is its home's alone.

    Args:
        numbers: What each of them adds.
        form: What lies in a vector.

    Raises:
        UpdateError: As of `Form.encode`.
    """
    updates = [one.update for one in numbers if one.update is not None]
    return form.encode(
        np.concatenate(updates) if updates else None,
        np.concatenate([one.weights for one in numbers]),
        np.concatenate([one.values for one in numbers]),
        [one.key for one in numbers],
        [one.noise_key for one in numbers],
    )


class _NullStore:
    """A store for homes that live no longer than their process."""

    def save(self, state: HomeState) -> None:
        """Keep nothing: the home's own state is all there is."""


def _value_or_raise(answer: Any) -> Any:
    if isinstance(answer, FedHomeError):
        raise answer
    return answer
