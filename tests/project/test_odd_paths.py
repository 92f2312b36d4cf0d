"""What public functions say of paths that nobody may look at, or that can be none."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fedhome
from fedhome import registry
from fedhome.errors import FedHomeError, PlanError
from helpers.other_account import NOBODY, open_folder

_PLAN: dict[str, Any] = {"data": {"homes": 6, "days": 8}, "rounds": {"count": 1}}
_TABLE = fedhome.HomeTable(
    home="oak",
    time_s=np.arange(3, dtype=np.int64) * 3600,
    columns={"load": np.arange(3, dtype=np.float64)},
)
_CALLS: Mapping[str, Callable[[Any], object]] = {
    "load": fedhome.load,
    "load a home": lambda path: fedhome.load(path, "oak"),
    "load_predictor": lambda path: fedhome.load_predictor(path, "oak"),
    "Plan.load": fedhome.Plan.load,
    "simulate into": lambda path: fedhome.simulate(fedhome.Plan.load(**_PLAN), out=path),
    "simulate from": lambda path: fedhome.simulate(fedhome.Plan.load(**_PLAN), start=path),
    "resume": fedhome.resume,
    "Result.open": fedhome.Result.open,
    "record": lambda path: fedhome.record(path, {"time": ["2026-01-01"], "load": [1.0]}),
    "pack": lambda path: fedhome.pack([_TABLE], path),
    "Registry.open": registry.Registry.open,
    "Registry.create": registry.Registry.create,
    "needs_passphrase": registry.needs_passphrase,
}


@contextmanager
def _as_nobody() -> Iterator[None]:
    """Let this process be another account, which may not look into root's folders."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another account")
    try:
        account = pwd.getpwnam(NOBODY)
    except KeyError:
        pytest.skip(f"this machine has no account {NOBODY}")
    group = os.getegid()
    os.setegid(account.pw_gid)
    os.seteuid(account.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)


def _odd(folder: Path) -> dict[str, object]:
    """Return what can be no file, by what is odd."""
    loop, file = folder / "loop", folder / "file"
    if not loop.is_symlink():
        loop.symlink_to(loop)
        file.write_text("no folder")
    return {
        "long": "x" * 300,
        "null": "a\0b",
        "loop": loop,
        "below a file": file / "below",
    }


@pytest.mark.parametrize("odd", ["long", "null", "loop", "below a file"])
@pytest.mark.parametrize("call", _CALLS)
def test_a_path_that_can_be_none_is_told(
    call: str, odd: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FedHomeError) as caught:
        _CALLS[call](_odd(tmp_path)[odd])
    assert caught.value.message


@pytest.mark.parametrize("call", _CALLS)
def test_a_folder_of_another_account_is_told(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_folder() as place:
        (place / "locked").mkdir(mode=0o700)
        (place / "own").mkdir()
        (place / "own").chmod(0o777)
        monkeypatch.chdir(place / "own")
        with _as_nobody(), pytest.raises(FedHomeError) as caught:
            _CALLS[call](place / "locked" / "it")
        assert str(place / "locked" / "it") in str(caught.value)
        monkeypatch.undo()


def test_a_plan_names_what_is_no_text() -> None:
    with pytest.raises(PlanError, match=r"data\.source has bytes .*rename the file or folder"):
        fedhome.Plan.load(data={"source": os.fsdecode(b"kitchen \xff")})
