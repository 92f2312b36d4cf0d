"""What was there before a run's rounds is not searched for garbage in each of them.

Python's collector looks through all objects now and then, those of torch and Flower too: 0.15 s a
time, as much as a thousand small homes take to learn in two rounds. Those that a round makes are
messages and shares, which end with it and lie in no rings: to look through them after every 700
took a twentieth of a secure round.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_NEW_OBJECTS = 20_000  # that are made before the collector looks through them


@contextmanager
def still_objects() -> Iterator[None]:
    """Leave the objects that are there now out of the collector's searches, for a while.

    It looks through new ones less often, too, unless it was switched off. Nothing is changed where
    somebody has left objects out already: they would be let in again.
    """
    if gc.get_freeze_count():
        yield
        return
    before = gc.get_threshold()
    gc.freeze()
    if before[0]:  # 0: never
        gc.set_threshold(max(before[0], _NEW_OBJECTS), *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
