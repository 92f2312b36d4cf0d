"""One-time keys serve in the place where they were made: a copy of a home's folder has none.

Two copies of a folder, as of a card that was copied or a machine that was cloned, hold the same
keys. If a server asked both to join one sum, their vectors would have the same masks, and the
difference of what they send would be that of their updates. A copy cannot know whether the other
one is there; but it can know that it is one.
"""

from __future__ import annotations

import logging

from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.fleet.state_file import FileStore

_log = logging.getLogger("fedhome.agent")


def forget_keys_of_elsewhere(home_folder: HomeFolder, store: FileStore) -> None:
    """Erase one-time keys that may also lie elsewhere; the home makes others when it is asked.

    They may where the folder is a copy. A machine that was started anew cannot tell itself from a
    copy of its card: then one sum at most goes on without this home. Call it before
    :meth:`.HomeFolder.node_key`, and before anything reads the state.

    Args:
        home_folder: The home's folder.
        store: Its state.

    Raises:
        StateError: The state cannot be saved.
    """
    if not home_folder.starts_are_told:
        _log.warning(
            "this system does not tell one start of its machine from another, so a copy of this "
            "folder on another one could use the same one-time keys: run no copy of it, and "
            "restore it from no backup; enrol the home anew instead"
        )
    if store.state.live and home_folder.is_elsewhere:
        store.save(store.state.without_bundles())
        _log.warning(
            "this folder is a copy, or its machine was started anew: its earlier one-time keys "
            "are erased; the home makes others, and may miss one sum"
        )
