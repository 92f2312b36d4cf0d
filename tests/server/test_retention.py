"""A server keeps of its past what its settings say, and nothing that is in use ever goes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fedhome.errors import RunError
from fedhome.keys.signing import ServerKeys
from fedhome.registry import ModelPayload, release_of
from fedhome.registry.release import Origin
from fedhome.registry.vault import INDEX
from fedhome.run.folder import RunFolder
from fedhome.server.daemon.current_run import CANCELLED, Current, Runs
from fedhome.server.daemon.publishing import MODELS, registry_of
from fedhome.server.daemon.retention import Retention, old_runs
from fedhome.server.daemon.run_chain import CHAIN
from fedhome.server.daemon.server_folder import SETTINGS, ServerFolder, ServerSettings
from fedhome.store.settings_file import write_settings
from fedhome.wire.layout import Layout

FLEET = b"f" * 16
SERVER = ServerSettings(host="127.0.0.1", port=1)


@pytest.fixture
def place(tmp_path: Path) -> ServerFolder:
    return ServerFolder.create(tmp_path / "hub", SERVER, names=["localhost"])


def settings(place: ServerFolder, **changed: int) -> None:
    write_settings(place.path / SETTINGS, replace(SERVER, **changed))


def runs(place: ServerFolder, count: int) -> None:
    """Make runs; the last is the newest."""
    for number in range(count):
        folder = RunFolder.create(place.runs / f"run-{number}")
        folder.events_path.write_text("")
        os.utime(folder.events_path, (1_000 + number, 1_000 + number))


def left(place: ServerFolder) -> list[str]:
    return sorted(path.name for path in place.runs.iterdir() if path.is_dir())


@pytest.fixture
def said(place: ServerFolder) -> Iterator[list[str]]:
    lines: list[str] = []
    yield lines
    Retention(place, lines.append).tend()
    assert not [line for line in lines if "stay on the disk" in line]


def publish(place: ServerFolder, *names: str) -> None:
    """Publish a model of each run."""
    keys = ServerKeys()
    registry = registry_of(place.path / MODELS, fleet=FLEET, keys=keys)
    layout = Layout.of({"w": np.zeros(2, np.float32)})
    for number, name in enumerate(names, 1):
        origin = Origin(plan="p", plan_hash=b"p" * 32, run=name, run_hash=name.encode().ljust(32))
        payload = ModelPayload(layout, np.full(2, number, np.float32))
        registry.publish(release_of(payload, origin, round=1, homes=5, storage="float32"), keys)


def test_the_newest_runs_stay_and_others_go_and_are_named(
    place: ServerFolder, said: list[str]
) -> None:
    runs(place, 5)
    settings(place, keep_runs=2)
    Retention(place, said.append).tend()
    assert left(place) == ["run-3", "run-4"]
    assert said == [
        f"run run-{one} was removed: the 2 newest are kept (keep_runs in server.toml)"
        for one in (2, 1, 0)
    ]


def test_what_is_in_use_stays_however_old_it_is(place: ServerFolder, said: list[str]) -> None:
    runs(place, 6)
    settings(place, keep_runs=1)
    Runs(place)._write(Current(run="run-1", state=CANCELLED))
    publish(place, "run-0", "run-2")
    Retention(place, said.append).tend()
    assert left(place) == ["run-1", "run-2", "run-5"], "the last run, the release's, the newest"
    publish(place, "run-0", "run-2")


def test_where_the_next_run_goes_on_from_stays(place: ServerFolder, said: list[str]) -> None:
    """Homes have trained from the release in it: without its sums they would be asked twice."""
    runs(place, 5)
    settings(place, keep_runs=1)
    publish(place, "run-0")
    for number, (run, followed) in enumerate([("run-1", "run-0"), ("run-2", "run-1")]):
        folder = RunFolder(place.runs / run)
        (folder.path / CHAIN).write_text('{"first": "run-0", "level": null}')
        folder.write_follows(followed)
        os.utime(folder.follows_path, (1_000 + number, 1_000 + number))
    Retention(place, said.append).tend()
    assert left(place) == ["run-0", "run-2", "run-4"]


def test_nothing_goes_where_all_is_kept(place: ServerFolder, said: list[str]) -> None:
    runs(place, 3)
    settings(place, keep_runs=0)
    Retention(place, said.append).tend()
    assert (len(left(place)), said) == (3, [])
    assert ServerSettings(host="127.0.0.1", port=1).keep_runs == 50


def test_a_damaged_registry_is_told_and_nothing_is_removed(place: ServerFolder) -> None:
    runs(place, 3)
    settings(place, keep_runs=1)
    publish(place, "run-0")
    (place.path / MODELS / INDEX).write_bytes(b"nonsense")
    lines: list[str] = []
    Retention(place, lines.append).tend()
    assert len(left(place)) == 3
    assert lines[0].startswith("old runs stay on the disk: ")


def test_a_log_that_begins_anew_is_told(place: ServerFolder, said: list[str]) -> None:
    settings(place, keep_log_mb=1)
    (place.logs / "front.log").write_bytes(b"x" * ((1 << 20) + 1))
    Retention(place, said.append).tend()
    assert (place.logs / "front.log").stat().st_size == 0
    (line,) = said
    assert line.startswith("front.log was longer than 1 MB: it begins anew, and front.log.1 is its")


@pytest.mark.parametrize(
    ("name", "value"), [("keep_runs", -1), ("keep_releases", 0), ("keep_log_mb", 0)]
)
def test_settings_that_cannot_be_are_refused(place: ServerFolder, name: str, value: int) -> None:
    path = place.path / SETTINGS
    path.write_text(f"{path.read_text()}\n".replace(f"{name} = ", f"{name} = {value} # "))
    with pytest.raises(RunError, match=f"{name} = {value} cannot be"):
        _ = place.settings


def test_old_runs_counts_folders_alone(place: ServerFolder) -> None:
    runs(place, 2)
    (place.runs / "notes.txt").write_text("")
    assert old_runs(place.runs, 1, ()) == [place.runs / "run-0"]
