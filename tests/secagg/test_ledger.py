"""What a ledger says of a subject and a day is what its entries say, however it came about."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from fedhome.secagg import Manifest, ledger
from fedhome.secagg.ledger import Ledger, LedgerEntry


def _entry(draw: np.random.Generator) -> LedgerEntry:
    return LedgerEntry(
        subject=bytes([int(draw.integers(4))]) * 32,
        group=int(draw.integers(3)),
        epoch=int(draw.integers(1, 3)),
        manifest=bytes([int(draw.integers(2))]) * 32,
        round=int(draw.integers(9)),
        day=int(draw.integers(3)),
    )


def _asks(subject: int, epoch: int) -> Manifest:
    asked: Any = SimpleNamespace(subject=bytes([subject]) * 32, alike_subjects=(), epoch=epoch)
    return cast("Manifest", asked)


@pytest.mark.parametrize("most", [1, 5, 100])
def test_what_is_looked_up_is_what_the_entries_say(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(ledger, "MOST_ENTRIES", most)
    draw, kept = np.random.default_rng(7), Ledger()
    for _ in range(60):
        kept = kept.with_entry(_entry(draw))
        read = Ledger.from_bytes(kept.to_bytes())
        assert kept == read
        assert {**kept._index.by_day} == {**read._index.by_day}, "no day without entries is kept"
        assert kept._index.by_subject.keys() == read._index.by_subject.keys()
        for day in range(4):
            listed = sum(one.day == day for one in kept)
            assert (kept.on(day), read.on(day)) == (listed, listed)
        for subject in range(5):
            name, entries = bytes([subject]) * 32, [*kept]
            if not kept.was_earlier(name):
                attempts = sum(one.attempts for one in entries if one.subject == name)
                assert (kept.attempts(name), read.attempts(name)) == (attempts, attempts)
            for epoch in (1, 2):
                other = any(one.subject == name and one.epoch != epoch for one in entries)
                asked = _asks(subject, epoch)
                assert kept.in_another_epoch(asked) == read.in_another_epoch(asked) == other
