"""The Ray cluster: found, joined, or started on this machine."""

from __future__ import annotations

import importlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fedhome.errors import EngineError

_CONNECT_S = 5.0


def imported(module: str) -> Any:
    """Return a module of Ray's.

    Raises:
        EngineError: Ray is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise EngineError(
            "engine.name = ray needs Ray, which is not installed",
            hint='pip install "fedhome[ray]"',
        ) from None


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Give Ray's module, connected to a cluster, or to one that is started on this machine.

    A cluster that was started here is shut down afterwards; one that was joined is left, and
    where this process was connected already, it stays so.

    Args:
        address: ``HOST:PORT``, ``ray://HOST:PORT`` or ``auto``; empty: this machine.

    Raises:
        EngineError: Ray is not installed, or there is no cluster at the address.
    """
    ray = imported("ray")
    if ray.is_initialized():
        yield ray
        return
    # Ray asks for a choice about accelerators, which no worker here uses.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    quietly: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if not address:
        ray.init("local", include_dashboard=False, **quietly)
    else:
        _reach(address)
        try:
            ray.init(address, **quietly)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise EngineError(
                f"the Ray cluster at {address!r} cannot be joined: {last_line(error)}",
                hint="`ray status` on its head node shows the address to give",
            ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """Refuse an address where nobody listens: Ray would try for minutes, and then exit."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return  # "auto", or nothing that Ray knows: it says so at once
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()
    except OSError as error:
        raise EngineError(
            f"nobody listens at {address!r}, where the Ray cluster should be: {error}",
            hint="`ray status` on its head node shows the address to give",
        ) from None


def last_line(error: BaseException) -> str:
    """Return the last line of an error's words: Ray's begin with whole traces."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__
