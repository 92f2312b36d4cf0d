from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t

from fedhome.errors import EventLogError, RunError
from fedhome.run.compared_models import VERDICTS
from fedhome.run.events import EventLog
from fedhome.run.folder import RunFolder
from fedhome.run.model_file import read_model_file
from fedhome.run.results import (
    HOMES,
    ROUNDS,
    differences,
    homes_table,
    mean_interval,
    rounds_table,
    summary,
    verdict_shares,
)
from fedhome.run.written_whole import write_atomically
from fedhome.wire.layout import Layout
from helpers.examples import share_of
from helpers.home_rows import home_row


@pytest.mark.parametrize("names", ["[" * 10_000, "1", '{"a": 1}', "["])
def test_a_model_file_with_names_that_are_none_is_refused_in_words(
    tmp_path: Path, names: str
) -> None:
    metadata = {"names": names, "round": "1", "plan": "p", "layout": "0" * 64}
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors.numpy.save({"w": np.zeros(1, np.float32)}, metadata))
    with pytest.raises(RunError, match="cannot be read"):
        read_model_file(path)


def round_row(number: int, **changes: object) -> dict[str, object]:
    row: dict[str, object] = dict.fromkeys(ROUNDS.names, 0)
    return row | {"round": number, "train_loss": 0.5} | changes


def begin(folder: RunFolder, *events: str) -> RunFolder:
    folder.write_plan('name = "small"\n')
    with EventLog(folder.events_path) as log:
        for event in events:
            log.append(event)
    return folder


def test_a_new_run_is_its_accounts_alone_and_a_folder_from_before_stays_as_it_is(
    tmp_path: Path,
) -> None:
    before = os.umask(0o022)
    try:
        fresh = RunFolder.create(root=tmp_path / "runs", name="default")
        named = RunFolder.create(tmp_path / "by" / "name")
        (tmp_path / "shared").mkdir()
        shared = RunFolder.create(tmp_path / "shared")
    finally:
        os.umask(before)
    modes = [path.stat().st_mode & 0o777 for path in (fresh.path, named.path, shared.path)]
    assert modes == [0o700, 0o700, 0o755]
    assert {path.parent.stat().st_mode & 0o777 for path in (fresh.path, named.path)} == {0o755}


def test_no_umask_opens_the_folder_of_all_runs_to_all(tmp_path: Path) -> None:
    """Any account could put another folder in the place of a run that goes on."""
    before = os.umask(0)
    try:
        RunFolder.create(root=tmp_path / "runs")
        (tmp_path / "made").mkdir()
    finally:
        os.umask(before)
    modes = [(tmp_path / name).stat().st_mode & 0o777 for name in ("runs", "made")]
    assert modes == [0o775, 0o777], "the second is the control"


def test_a_fresh_name_is_the_next_number(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    assert RunFolder.create(root=root, name="default").path == root / "default-1"
    assert RunFolder.create(root=root, name="default").path == root / "default-2"
    (root / "default-9").mkdir()
    assert RunFolder.create(root=root, name="default").path == root / "default-10"
    assert RunFolder.create(root=root, name="def").path == root / "def-1"


@pytest.mark.parametrize("name", ["../../etc", "a/b", "", "..", "\x00", "CON: x"])
def test_a_fresh_folder_stays_below_its_root(tmp_path: Path, name: str) -> None:
    folder = RunFolder.create(root=tmp_path / "runs", name=name)
    assert folder.path.parent == tmp_path / "runs"
    assert folder.path.is_dir()


@pytest.mark.parametrize(
    ("events", "state"),
    [
        (["run-started", "run-finished"], "a finished run"),
        (["run-started", "round-closed"], "an unfinished run"),
        (["run-started", "run-finished", "run-resumed"], "an unfinished run"),
        ([], "an unfinished run"),
    ],
)
def test_a_folder_with_a_run_is_only_taken_to_resume(
    tmp_path: Path, events: list[str], state: str
) -> None:
    folder = begin(RunFolder.create(tmp_path / "run"), *events)
    with pytest.raises(RunError, match=f"already holds {state}") as caught:
        RunFolder.create(folder.path)
    assert "name another folder" in caught.value.hint
    assert ("resume" in caught.value.hint) == (state == "an unfinished run")
    assert RunFolder.create(folder.path, resume=True).finished == (state == "a finished run")


def test_resuming_needs_a_run_and_clears_what_a_kill_left(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no run"):
        RunFolder.create(tmp_path / "typo", resume=True)
    assert not (tmp_path / "typo").exists()
    with pytest.raises(RunError, match="no run to resume"):
        RunFolder.create(resume=True)
    folder = begin(RunFolder.create(tmp_path / "run"), "run-started")
    (folder.path / ".model.safetensors.0123abcd.tmp").write_bytes(b"half")
    RunFolder.create(folder.path, resume=True)
    assert not list(folder.path.glob(".*.tmp"))


def test_other_files_in_the_folder_stay(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    RunFolder.create(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_an_altered_log_is_an_error_and_no_log_is_none(tmp_path: Path) -> None:
    folder = begin(RunFolder.create(tmp_path / "run"), "run-started")
    assert RunFolder(tmp_path / "none").read_events() == []
    folder.events_path.write_bytes(folder.events_path.read_bytes().replace(b"started", b"stopped"))
    with pytest.raises(EventLogError, match="line 1"):
        _ = folder.finished


def test_the_plan_comes_back(tmp_path: Path) -> None:
    folder = begin(RunFolder(tmp_path))
    assert folder.read_plan() == {"name": "small"}
    folder.plan_path.write_text("name = ")
    with pytest.raises(RunError, match="is not TOML"):
        folder.read_plan()
    with pytest.raises(RunError, match="is missing"):
        RunFolder(tmp_path / "none").read_plan()


def test_rounds_come_back_with_their_schema(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    table = rounds_table([round_row(1, validation_score=None), round_row(2, bytes_up=2**40)])
    folder.write_rounds(table)
    again = folder.read_rounds()
    assert again.equals(table)
    assert again.schema.equals(ROUNDS, check_metadata=True)
    assert again["bytes_up"].to_pylist() == [0, 2**40]
    assert again["validation_score"].to_pylist() == [None, 0.0]


def test_an_empty_table_is_a_table(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_rounds(rounds_table([]))
    assert folder.read_rounds().num_rows == 0
    assert summary(homes_table([])) == []


def test_further_metrics_of_homes_stand_after_the_loss(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    row = {"mae_kwh": 1, **home_row("a", "local", 0.5)}
    folder.write_homes(homes_table([row, home_row("b", "local", 0.6)]))
    table = folder.read_homes()
    assert table.column_names == [*HOMES.names[:4], "mae_kwh", *HOMES.names[4:]]
    assert table["mae_kwh"].to_pylist() == [1.0, None]
    assert table.schema.field("mae_kwh").type == pa.float64()


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([{"round": 1}], "no column homes_asked"),
        ([round_row(1, extra=1)], "unknown columns: extra"),
        ([round_row(1, bytes_up=None)], "empty cells in bytes_up"),
        ([round_row(1, bytes_up=0.5)], "another type"),
        ([round_row(1, homes_asked=2**40)], "another type"),
        ([round_row(1, homes_asked="x")], "another type"),
        ([round_row(1, homes_asked="x"), round_row(2)], "make no table"),
        ([round_row(2), round_row(2)], "not increase"),
    ],
)
def test_wrong_rounds_are_refused(rows: list[dict[str, object]], says: str) -> None:
    with pytest.raises(RunError, match=says):
        rounds_table(rows)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([home_row("a", "best", 0.5)], "an unknown model: best"),
        ([home_row("a", "local", 0.5, verdict="worse")], "an unknown verdict: worse"),
        ([home_row("a", "local", 0.5, expert="local")], "an unknown expert: local"),
        ([home_row("a", "local", 0.5, best="global")], "an unknown best: global"),
        ([home_row("a", "local", 0.5)] * 2, "two rows"),
        ([home_row("\ud800", "local", 0.5)], "make no table"),
    ],
)
def test_wrong_homes_are_refused(rows: list[dict[str, object]], says: str) -> None:
    with pytest.raises(RunError, match=says):
        homes_table(rows)


def test_damaged_and_missing_tables_are_run_errors(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with pytest.raises(RunError, match="is missing"):
        folder.read_homes()
    folder.rounds_path.write_bytes(b"PAR1 is not enough")
    with pytest.raises(RunError, match="is damaged"):
        folder.read_rounds()
    pq.write_table(pa.table({"round": [1]}), folder.rounds_path)
    with pytest.raises(RunError, match="no column"):
        folder.read_rounds()


PARAMETERS = {
    "out.weight": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "scale": np.array(2.5, np.float32),
    "bias": np.zeros(0, np.float32),
}


def test_the_model_comes_back_in_its_order(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_model(PARAMETERS, plan="small", round_number=3, learnt="level")
    model = folder.read_model()
    assert list(model.parameters) == list(PARAMETERS)
    for name, array in PARAMETERS.items():
        np.testing.assert_array_equal(model.parameters[name], array, strict=True)
    assert (model.plan, model.round) == ("small", 3)
    assert model.layout_hash == Layout.of(PARAMETERS).hash
    by_library = safetensors.numpy.load_file(folder.model_path)
    np.testing.assert_array_equal(by_library["out.weight"], PARAMETERS["out.weight"])


@pytest.mark.long
def test_the_same_model_gives_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    script = (
        "import sys, numpy as np; from fedhome.run.folder import RunFolder\n"
        "a = {'w': np.ones((2, 3), np.float32), 'b': np.zeros(3, np.float32)}\n"
        "RunFolder(sys.argv[1]).write_model(a, plan='small', round_number=3, learnt='level')\n"
    )
    seen = set()
    for number in range(4):
        folder = RunFolder(tmp_path / str(number))
        folder.path.mkdir()
        subprocess.run([sys.executable, "-c", script, str(folder.path)], check=True)
        seen.add(folder.model_path.read_bytes())
    assert len(seen) == 1


def test_models_that_are_not_what_they_say_are_refused(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with pytest.raises(RunError, match="count are not float32"):
        folder.write_model({"count": np.ones(2)}, plan="p", round_number=1, learnt="level")  # type: ignore[dict-item]
    with pytest.raises(RunError, match="is missing"):
        folder.read_model()
    folder.write_model(PARAMETERS, plan="small", round_number=3, learnt="level")
    folder.model_path.write_bytes(folder.model_path.read_bytes()[:-1])
    with pytest.raises(RunError, match="cannot be read"):
        folder.read_model()
    safetensors.numpy.save_file(dict(PARAMETERS), folder.model_path)
    with pytest.raises(RunError, match="cannot be read"):
        folder.read_model()
    metadata = {"names": '["bias"]', "layout": "0" * 64, "plan": "p", "round": "1"}
    safetensors.numpy.save_file(dict(PARAMETERS), folder.model_path, metadata)
    with pytest.raises(RunError, match="layout"):
        folder.read_model()


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "plan.toml"
    write_atomically(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device", str(descriptor))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["plan.toml"]


def test_summary_by_hand() -> None:
    alone = [0.50, 0.60, 0.70, 0.80, None]
    personal = [0.60, 0.604, 0.65, 0.90, 0.99]
    told = ["helped", "no difference", "hurt", "helped", None]
    rows = [home_row(str(i), "alone", score) for i, score in enumerate(alone)]
    rows += [
        home_row(str(i), "personalised", score, verdict=verdict)
        for i, (score, verdict) in enumerate(zip(personal, told, strict=True))
    ]
    rows += [home_row("0", "global", float("nan"))]
    first, second, third = summary(homes_table(rows))

    assert (first.model, first.homes, first.left_out, first.compared) == ("alone", 4, 1, 0)
    assert (first.mean, first.median) == pytest.approx((0.65, 0.65))
    assert first.p10 == pytest.approx(0.53)
    assert np.isnan([first.hurt, first.helped, first.gain, first.p_value]).all()

    assert (second.model, second.homes, second.left_out, second.compared) == ("global", 0, 1, 0)
    assert np.isnan([second.mean, second.median, second.p10, second.hurt, second.gain]).all()

    assert (third.model, third.homes, third.compared) == ("personalised", 5, 4)
    assert (third.hurt, third.helped) == (0.25, 0.5)
    gaps = differences(homes_table(rows), "personalised")
    assert gaps == pytest.approx({"0": 0.1, "1": 0.004, "2": -0.05, "3": 0.1})
    assert third.gain == pytest.approx(0.154 / 4)
    assert np.isnan(third.p_value)  # of four homes
    reach = 3.182 * np.std(list(gaps.values()), ddof=1) / 2
    assert (third.gain_low, third.gain_high) == pytest.approx(
        (third.gain - reach, third.gain + reach)
    )


@pytest.mark.parametrize("homes", [6, 100, 8191, 8193])
def test_an_interval_is_of_means_that_are_drawn_one_by_one(homes: int) -> None:
    gains = np.random.default_rng(4).normal(size=homes)
    drawn = np.random.default_rng(homes)
    means = [gains[drawn.integers(0, homes, homes)].mean() for _ in range(2000)]
    assert mean_interval(gains) == tuple(np.quantile(means, [0.025, 0.975]))


def test_the_interval_of_a_gain_is_about_students() -> None:
    """Of 200 homes, whose gains are drawn from a normal one, the two hardly differ."""
    gains = np.random.default_rng(1).normal(0.03, 0.1, 200)
    low, high = mean_interval(gains)
    reach = 1.972 * gains.std(ddof=1) / np.sqrt(200)
    assert (low, high) == pytest.approx((gains.mean() - reach, gains.mean() + reach), abs=1.5e-3)
    assert mean_interval(gains) == (low, high)  # a table is the same whenever it is read
    rows = [home_row(str(i), "alone", 0.5) for i in range(200)]
    rows += [home_row(str(i), "tuned", 0.5 + gain) for i, gain in enumerate(gains)]
    tuned = summary(homes_table(rows))[1]
    assert (tuned.gain_low, tuned.gain_high) == pytest.approx((low, high))


def test_the_interval_of_few_homes_is_students_and_of_one_there_is_none() -> None:
    """By hand: 0.1 to 0.4 have the mean 0.25 and the deviation 0.1291; half of that times 3.182."""
    four = np.array([0.1, 0.2, 0.3, 0.4])
    assert mean_interval(four) == pytest.approx((0.25 - 0.2054, 0.25 + 0.2054), abs=1e-4)
    for count in (2, 3, 5):
        some = np.arange(count) / 10
        reach = t.ppf(0.975, count - 1) * some.std(ddof=1) / np.sqrt(count)
        ends = (some.mean() - reach, some.mean() + reach)
        assert mean_interval(some) == pytest.approx(ends, abs=1e-3)
    assert np.isnan(mean_interval(four[:1])).all()


def test_p_value_of_a_clean_sweep_by_hand() -> None:
    # All of n differences positive and distinct: p = 2 / 2**n, by counting the signs.
    for count in (6, 8, 12):
        rows = [home_row(str(i), "alone", 0.1) for i in range(count)]
        rows += [home_row(str(i), "global", 0.2 + i / 100) for i in range(count)]
        assert summary(homes_table(rows))[1].p_value == pytest.approx(2 / 2**count)
    few = [row for row in rows if int(str(row["home"])) < 5]
    assert np.isnan(summary(homes_table(few))[1].p_value)
    equal = [row | {"score": 0.3} for row in rows]
    assert np.isnan(summary(homes_table(equal))[1].p_value)


@settings(max_examples=share_of(25))
@given(st.lists(st.sampled_from([*VERDICTS, None]), min_size=1, max_size=20))
def test_shares_of_homes_are_those_with_a_verdict(told: list[str | None]) -> None:
    rows = [home_row(str(i), "tuned", 0.5, verdict=verdict) for i, verdict in enumerate(told)]
    compared, hurt, helped = verdict_shares(homes_table(rows), "tuned")
    known = [verdict for verdict in told if verdict]
    assert compared == len(known)
    if known:
        none = known.count("no difference") / len(known)
        assert hurt + helped + none == pytest.approx(1.0)
        assert hurt == known.count("hurt") / len(known)
    else:
        assert np.isnan([hurt, helped]).all()


@pytest.mark.long
def test_neither_torch_nor_flower_nor_scipy_is_imported() -> None:
    script = (
        "import sys, fedhome.run.folder, fedhome.run.events\n"
        "print([m for m in ('torch', 'flwr', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]"


def test_a_model_says_what_it_states_and_one_of_before_states_levels(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_model(PARAMETERS, plan="small", round_number=3, learnt="level")
    assert folder.read_model().learnt == "level"
    assert b"learns" not in folder.model_path.read_bytes()
    folder.write_model(PARAMETERS, plan="small", round_number=3, learnt="change")
    folder.write_start(folder.read_model())
    for model in (folder.read_model(), folder.read_start()):
        assert model is not None
        assert model.learnt == "change"
    odd = folder.model_path.read_bytes().replace(b'"change"', b'"chance"')
    folder.model_path.write_bytes(odd)
    with pytest.raises(RunError):
        folder.read_model()
