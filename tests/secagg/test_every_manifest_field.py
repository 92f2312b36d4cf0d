"""Whatever two homes were told differently, in any field of a manifest: their masks differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest

from fedhome.errors import ManifestError
from fedhome.secagg import FixedPoint, Form, HomeParty, Manifest
from helpers.secagg_attacker import weaken
from helpers.secagg_world import Sum, World

Change = Callable[[Manifest], Manifest]


def _to(**values: Any) -> Change:
    return lambda told: replace(told, **values)


def _by(name: str, change: Callable[[Any], Any]) -> Change:
    return lambda told: replace(told, **{name: change(getattr(told, name))})


def _form(**values: Any) -> Change:
    return _by("form", lambda form: replace(form, **values))


def _fixed(**values: Any) -> Change:
    return _by("form", lambda form: replace(form, fixed=replace(form.fixed, **values)))


def _flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


CHANGES: dict[str, Change] = {
    "directory": _to(directory=b"x" * 32),
    "epoch": _to(epoch=2),
    "run": _to(run=b"x" * 16),
    "turn": _to(turn=9),
    "round": _to(round=9),
    "purpose": _to(purpose="evaluate"),
    "plan": _to(plan=b"x" * 32),
    "settings": _to(settings=b"x" * 32),
    "model_hash": _by("model_hash", _flipped),
    "n_min": _to(n_min=6),
    "a_min": _to(a_min=6),
    "degree": _to(degree=5),
    "tau": _to(tau=3),
    "groups": _to(groups=2),
    "group": _to(group=1),
    "names": _by("names", lambda names: (*names[:-1], "h06")),
    "serials": _by("serials", lambda serials: (*serials[:-1], serials[-1] + 1)),
    "heads": _by("heads", _flipped),
    "expires": _by("expires", lambda expires: expires + 1),
    "release": _to(release=1),
    "release_hash": _to(release_hash=b"x" * 32),
    "form.elements": _form(elements=8),
    "form.layout": _form(layout=b"x" * 32),
    "form.scalars": _form(scalars=()),
    "form.homes": _form(homes=64),
    "form.fixed.bits": _fixed(bits=10),
    "form.fixed.clip": _fixed(clip=0.25),
    "form.fixed.norm": _fixed(norm="l2"),
    "form.fixed.weight_cap": _fixed(weight_cap=49),
}
REFUSED = {"directory", "names", "serials", "heads"}
"""Of what homes have signed themselves."""

WITH_NOISE = {"form.noise"}
"""Of a form with noise more has to fit together: tests/privacy/test_noisy_form.py."""


def test_every_field_that_there_is_is_changed() -> None:
    expected = {one.name for one in fields(Manifest)} - {"form"}
    expected |= {f"form.{one.name}" for one in fields(Form)} - {"form.fixed"}
    expected |= {f"form.fixed.{one.name}" for one in fields(FixedPoint)}
    assert expected == CHANGES.keys() | WITH_NOISE


@pytest.fixture(scope="module")
def asked() -> Sum:
    """A sum over six homes of seven."""
    world = World.of(7)
    return world.draw_up(list(world.homes)[:6])


def _seeds(asked: Sum, home: str, manifest: Manifest) -> set[bytes]:
    """Return the seeds of a home's masks where it looks at nothing but signatures."""
    party = asked.world.homes[home]
    index = manifest.names.index(home)
    secrets = party.state.live[manifest.serials[index]]
    added, subtracted = party._seeds(manifest, asked.world.directory, index, secrets)
    return {*added, *subtracted}


def _told_otherwise(asked: Sum, name: str) -> set[bytes]:
    """Return the seeds of another home, whose manifest differs in one field on the wire."""
    return _seeds(asked, "h01", Manifest.from_bytes(CHANGES[name](asked.manifest).to_bytes()))


def test_homes_that_were_told_the_same_share_a_mask(asked: Sum) -> None:
    """The control."""
    assert _seeds(asked, "h00", asked.manifest) & _seeds(asked, "h01", asked.manifest)


def test_control_of_masks_that_hang_on_keys_alone_homes_told_otherwise_share_one(
    asked: Sum, monkeypatch: pytest.MonkeyPatch
) -> None:
    weaken(monkeypatch, HomeParty, "_seeds", "salt = manifest.digest", "salt = bytes(32)")
    for name in CHANGES.keys() - REFUSED:
        assert _seeds(asked, "h00", asked.manifest) & _told_otherwise(asked, name), name


@pytest.mark.parametrize("name", sorted(CHANGES.keys() - REFUSED))
def test_a_home_that_was_told_otherwise_shares_no_mask(name: str, asked: Sum) -> None:
    assert not _seeds(asked, "h00", asked.manifest) & _told_otherwise(asked, name)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_roster_that_homes_did_not_sign_is_refused(name: str, asked: Sum) -> None:
    with pytest.raises(ManifestError):
        _told_otherwise(asked, name)
