"""`fedhome client predict --watch`, as a process of its own that readings and models come to."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from fedhome.clients.agent.own_model import OwnModelKeeper, keep_ended
from fedhome.clients.membership.home_folder import HomeFolder
from helpers.client_world import fedhome
from helpers.kept_home import kept_home, runs_of

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="secret files need POSIX locks")


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_new_reading_and_a_new_model_make_a_line_each_and_a_signal_ends_it(
    tmp_path: Path, number: signal.Signals
) -> None:
    place = kept_home(tmp_path)
    keep_ended(runs_of(place, 3.0), OwnModelKeeper(place), run=1)
    path = Path(place.settings.data)
    whole = pq.read_table(path)
    pq.write_table(whole.slice(0, whole.num_rows - 1), path)
    command = ["client", "predict", str(place.path), "--watch", "--every", "1s", "--json"]
    with subprocess.Popen(
        [sys.executable, "-m", "fedhome", *command], stdout=subprocess.PIPE, text=True
    ) as watching:
        assert watching.stdout is not None
        first = json.loads(watching.stdout.readline())
        newer = tmp_path / "newer.parquet"
        pq.write_table(whole, newer)
        newer.replace(path)
        second = json.loads(watching.stdout.readline())
        keep_ended(runs_of(place, 0.0), OwnModelKeeper(place), run=2)
        third = json.loads(watching.stdout.readline())
        watching.send_signal(number)
        assert not watching.stdout.read()
    assert watching.returncode == 0
    assert first["time"] < second["time"] == third["time"]
    assert third["model"] != second["model"]
    assert third["run"] != second["run"]


@pytest.mark.parametrize("words", [("--watch", "--at", "2023-01-01"), ("--every", "1m")])
def test_what_does_not_go_with_watching_is_refused(tmp_path: Path, words: tuple[str, ...]) -> None:
    place: HomeFolder = kept_home(tmp_path)
    assert fedhome("predict", place.path, *words).exit_code == 2


def test_a_length_that_is_none_is_refused(tmp_path: Path) -> None:
    place = kept_home(tmp_path)
    assert fedhome("predict", place.path, "--watch", "--every", "soon").exception is not None
