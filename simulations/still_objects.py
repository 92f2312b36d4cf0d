"""What was there before a run's rounds is not searched for garbage in each of them.

Python's collector looks through all objects now and then, those of torch and Flower too: 0.15 s a
time, as much as a thousand small homes take to learn in two rounds.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def still_objects() -> Iterator[None]:
    """Leave the objects that are there now out of the collector's searches, for a while.

    Nothing is changed where somebody has done so already: they would be let in again.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
