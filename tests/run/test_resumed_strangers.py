"""A run of somebody else's that is resumed: what may lie there in place of log or checkpoint."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from fedhome.errors import EventLogError, RunError
from fedhome.run.events import EventLog, read_events
from fedhome.run.folder import RunFolder
from fedhome.server.rounds import checkpoint
from fedhome.server.rounds.checkpoint import Checkpoint
from fedhome.wire.layout import Layout

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links and pipes are POSIX's")

KEY = bytes(range(100, 132))
LAYOUT = Layout.of({"w": np.zeros(3, np.float32)})


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder.create(tmp_path / "theirs")
    folder.write_plan("")
    return folder


def test_a_link_in_place_of_a_log_destroys_nothing(
    folder: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key has no end of line: it would be cut off as what a killed process left behind."""
    (key := tmp_path / "state.key").write_bytes(KEY)
    folder.events_path.symlink_to(key)
    with pytest.raises(EventLogError, match="cannot be opened"):
        EventLog(folder.events_path)
    assert key.read_bytes() == KEY
    monkeypatch.setattr("fedhome.run.events._no_link", os.open)
    with pytest.raises(EventLogError, match="line 1 is not an event, and is left as it is"):
        EventLog(folder.events_path)
    assert key.read_bytes() == KEY, "nor a second name of it, as an archive may bring"
    monkeypatch.setattr("fedhome.run.events._begins_a_log", lambda _: True)
    EventLog(folder.events_path).close()
    assert KEY not in key.read_bytes(), "the control: without both, it was gone"


def test_a_log_of_ones_own_is_not_written_to_by_a_link(folder: RunFolder, tmp_path: Path) -> None:
    mine = tmp_path / "mine.jsonl"
    with EventLog(mine) as log:
        log.append("note", text="mine")
    before = mine.read_bytes()
    folder.events_path.symlink_to(mine)
    with pytest.raises(EventLogError, match="cannot be opened"):
        EventLog(folder.events_path)
    assert mine.read_bytes() == before


def test_checkpoints_go_through_no_link_and_nothing_beyond_is_tidied_away(
    folder: RunFolder, tmp_path: Path
) -> None:
    (beyond := tmp_path / "oak").mkdir()
    (beyond / ".unsaved.tmp").touch()
    with EventLog(folder.events_path) as log:
        log.append("run-started")
    RunFolder.create(folder.path, resume=True)
    folder.checkpoint_path.rmdir()
    folder.checkpoint_path.symlink_to(beyond)
    with pytest.raises(RunError, match="checkpoint is a link"):
        RunFolder.create(folder.path, resume=True)
    (made := tmp_path / "made").mkdir()
    (made / "checkpoint").symlink_to(beyond)
    with pytest.raises(RunError, match="checkpoint is a link"):
        RunFolder.create(made)
    assert (beyond / ".unsaved.tmp").exists()
    folder.tidy()
    assert not (beyond / ".unsaved.tmp").exists(), "the control"


@pytest.mark.parametrize("torn", [b"{", b'{"da', b'{"data":{"te', bytes(40)])
def test_what_a_kill_left_of_a_first_line_is_cut_off(folder: RunFolder, torn: bytes) -> None:
    folder.events_path.write_bytes(torn)
    with EventLog(folder.events_path):
        pass
    (repaired,) = read_events(folder.events_path)
    assert (repaired.event, repaired.data) == ("log-repaired", {"bytes": len(torn)})


@pytest.mark.timeout(20)
def test_a_pipe_is_not_waited_for(folder: RunFolder) -> None:
    os.mkfifo(folder.events_path)
    for use in (EventLog, read_events, lambda _: folder.finished):
        with pytest.raises(EventLogError, match="is no ordinary file"):
            use(folder.events_path)
    os.mkfifo(folder.checkpoint_path / "latest.safetensors")
    with pytest.raises(RunError, match="is no ordinary file"):
        checkpoint.load(folder, LAYOUT)


@pytest.mark.parametrize(
    "other",
    [
        [1],
        {"round": "a"},
        {"round": True},
        {"rows": 5},
        {"memory": 5},
        {"scale": 7},
        {"trials": []},
        {"layout": None},
    ],
)
def test_a_checkpoint_of_other_kinds_is_told(folder: RunFolder, other: object) -> None:
    flat = np.zeros(3, np.float32)
    checkpoint.save(folder, LAYOUT, Checkpoint(round=1, flat=flat, best=flat))
    assert checkpoint.load(folder, LAYOUT) is not None, "the control"
    path = folder.checkpoint_path / "latest.safetensors"
    with safetensors.safe_open(path, framework="numpy") as file:
        record = json.loads(file.metadata()["state"])
    changed = {**record, **other} if isinstance(other, dict) else other
    path.write_bytes(
        safetensors.numpy.save({"flat": flat, "best": flat}, {"state": json.dumps(changed)})
    )
    with pytest.raises(RunError, match=r"latest\.safetensors cannot be read: TypeError"):
        checkpoint.load(folder, LAYOUT)
