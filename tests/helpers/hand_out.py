"""How `make slow` hands its tests out to two workers, so that neither waits for the other's last.

The first worker begins with the fleets of processes and the second one with all else: two fleets at
once would want a core each for a dozen processes. Whoever is through helps the other one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

RAY = "ray"
"""The files that are about Ray, as one: each starts processes for several cores."""
_RAYS = (
    "test_flower_run.py",
    "test_ray.py",
    "test_ray_claims.py",
    "test_ray_nodes.py",
    "test_ray_slices.py",
)
_FLEETS = ("test_up_data.py", "test_worker.py", "test_enrol.py")  # beside those of tests/processes
LONG = (
    *("test_up_many.py", "test_chaos.py", "test_up.py", RAY, "test_server_daemon.py"),
    *("test_deployment.py", "test_weather.py", "test_disk.py", "test_chaos_network.py"),
    *("test_runs_that_go_on.py", "test_virtual_year.py", "test_files_fuzz.py", "test_wheel.py"),
    *("test_docs.py", "test_secagg_machine.py", "test_placement.py", "test_secagg_fuzz.py"),
)
"""What takes minutes is begun first, in this order: then what is left in the end is short."""


def scope_of(test: str) -> str:
    """Return what is handed out with a test, as one: its file, mostly."""
    file = PurePath(test.split("::", 1)[0])
    return RAY if file.name in _RAYS else str(file)


def next_scope(scopes: Sequence[str], *, first: bool) -> str:
    """Return what a worker is handed next.

    Args:
        scopes: What nobody has yet.
        first: Whether it is the worker that begins with fleets of processes.
    """
    own = [scope for scope in scopes if _is_fleet(scope) == first]
    return min(own or scopes, key=_turn)  # of those that are alike the one with most tests: sorted


def _is_fleet(scope: str) -> bool:
    file = PurePath(scope)
    return scope == RAY or file.name in _FLEETS or file.parent.name == "processes"


def _turn(scope: str) -> int:
    name = PurePath(scope).name
    return LONG.index(name) if name in LONG else len(LONG)


class FleetsApart(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """The tests of a file on one worker; fleets on the first one while there is anything else."""

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)

    def _assign_work_unit(self, node: Any) -> None:
        scope = next_scope(list(self.workqueue), first=node is self.nodes[0])
        self.workqueue.move_to_end(scope, last=False)
        super()._assign_work_unit(node)

    def _reschedule(self, node: Any) -> None:
        """Leave a worker alone that has come in place of one that died, until it has its tests."""
        if node in self.registered_collections:
            super()._reschedule(node)

    def add_node_collection(self, node: Any, collection: Sequence[str]) -> None:
        """Take a worker's tests; one that has others, as a file has changed, gets nothing to do."""
        super().add_node_collection(node, collection)
        if node not in self.registered_collections:
            node.shutdown()
