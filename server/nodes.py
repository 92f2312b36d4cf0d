"""Which node is which home: claims that homes signed, kept as they came.

A claim is checked against the directory whenever it is read, so that nobody who can write this
folder, and no earlier directory, decides who gets a home's messages.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from fedhome.errors import SecAggError
from fedhome.flower_link import Control
from fedhome.joining import Claim, installed_app
from fedhome.secagg import disk
from fedhome.secagg.directory import Directory

_ENDING = ".claim"


class Nodes:
    """The homes' nodes.

    Args:
        folder: Where the claims lie.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def claims(self, directory: Directory) -> Iterator[Claim]:
        """Yield the claims of homes of a directory; what is none is passed over."""
        for path in sorted(self._folder.glob(f"*{_ENDING}")):
            try:
                claim = Claim.verify(disk.read(path), directory)
            except SecAggError:
                continue
            if path == self._path(claim.home):
                yield claim

    def accept(self, data: bytes, directory: Directory, control: Control) -> tuple[Claim, int]:
        """Register the node of a home, in place of an earlier one of the same home.

        Returns:
            The claim, and the node's number.

        Raises:
            SecAggError: No claim that holds now.
        """
        claim = Claim.verify(data, directory)
        claim.check_time()
        claim.check_release(installed_app()[1])
        known = {one.home: one for one in self.claims(directory)}
        before = known.get(claim.home)
        states = {state.key: state for state in control.nodes()}
        if before is not None and before.node_key != claim.node_key:
            if before.time > claim.time:
                return before, states[before.node_key].node  # a replay of an older claim
            if old := states.get(before.node_key):
                control.unregister(old.node)
        # Kept before it counts: a crash in between leaves a claim whose node is unknown yet.
        disk.put(self._path(claim.home), data)
        state = states.get(claim.node_key)
        return claim, state.node if state else control.register(claim.node_key)

    def _path(self, home: str) -> Path:
        return self._folder / f"{hashlib.sha256(home.encode()).hexdigest()}{_ENDING}"
