"""A server that tampers with checks of shares gets nobody blamed, no key shown and no share told.

Homes and members here are honest. The server is not: it shows members what it likes, keeps their
signed answers, and puts disputes together from them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedhome.errors import BundleError, SecAggError
from fedhome.secagg import Bundle, ShareChecks, row_checks
from fedhome.secagg.bundle import ROW_BYTES
from fedhome.secagg.seals import Seals
from fedhome.secagg.shamir import PRIME
from fedhome.secagg.share_checks import (
    ERASED,
    FOUND_BYTES,
    HEAD_BYTES,
    WRONG,
    CheckAnswer,
    CheckRequest,
    Dispute,
    foretold,
)
from fedhome.secagg.share_keys import PERIOD_S
from fedhome.secagg.sharing import CHECKS, SHARE_NUMBERS, VALUE_BYTES, factors_of
from helpers.examples import share_of
from helpers.secagg_attacker import refused, weaken
from helpers.secagg_world import NOW, World

MEMBER = 2  # of the committee: whom the server asks
LATER = NOW + 2 * PERIOD_S


class Scene:
    """Six honest homes, all of them members, and three bundles: two of one home."""

    def __init__(self) -> None:
        self.world = World.of(6, bundles=0)
        self.member = self.world.directory.members[MEMBER]
        first, second = [home for home in self.world.homes if home != self.member][:2]
        makers = (first, first, second)
        self.bundles = [Bundle.from_bytes(self.world.bundle(home)) for home in makers]
        self.request = CheckRequest.of(self.bundles, MEMBER)

    def answer(self, request: CheckRequest, *, now: float = NOW) -> CheckAnswer:
        asked = self.world.homes[self.member].check(request.to_bytes(), now=now)
        return CheckAnswer.from_bytes(asked)

    def blamed(self, answer: CheckAnswer) -> list[Dispute]:
        """Return the disputes that stand, of all that the server can make of an answer."""
        found = []
        for bundle in self.bundles:
            for place in range(len(answer.asked) // 32 + 1):
                dispute = Dispute(bundle=bundle, answer=answer, place=place)
                stands = dispute.stands(self.world.directory, verify=self.world.verify)
                found += [dispute] if stands else []
        return found

    def lie(self, **changes: Any) -> Dispute:
        """Return what a member that works for the server says of the first bundle."""
        told = replace(self.answer(CheckRequest.of(self.bundles[:1], MEMBER)), values=WRONG)
        told = replace(told, **changes)
        told = replace(told, signature=self.world.keys[self.member].sign(told.statement))
        return Dispute(bundle=self.bundles[0], answer=told, place=0)


def _head(request: CheckRequest, place: int, column: int, value: bytes) -> CheckRequest:
    """Return a request with another value of 32 bytes in one of a bundle's columns."""
    start = place * HEAD_BYTES + 32 * column
    heads = request.heads[:start] + value + request.heads[start + len(value) :]
    return replace(request, heads=heads)


def _swap(data: bytes, size: int, one: int, other: int) -> bytes:
    rows = [data[n : n + size] for n in range(0, len(data), size)]
    rows[one], rows[other] = rows[other], rows[one]
    return b"".join(rows)


TAMPERED: list[tuple[str, Callable[[Scene, CheckRequest], CheckRequest]]] = [
    ("another public key", lambda _, r: _head(r, 0, 0, b"x" * 32)),
    ("another commitment", lambda _, r: _head(r, 0, 1, b"x" * 32)),
    ("another hash of the shares", lambda _, r: _head(r, 0, 2, b"x" * 32)),
    ("another hash of the proof", lambda _, r: _head(r, 0, 3, b"x" * 32)),
    ("another signature", lambda _, r: _head(r, 0, 4, bytes(64))),
    ("the hash of another bundle's shares", lambda s, r: _head(r, 0, 2, s.bundles[1].dealt)),
    ("the hash of another bundle's proof", lambda s, r: _head(r, 0, 3, s.bundles[1].proof_hash)),
    ("another serial", lambda _, r: replace(r, serials=(9, *r.serials[1:]))),
    ("serials swapped", lambda _, r: replace(r, serials=(2, 1, 1))),
    ("homes swapped", lambda _, r: replace(r, homes=(r.homes[2], r.homes[1], r.homes[0]))),
    ("no home of the fleet", lambda _, r: replace(r, homes=("h99", *r.homes[1:]))),
    ("heads swapped", lambda _, r: replace(r, heads=_swap(r.heads, HEAD_BYTES, 0, 1))),
    ("rows of one home swapped", lambda _, r: replace(r, rows=_swap(r.rows, ROW_BYTES, 0, 1))),
    ("rows of two homes swapped", lambda _, r: replace(r, rows=_swap(r.rows, ROW_BYTES, 0, 2))),
    (
        "another member's row",
        lambda s, r: replace(r, rows=s.bundles[0].row(MEMBER + 1) + r.rows[ROW_BYTES:]),
    ),
    ("a row of zeros", lambda _, r: replace(r, rows=bytes(ROW_BYTES) + r.rows[ROW_BYTES:])),
    ("a row's nonce", lambda _, r: replace(r, rows=_flip(r.rows, 0))),
    ("a row's name of the key", lambda _, r: replace(r, rows=_flip(r.rows, 12))),
    ("a row's key", lambda _, r: replace(r, rows=_flip(r.rows, 20))),
    ("a row's share", lambda _, r: replace(r, rows=_flip(r.rows, 60))),
    ("a row's tag", lambda _, r: replace(r, rows=_flip(r.rows, ROW_BYTES - 1))),
]


OF_THE_SAME_ROW = {
    "another hash of the proof",
    "the hash of another bundle's proof",
    "another signature",
}


def _flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


# --- honest homes and members are never blamed


@pytest.mark.long
@pytest.mark.parametrize(("what", "tamper"), TAMPERED)
def test_a_server_that_tampers_gets_nobody_blamed(
    what: str, tamper: Callable[[Scene, CheckRequest], CheckRequest]
) -> None:
    scene = Scene()
    directory, world = scene.world.directory, scene.world
    answer = scene.answer(tamper(scene, scene.request))
    # The first bundle is the one that was tampered with: of it nothing was told.
    assert answer.value(0) in (ERASED, WRONG), what
    assert scene.blamed(answer) == []
    # Nor does the server's own machine take such an answer for one about what it asked.
    checks, data = ShareChecks(directory), answer.to_bytes()
    checks.requests(scene.bundles)
    if what in OF_THE_SAME_ROW:
        checks.receive(scene.member, data)
        assert not checks.found_right(scene.bundles[0].home, 1, scene.member)
    else:
        refused(BundleError, "check", lambda: checks.receive(scene.member, data))
    assert (checks.liars, checks.cheats, checks.disputes()) == (set(), set(), [])
    # No home shows a key because of it.
    for bundle in scene.bundles:
        for place in range(3):
            dispute = Dispute(bundle=bundle, answer=answer, place=place).to_bytes()
            refused(
                BundleError,
                "dispute",
                lambda: world.homes[bundle.home].show_key(dispute, now=NOW),  # noqa: B023
            )
    # What is asked without tampering is found right as before.
    assert scene.blamed(scene.answer(scene.request)) == []


@settings(max_examples=share_of(60), deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1 << 12), st.integers(1, 255)), min_size=1, max_size=4))
def test_whatever_bytes_a_member_is_shown_its_answer_blames_nobody(
    flips: list[tuple[int, int]],
) -> None:
    data = bytearray(SCENE.request.to_bytes())
    for at, by in flips:
        data[at % len(data)] ^= by
    try:
        reply = SCENE.world.homes[SCENE.member].check(bytes(data), now=NOW)
    except SecAggError:
        return
    assert SCENE.blamed(CheckAnswer.from_bytes(reply)) == []


SCENE = Scene()


def test_an_answer_that_is_replayed_counts_for_its_own_bundle_alone() -> None:
    scene = Scene()
    old = scene.answer(CheckRequest.of(scene.bundles[:1], MEMBER)).to_bytes()
    checks = ShareChecks(scene.world.directory)
    checks.requests(scene.bundles[1:])
    refused(BundleError, "check", lambda: checks.receive(scene.member, old))
    checks.requests(scene.bundles[:1])
    checks.receive(scene.member, old)
    refused(BundleError, "check", lambda: checks.receive(scene.member, old))  # it was answered
    assert checks.found_right(scene.bundles[0].home, 1, scene.member)
    assert not checks.found_right(scene.bundles[0].home, 2, scene.member)
    other = scene.world.directory.members[MEMBER + 1]
    again = ShareChecks(scene.world.directory)
    again.requests(scene.bundles)
    refused(BundleError, "check", lambda: again.receive(other, old))  # another member's


def test_an_answer_that_was_altered_on_the_way_is_refused() -> None:
    scene = Scene()
    answer = scene.answer(scene.request)
    checks = ShareChecks(scene.world.directory)
    checks.requests(scene.bundles)
    for changed in (
        replace(answer, values=_flip(answer.values, 0)),
        replace(answer, values=answer.values[:-FOUND_BYTES]),
        replace(answer, asked=answer.asked[:-1]),
        replace(answer, asked=_flip(answer.asked, 0)),
        replace(answer, signature=bytes(64)),
        replace(answer, directory=b"d" * 32),
        replace(answer, member=scene.world.directory.members[MEMBER + 1]),
        replace(answer, member="h99"),
    ):
        data = changed.to_bytes()
        refused(BundleError, "check", lambda: checks.receive(changed.member, data))  # noqa: B023
    assert (checks.liars, checks.cheats, checks.disputes()) == (set(), set(), [])


def test_who_is_asked_when_the_hours_are_over_blames_nobody() -> None:
    scene = Scene()
    answer = scene.answer(scene.request, now=LATER)
    assert answer.values == ERASED * 3
    checks = ShareChecks(scene.world.directory)
    checks.requests(scene.bundles)
    checks.receive(scene.member, answer.to_bytes())
    assert (checks.liars, checks.cheats, checks.disputes()) == (set(), set(), [])
    assert not checks.found_right(scene.bundles[0].home, 1, scene.member)
    assert scene.member in checks.requests(scene.bundles)  # the question stands
    assert scene.blamed(answer) == []


@pytest.mark.parametrize("drawn_anew", [False, True])
def test_a_member_whose_clock_ran_ahead_and_was_set_back_is_no_liar(drawn_anew: bool) -> None:
    scene = Scene()
    member = scene.world.homes[scene.member]
    member.forget(NOW + 10 * PERIOD_S)
    if drawn_anew:
        member.share_key(now=NOW)  # another one, of the same period
    answer = scene.answer(scene.request)
    assert answer.values == ERASED * 3
    assert scene.blamed(answer) == []


def test_a_request_whose_columns_do_not_fit_is_refused() -> None:
    scene = Scene()
    for changed in (
        replace(scene.request, serials=(1, 2)),
        replace(scene.request, homes=scene.request.homes[:2]),
        replace(scene.request, heads=scene.request.heads[:-1]),
        replace(scene.request, rows=scene.request.rows + b"x"),
    ):
        refused(BundleError, "check", lambda: scene.answer(changed))  # noqa: B023 - called at once


# --- a home shows a key to who signed that this very share is wrong, and to nobody else


def test_a_home_shows_a_key_only_for_a_signed_complaint_about_that_row() -> None:
    scene = Scene()
    world, home = scene.world, scene.bundles[0].home
    keys, party = world.keys, world.homes[home]
    sound = scene.lie()
    party.show_key(sound.to_bytes(), now=NOW)
    right = foretold(scene.bundles[0], world.directory, MEMBER)
    answer, other = sound.answer, world.directory.members[MEMBER + 1]
    outsider = replace(answer, member="h99")
    for changed in (
        scene.lie(values=right),  # it says that it is right
        scene.lie(values=ERASED),  # or that it cannot say
        scene.lie(asked=b"x" * 32),
        scene.lie(asked=b"", values=b""),
        scene.lie(directory=b"d" * 32),
        scene.lie(member=other),  # signed by one member, in another's name
        replace(
            sound, answer=replace(answer, values=bytes(FOUND_BYTES))
        ),  # another word than it signed
        replace(sound, answer=replace(answer, signature=bytes(64))),
        replace(sound, answer=replace(answer, signature=keys[other].sign(answer.statement))),
        replace(sound, answer=replace(outsider, signature=keys[home].sign(outsider.statement))),
        replace(sound, place=1),
        replace(sound, bundle=scene.bundles[1]),  # of the same home
        replace(sound, bundle=replace(scene.bundles[0], proof=scene.bundles[1].proof)),
        replace(sound, bundle=replace(scene.bundles[0], shares=scene.bundles[1].shares)),
        replace(sound, bundle=replace(scene.bundles[0], signature=bytes(64))),
    ):
        data = changed.to_bytes()
        refused(BundleError, "dispute", lambda: party.show_key(data, now=NOW))  # noqa: B023
    data = sound.to_bytes()
    stranger = next(one for one in world.homes if one not in (home, scene.member))
    refused(BundleError, "dispute", lambda: world.homes[stranger].show_key(data, now=NOW))
    refused(BundleError, "erased", lambda: party.show_key(data, now=LATER))


def test_a_key_that_is_shown_tells_nothing_of_what_other_members_got() -> None:
    scene = Scene()
    shown = scene.world.homes[scene.bundles[0].home].show_key(scene.lie().to_bytes(), now=NOW)
    secrets = set(scene.world.homes[scene.bundles[0].home].state.periods.values())
    assert not any(secret in shown for secret in secrets)
    rows = [scene.bundles[0].row(n)[16:48] for n in range(6)]
    assert len(set(rows)) == 6  # the home has another key for each member


# --- for one bundle, one set of factors


def test_a_server_gets_values_for_no_other_factors_and_would_have_the_share_with_four(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = Scene()
    bundle, row = scene.bundles[0], CheckRequest.of(scene.bundles[:1], MEMBER)
    requests = [_head(row, 0, 2, bytes([n]) * 32) for n in range(4)]
    told = [scene.answer(request).values for request in requests]
    assert told == [ERASED] * 4
    assert scene.answer(row).values == foretold(bundle, scene.world.directory, MEMBER)

    signed = "entry is None or not verify(entry.identity, head.signature, statement)"
    weaken(monkeypatch, row_checks._Heads, "of", signed, "entry is None")
    factors, values = [], []
    for request in requests:
        dealt = request.heads[64:96]
        factors.append(factors_of(bundle.head.dealt_statement(scene.world.directory.hash, dealt)))
        reply = scene.answer(request).values
        values.append(np.frombuffer(reply[:VALUE_BYTES], "<u4").reshape(2, CHECKS))
    secrets = scene.world.homes[scene.member].state.periods
    bound = bundle.head.associated_data(scene.world.directory.hash)
    found = Seals(scene.world.keys[scene.member], scene.world.directory).open_all(
        secrets, [(bundle.home, bound)], bundle.row(MEMBER)
    )
    assert found.why == [None]
    for secret in range(2):
        rows = [
            [*map(int, factors[n][secret, check]), *_unit(check), int(values[n][secret, check])]
            for n in range(4)
            for check in range(CHECKS)
        ]
        assert _solved(rows) == found.shares[0, secret].tolist()
        # Three answers are 12 equations for 13 numbers.
        assert _solved(rows[: 3 * CHECKS]) is None


def _unit(check: int) -> list[int]:
    return [int(number == check) for number in range(CHECKS)]


def _solved(rows: list[list[int]]) -> list[int] | None:
    """Return the one solution of linear equations over the field; None if there are more."""
    left = [row.copy() for row in rows]
    for column in range(SHARE_NUMBERS):
        pivot = next((row for row in left[column:] if row[column]), None)
        if pivot is None:
            return None
        left.remove(pivot)
        scale = pow(pivot[column], -1, PRIME)
        pivot = [number * scale % PRIME for number in pivot]
        left = [
            [(a - row[column] * b) % PRIME for a, b in zip(row, pivot, strict=True)] for row in left
        ]
        left.insert(column, pivot)
    assert not any(any(row) for row in left[SHARE_NUMBERS:])
    return [row[-1] for row in left[:SHARE_NUMBERS]]
