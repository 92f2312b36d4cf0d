"""Many homes' agents as threads of one process, for trying a large fleet on a small machine.

Each is a home as any other, with keys, a folder and a connection of its own; only its work is
done in this process, where all homes share one torch and learn one after the other.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path

import torch
from flwr.app import Message

from fedhome import secagg
from fedhome.clients.agent.resident import Agent
from fedhome.clients.agent.work import InProcess
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.fleet.state_file import FileStore
from fedhome.ops.plain_log import log_plainly
from fedhome.ops.processes import on_stop

BEGINS = "%d homes begin"
"""What is logged when all of them are there, and join."""

_SWITCH_S = 0.1
"""How long one thread works before another asks for its turn: each that waits for it asks so often,
and a thousand of them that ask every 5 ms, as is usual, leave no time for the work itself."""

_log = logging.getLogger("fedhome.light_agents")


class SerialWork(InProcess):
    """Work in this process, of one home at a time.

    Args:
        home_folder: The home's folder.
        machine: The home's part in secure sums.
        work_lock: Held while a home works.
    """

    def __init__(
        self, home_folder: HomeFolder, machine: secagg.HomeParty, work_lock: threading.Lock
    ) -> None:
        super().__init__(home_folder, machine)
        self._work_lock = work_lock

    def answer(self, message: Message) -> Message:
        """Answer a message, or raise why not."""
        with self._work_lock:
            return super().answer(message)


def main(arguments: Sequence[str]) -> int:
    """Run the agents of homes, in their folders, until a signal ends them."""
    log_plainly("fedhome.agent", "fedhome.light_agents")
    logging.getLogger("fedhome.agent.pace").setLevel(logging.WARNING)  # lines for each question
    torch.set_num_threads(1)
    sys.setswitchinterval(_SWITCH_S)
    work_lock = threading.Lock()

    def work(home_folder: HomeFolder, machine: secagg.HomeParty) -> SerialWork:
        return SerialWork(home_folder, machine, work_lock)

    with ExitStack() as stack:
        agents = []
        for folder in arguments:
            home_folder = HomeFolder(folder)
            store = stack.enter_context(
                FileStore.open(Path(folder), home=home_folder.settings.home)
            )
            agents.append(Agent(home_folder, store, work))

        def stop() -> None:
            for agent in agents:
                agent.stop()

        on_stop(stop)
        _log.info(BEGINS, len(agents))
        with ThreadPoolExecutor(len(agents)) as threads:
            running = [threads.submit(agent.run) for agent in agents]
            ended, _ = wait(running, return_when=FIRST_EXCEPTION)
            stop()
        for one in ended:
            one.result()
    return 0
