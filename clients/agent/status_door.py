"""Where an agent says how it is, from memory: true also while the disk takes no file."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import asdict

from fedhome.clients.membership.home_folder import AGENT, HomeFolder, HomeStatus
from fedhome.ops.local_answer import LocalAnswer, asked

_log = logging.getLogger("fedhome.agent")


def status_door(home_folder: HomeFolder, status: Callable[[], HomeStatus]) -> LocalAnswer:
    """Return what answers whoever asks how a home's agent is.

    Args:
        home_folder: The home's folder, which this process has locked or is about to lock.
        status: Returns what the agent does.
    """
    return LocalAnswer(
        home_folder.path / AGENT, lambda: json.dumps(asdict(status())).encode(), _log
    )


def asked_status(home_folder: HomeFolder) -> HomeStatus | None:
    """Return what a home's agent says of itself; None where none answers.

    Args:
        home_folder: The home's folder.
    """
    try:
        return HomeStatus(**json.loads(asked(home_folder.path / AGENT)))
    except (ValueError, TypeError):
        return None
