"""How many connections a front takes: of strangers few, of homes as many as there are files for."""

from __future__ import annotations

import logging

from fedhome.ops.doors import DoorLimits

_OWN_FILES = 256  # descriptors that are none of visitors'
_FILES_A_HOME = 8  # two connections and what follows them, and as many while it comes back
_log = logging.getLogger("fedhome.front")


def limits_for(files: int, homes: int) -> DoorLimits:
    """Return how many connections there may be.

    Args:
        files: Descriptors that this process may have.
        homes: Homes of the fleet.
    """
    limits = DoorLimits()
    strangers = min(limits.strangers, files // 4)
    needed = limits.strangers + _OWN_FILES + _FILES_A_HOME * homes
    if files < needed:
        _log.warning(
            "this account may open %d files, and %d homes need %d: let it open more "
            "(`ulimit -Hn`, LimitNOFILE in a unit)",
            files,
            homes,
            needed,
        )
    # Each connection of a home may have one to the SuperLink.
    known = max(_FILES_A_HOME, (files - strangers - _OWN_FILES) // 2)
    return DoorLimits(strangers=strangers, strangers_each=max(1, strangers // 2), known=known)
