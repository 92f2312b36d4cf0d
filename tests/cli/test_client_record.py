"""`fedhome client record`, `inspect` and `exclude`: readings that arrive, as people see them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import pyarrow.parquet as pq
import pytest

from fedhome.cli import ages
from fedhome.clients import fitted_anew
from fedhome.clients.agent.own_model import OwnModelKeeper, keep_ended
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.errors import DataError, RunError, SourceError, StateError
from helpers.client_world import fedhome, refused
from helpers.json_guide import checked
from helpers.kept_home import HOME, HOURS, kept_home, runs_of

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="secret files need POSIX locks")

LAST = 1_700_006_400 + 3600 * (HOURS - 1)  # 2023-11-28 23:00 UTC
MORE = "time,load,outdoor\n2023-11-29T00:00Z,1.5,3\n2023-11-29T01:00Z,2.5,4\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HomeFolder:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(ages, "now", lambda: LAST + 2 * 3600 + 600.0)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "more.csv").write_text(MORE)
    return kept_home(tmp_path)


def said(*words: object, status: int = 0) -> str:
    done = fedhome(*words)
    assert done.exit_code == status, (done.output, done.exception)
    return done.output


def seen(place: HomeFolder) -> dict[str, Any]:
    return dict(checked("client inspect", said("inspect", place.path, "--json")))


def test_what_is_recorded_is_told_and_read_from_then_on(place: HomeFolder) -> None:
    shown = said("record", HOME, "more.csv")
    assert f"it began with {HOURS} rows of {place.settings.data}, which is not read" in shown
    assert "recorded 2 rows: 2 new" in shown
    assert said("record", HOME, "more.csv") == "recorded 2 rows: 2 known already\n"
    assert "has a store of readings already; name what" in said("record", HOME)
    assert f"its store, {place.path}/readings" in said("status", HOME)
    refused(fedhome("record", HOME, "none.csv"), SourceError, "none.csv")
    refused(fedhome("record", HOME, "--without-data"), RunError, "has a store already")
    refused(fedhome("record", "nowhere"), RunError, "join")


@pytest.mark.long
def test_a_prediction_follows_what_was_recorded(
    place: HomeFolder, caplog: pytest.LogCaptureFixture
) -> None:
    keep_ended(runs_of(place, 0.0), OwnModelKeeper(place), run=1)
    before = json.loads(said("predict", HOME, "--json"))
    said("record", HOME)
    assert json.loads(said("predict", HOME, "--json")) == before
    said("record", HOME, "more.csv")
    after = json.loads(said("predict", HOME, "--json"))
    assert after["time"] == "2023-11-29T02:00:00+00:00"
    assert after["without_learning"] == 2.5
    Path(place.settings.data).unlink()
    keep_ended(runs_of(place, 3.0), OwnModelKeeper(place), run=2)
    assert "not that of run 2 of tiny: on its newest 67 rows" in caplog.text


@pytest.mark.usefixtures("place")
def test_lines_that_are_not_recorded_are_named_and_the_status_says_so() -> None:
    Path("more.jsonl").write_text('{"time": "2023-11-29T00:00Z", "load": 1}\nnothing\n')
    shown = said("record", HOME, "more.jsonl", status=1)
    assert "line 2 was not recorded: this is no JSON" in shown
    told = said("record", HOME, "more.jsonl", "--json", status=1)
    found = checked("client record", told)
    assert (found["known"], [one["line"] for one in found["refused"]]) == (1, [2])


@pytest.mark.long
def test_a_file_that_is_refused_whole_names_the_way_to_record_its_other_lines(
    place: HomeFolder,
) -> None:
    said("record", HOME)
    Path("my meter.csv").write_text(f"{MORE}garbage\n")
    error = refused(fedhome("record", HOME, "my meter.csv"), SourceError, "row 3 has 1 cells")
    assert "nothing of the file is recorded now" in error.hint
    command = f"fedhome client record {HOME} - < 'my meter.csv'"
    assert f"`{command}`" in error.hint
    assert seen(place)["end"] == LAST
    done = subprocess.run(
        [sys.executable, "-m", *command.split(" <", maxsplit=1)[0].split()],
        input=Path("my meter.csv").read_text(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "2 new\nline 4 was not recorded" in done.stdout
    Path("table.parquet").write_text("none")
    error = refused(fedhome("record", HOME, "table.parquet"), SourceError, "table.parquet")
    assert "nothing of the file" not in error.hint  # no pipe could bring it


@pytest.mark.long
def test_a_pipe_by_which_nothing_comes_is_told(place: HomeFolder) -> None:
    said("record", place.path)
    done = subprocess.run(
        [sys.executable, "-m", "fedhome", "client", "record", HOME, "-", "--json"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == ""
    assert done.stderr == "nothing came by standard input, and nothing was recorded\n"


def test_how_a_source_is_read_can_be_said_once(place: HomeFolder) -> None:
    Path("portal.csv").write_text("time;Last\n2023-11-29 01:00;1,500\n")
    sets = ("decimal=,", 'rename={"Last"="load"}', "time_zone=Europe/Vienna")
    words = [word for one in sets for word in ("--set", one)]
    said("record", HOME, "portal.csv", *words)
    assert place.settings.reading == {}
    (load,) = [one for one in seen(place)["columns"] if one["name"] == "load"]
    assert (load["end"], load["use"]) == (LAST + 3600, "target")  # 01:00 there is midnight in UTC


def test_readings_are_kept_as_long_as_the_settings_say(place: HomeFolder) -> None:
    shown = said("record", HOME, "more.csv", "--keep-days", 3)
    assert "not kept: keep_days is 3" in shown
    assert place.settings.keep_days == 3
    found = seen(place)
    assert found["keep_days"] == 3
    assert found["begin"] == 1_700_956_800  # 2023-11-26 00:00 UTC


def test_inspect_tells_what_would_be_used_and_what_is_missing(
    place: HomeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = seen(place)
    assert (found["store"], found["where"], found["files"]) == (False, place.settings.data, 0)
    said("record", HOME, "more.csv")
    found = seen(place)
    assert (found["store"], found["rows"], found["end"]) == (True, HOURS + 2, LAST + 7200)
    assert found["train"] + found["validation"] + found["test"] > HOURS / 2
    uses = {one["name"]: one["use"] for one in found["columns"]}
    assert uses == {"load": "target", "outdoor": "input", "doing": "unused"}
    shown = said("inspect", HOME)
    assert "10 minutes ago" in shown
    assert "examples to learn from" in shown
    monkeypatch.setattr(ages, "now", lambda: LAST - 600.0)
    assert "2 hours ahead of this device's clock: check that, and" in said("inspect", HOME)
    Path("sparse.csv").write_text("time,load\n2023-12-03T00:00Z,1\n")
    said("record", HOME, "sparse.csv")
    shown = said("inspect", HOME)
    assert "1: 4.0 d from 2023-11-29 01:00" in shown
    assert "99.7%" in shown


def test_an_exclude_that_is_interrupted_says_what_holds(
    place: HomeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> str:
        raise KeyboardInterrupt

    said("record", HOME)
    monkeypatch.setattr(fitted_anew, "fit_anew", interrupted)
    period = ("--from", "2023-11-20", "--to", "2023-11-21")
    done = fedhome("exclude", HOME, *period)
    assert done.exit_code != 0
    assert "interrupted: what was said above holds" in done.output
    monkeypatch.undo()
    monkeypatch.chdir(place.path.parent)
    assert said("exclude", HOME, "--list").startswith("1: 2023-11-20 00:00")


def test_inspect_says_why_nothing_would_be_used(place: HomeFolder) -> None:
    said("record", HOME, "--without-data")
    Path("other.csv").write_text("time,load\n2023-11-29T00:00Z,1\n2023-11-29T01:00Z,1\n")
    said("record", HOME, "other.csv")
    found = seen(place)
    assert (found["train"], found["test"]) == (None, None)
    assert "outdoor" in found["lacking"]
    shown = said("inspect", HOME)
    assert "nothing: " in shown
    assert "missing       │ outdoor" in shown


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("width", [45, 80])
def test_narrow_terminals_lose_nothing(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    said("record", HOME, "more.csv")
    monkeypatch.setenv("COLUMNS", str(width))
    shown = said("inspect", HOME)
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= width
    assert "…" not in shown


def test_a_period_is_taken_out_listed_and_brought_back(place: HomeFolder) -> None:
    refused(
        fedhome("exclude", HOME, "--from", "2023-11-20", "--to", "2023-11-21"),
        RunError,
        "has no store of readings",
    )
    said("record", HOME)
    rows = seen(place)["rows"]
    shown = said(
        "exclude", HOME, "--from", "2023-11-20", "--to", "2023-11-21", "--why", "we were away"
    )
    assert "1: 2023-11-20 00:00 to 2023-11-22 00:00 UTC (we were away); 48 rows lose" in shown
    found = seen(place)
    assert (found["rows"], found["excluded_rows"]) == (rows - 48, 48)
    shown = said(
        *("exclude", HOME, "--from", "2023-11-25T10:00", "--to", "2023-11-25T14:00+02:00"),
        *("--column", "outdoor"),
    )
    assert "2: 2023-11-25 10:00 to 2023-11-25 12:00 UTC of outdoor; 2 rows lose" in shown
    (one, two) = checked("client exclude", said("exclude", HOME, "--list", "--json"))
    assert (one["why"], two["columns"]) == ("we were away", ["outdoor"])
    assert "we were away" not in (place.path / "readings" / "facts.fh").read_text("latin-1")
    assert "counts again: 1: 2023-11-20" in said("exclude", HOME, "--undo", 1)
    assert seen(place)["rows"] == rows
    assert said("exclude", HOME, "--list").splitlines() == [
        "2: 2023-11-25 10:00 to 2023-11-25 12:00 UTC of outdoor"
    ]
    said("exclude", HOME, "--undo", 2)
    assert said("exclude", HOME) == "no period is left out\n"


@pytest.mark.parametrize(
    ("words", "kind", "why"),
    [
        (["--undo", "4"], StateError, "no period of number 4"),
        (["--from", "2023-11-20"], RunError, "two ends"),
        (["--from", "2023-11-20", "--to", "2023-11-19"], RunError, "before it begins"),
        (["--from", "soon", "--to", "later"], RunError, "'soon' is no moment"),
        (["--why", "holiday"], RunError, "no period is named"),
        (["--from", "2023-11-20", "--to", "2023-11-21", "--undo", "1"], RunError, "one thing"),
        (
            ["--from", "2023-11-20", "--to", "2023-11-21", "--column", "lod"],
            RunError,
            "did you mean",
        ),
    ],
)
def test_a_period_that_makes_no_sense_changes_nothing(
    place: HomeFolder, words: list[str], kind: Any, why: str
) -> None:
    said("record", HOME)
    refused(fedhome("exclude", HOME, *words), kind, why)
    assert seen(place)["excluded"] == []


def test_readings_leave_the_store_as_one_file_before_the_home_is_forgotten(
    place: HomeFolder,
) -> None:
    refused(fedhome("inspect", HOME, "--export", "out.parquet"), DataError, "no store of readings")
    said("record", HOME, "more.csv")
    said("exclude", HOME, "--from", "2023-11-20", "--to", "2023-11-21")
    error = refused(fedhome("forget", HOME, "--yes"), RunError, "has a store of readings")
    assert "--export" in error.hint
    refused(fedhome("inspect", HOME, "--export", "out.csv"), RunError, "does not end with .parquet")
    assert f"wrote {HOURS + 2} rows" in said("inspect", HOME, "--export", "out.parquet")
    assert pq.read_table("out.parquet").num_rows == HOURS + 2
    shown = said("forget", HOME, "--yes", "--readings")
    assert "readings/facts.fh" in shown
    assert not (place.path / "readings").exists()
    assert Path(place.settings.data if place.path.exists() else "readings.parquet").exists()


def line_of(stream: IO[str]) -> dict[str, Any]:
    return dict(checked("client record", stream.readline()))


@pytest.mark.long
@pytest.mark.parametrize("end", ["end", "SIGINT", "SIGTERM"])
def test_a_pipe_is_acknowledged_line_by_line_for_as_long_as_it_comes(
    place: HomeFolder, end: str
) -> None:
    said("record", HOME)
    command = [
        sys.executable,
        "-m",
        "fedhome",
        "client",
        "record",
        HOME,
        "-",
        "--json",
        "--within",
        "0.2",
    ]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(MORE)
        process.stdin.flush()
        first = line_of(process.stdout)
        assert (first["lines"], first["new"]) == (3, 2)
        assert seen(place)["end"] == LAST + 7200  # it is there now, while the pipe is open
        process.stdin.write("2023-11-29T02:00Z,2,3\n")
        process.stdin.flush()
        if end == "end":
            process.stdin.close()
        else:
            second = line_of(process.stdout)
            assert second["lines"] == 4
            process.send_signal(getattr(signal, end))
        rest = process.stdout.read().splitlines()
        assert process.stderr is not None
        errors = process.stderr.read()
        status = process.wait()
    assert (status, errors) == (0, "")
    assert len(rest) == (1 if end == "end" else 0)
    assert seen(place)["end"] == LAST + 3 * 3600


@pytest.mark.long
def test_a_folder_is_followed_until_it_is_enough(place: HomeFolder) -> None:
    said("record", HOME)
    refused(fedhome("record", HOME, "-", "--follow"), RunError, "what is to be followed")
    Path("inbox").mkdir()
    command = [sys.executable, "-m", "fedhome", "client", "record", HOME, "inbox", "--follow"]
    with subprocess.Popen(
        [*command, "--json", "--within", "0.1"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        Path("inbox", "a.csv").write_text(MORE)
        first = line_of(process.stdout)
        assert (first["source"], first["lines"], first["new"]) == ("inbox/a.csv", 3, 2)
        with Path("inbox", "a.csv").open("a") as file:
            file.write("2023-11-29T02:00Z,2,3\n")
        assert line_of(process.stdout)["lines"] == 4
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == ""
        assert process.wait() == 0
    assert seen(place)["end"] == LAST + 3 * 3600
