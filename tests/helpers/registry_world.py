"""A small fleet's server, its models, and a registry of them: for the tests of the registry."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fedhome.errors import RegistryError
from fedhome.registry import Draft, ModelPayload, Origin, Registry, Release, release_of
from fedhome.registry.shelf import put_release
from fedhome.secagg import Directory, ServerKeys
from fedhome.wire.layout import Layout

FLEET = b"f" * 16
LAYOUT = Layout(("0.weight", "0.bias", "2.weight"), ((4, 3), (4,), (2, 4)))
ORIGIN = Origin(plan="tiny", plan_hash=b"p" * 32, run="tiny-1", run_hash=b"r" * 32)
SERVER = ServerKeys(bytes(range(32)))
STEPS = ("open", "fsync", "replace", "unlink", "rename")
DIRECTORY = Directory(
    fleet=FLEET,
    epoch=1,
    seed=b"s" * 32,
    server=SERVER.public,
    committee=1,
    corrupt=0,
    threshold=1,
    homes=(),
)


def numbers(seed: int = 0, layout: Layout = LAYOUT) -> NDArray[np.float32]:
    """Return parameters that are drawn from a seed."""
    return np.random.default_rng(seed).normal(size=layout.size).astype(np.float32)


def model(seed: int = 0, layout: Layout = LAYOUT) -> ModelPayload:
    """Return a model whose parameters are drawn from a seed."""
    return ModelPayload(layout, numbers(seed, layout))


def draft(round_number: int, *, storage: str = "float32", run: bytes = ORIGIN.run_hash) -> Draft:
    """Return a round's model: its seed is the round."""
    return release_of(
        model(round_number),
        replace(ORIGIN, run_hash=run),
        round=round_number,
        homes=5,
        storage=storage,
    )


@dataclass(frozen=True)
class Shelf:
    """A registry of the fleet, with rounds 1, 2, ... published."""

    registry: Registry
    folder: Path

    @classmethod
    def of(cls, folder: Path, rounds: int = 3, **arguments: Any) -> Shelf:
        registry = Registry.create(folder, fleet=FLEET, server=SERVER.public, **arguments)
        for number in range(1, rounds + 1):
            registry.publish(draft(number), SERVER)
        return cls(registry, folder)

    def files(self) -> dict[str, bytes]:
        """Return the bytes of all files, by name."""
        return contents(self.folder)

    def forge(
        self, payload: bytes | None = None, signer: ServerKeys = SERVER, **changes: Any
    ) -> Release:
        """Append a release as someone with the registry key could, unchecked."""
        vault = self.registry._vault
        index = vault.read()
        head = self.registry.find("latest").manifest
        usual = {"number": head.number + 1, "previous": head.hash, "round": head.round + 1}
        data = draft(9).payload if payload is None else payload
        usual["payload"] = hashlib.sha256(data).digest()
        manifest = replace(head, **{**usual, **changes})
        stored = None if manifest.restores else data
        trusted = replace(index, server=signer.public)
        release, entry = put_release(self.folder, trusted, manifest, signer, stored)
        vault.write(replace(index, entries=(*index.entries, entry)))
        return release


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of all files below a folder, by name."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def reason_of(call: Any, *arguments: Any, **more: Any) -> str:
    """Return why the registry refuses a call."""
    with pytest.raises(RegistryError) as caught:
        call(*arguments, **more)
    assert type(caught.value) is RegistryError
    assert caught.value.hint
    return caught.value.reason


def faults_of(registry: Registry) -> list[tuple[int, str]]:
    """Return what is wrong with a registry, by the releases' numbers."""
    return [(fault.number, fault.reason) for fault in registry.verify().faults]


class Crash(Exception):  # noqa: N818 - it stands for a power cut
    """Not an OSError, so nothing tidies up after it."""


_ELSEWHERE = ContextVar("_ELSEWHERE", default=False)


@contextmanager
def on_another_machine() -> Iterator[None]:
    """Let no call fail that is made inside: another machine's disk is well."""
    token = _ELSEWHERE.set(True)
    try:
        yield
    finally:
        _ELSEWHERE.reset(token)


@contextmanager
def failing(at: int, error: Exception) -> Iterator[list[str]]:
    """Let the ``at``-th call of what a change consists of raise instead; yield the calls."""
    calls: list[str] = []

    def counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            if _ELSEWHERE.get():
                return real(*arguments, **more)
            calls.append(name)
            if len(calls) == at:
                raise error
            return real(*arguments, **more)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in STEPS:
            patch.setattr(os, name, counted(name, getattr(os, name)))
        yield calls
