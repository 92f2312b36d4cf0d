"""`fedhome fleet invite --like`: a plan names its inputs as example readings have them."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from fedhome.cli import app
from fedhome.cli.fleet_words import plan_of
from fedhome.errors import DataError, PlanError
from fedhome.fleet.cards import Card
from fedhome.fleet.invites import Invite
from fedhome.fleet.owner_folder import Fleet
from fedhome.plan.input_settings import InputSpec
from fedhome.plan.settings import Plan
from fedhome.server.daemon.current_run import check

Typed = Callable[..., Result]
ROWS = 30


def write(path: Path, columns: dict[str, list[str]]) -> Path:
    """Write a home's readings of hours; a column's cells come again and again."""
    lines = [",".join(["time", *columns])]
    for row in range(ROWS):
        cells = [cells[row % len(cells)] for cells in columns.values()]
        lines.append(",".join([f"2024-01-{1 + row // 24:02}T{row % 24:02}:00Z", *cells]))
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Typed:
    """Type `fedhome fleet invite` as the owner of a fleet whose plan predicts `load`."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    Path("server.card").write_text(Card(server="hub.example:8443", authorities=b"-").to_text())
    Path("plan.toml").write_text('[data]\ntarget = "load"\n')
    with Fleet.create(tmp_path / "mine", "correct horse"):
        pass

    def type_(*words: str) -> Result:
        where = ("--fleet", "mine", "--server", "server.card")
        return CliRunner().invoke(app, ["fleet", "invite", *words, *where])

    return type_


def plan_in(home: str) -> Plan:
    text = Invite.from_text(Path(f"{home}.invite").read_text()).plan
    return Plan.parse(tomllib.loads(text))


def test_an_invite_without_inputs_is_refused(typed: Typed) -> None:
    done = typed("oak", "--plan", "plan.toml")
    assert isinstance(done.exception, PlanError)
    assert "data.inputs is not set" in done.exception.message
    assert "--like FILE" in done.exception.hint
    assert not Path("oak.invite").exists()
    assert not Path("mine/plan.toml").exists()
    Path("named.toml").write_text('[data]\ntarget = "load"\nfeatures = ["temp"]\n')
    assert isinstance(typed("oak", "--plan", "named.toml").exception, PlanError)
    with pytest.raises(PlanError, match=r"data\.inputs is not set"):
        check(Plan(), 100)


def test_a_plan_that_an_earlier_release_kept_says_how_it_is_replaced(typed: Typed) -> None:
    kept = Path("mine/plan.toml")
    kept.write_text("[personalise]\ngate = 0.1\n")
    with pytest.raises(PlanError, match=r"personalise\.gate is not a setting") as caught:
        plan_of(Path("mine"))
    assert "`fedhome fleet invite HOME... --again --plan PLAN --like FILE`" in caught.value.hint
    file = write(Path("a.csv"), {"load": ["1", "2"], "temp": ["3"]})
    assert typed("oak", "--plan", "plan.toml", "--like", str(file)).exit_code == 0
    assert plan_of(Path("mine")) == plan_in("oak")


@pytest.mark.long
def test_a_folder_of_homes_says_what_all_share_and_all_words(typed: Typed) -> None:
    homes, load = Path("examples"), ["1.5", "2.5", "3"]
    write(homes / "a.csv", {"load": load, "temp": ["20"], "mode": ["off", "heat"]})
    write(homes / "b.csv", {"mode": ["cool"], "garage": ["1"], "temp": ["5", ""], "load": load})
    done = typed("oak", "elm", "--plan", "plan.toml", "--like", "examples")
    assert done.exit_code == 0, done.exception
    plan = plan_in("oak")
    assert plan == plan_in("elm")
    assert plan.data.inputs == (
        InputSpec(name="temp"),
        InputSpec(name="mode", kind="words", words=("cool", "heat", "off")),
    )
    assert "cool, heat, off" in done.output
    assert "note: b: not used, as not in all homes or not in the plan: garage" in done.output
    assert "the server runs this very plan, with its inputs: mine/plan.toml" in done.output
    # It is remembered: the next homes are asked for the same.
    assert Plan.load(Path("mine/plan.toml")) == plan
    assert typed("ash").exit_code == 0
    assert plan_in("ash") == plan
    check(plan, 100)


@pytest.mark.long
def test_one_file_is_enough_and_features_stay_in_their_order(typed: Typed) -> None:
    file = write(Path("a.csv"), {"a": ["1"], "load": ["1", "2"], "b": ["2"], "c": ["3"]})
    Path("plan.toml").write_text('[data]\ntarget = "load"\nfeatures = ["c", "a"]\n')
    assert typed("oak", "--plan", "plan.toml", "--like", str(file)).exit_code == 0
    assert plan_in("oak").data.inputs == (InputSpec(name="c"), InputSpec(name="a"))
    Path("plan.toml").write_text('[data]\ntarget = "lord"\n')
    error = typed("elm", "--plan", "plan.toml", "--like", str(file)).exception
    assert isinstance(error, DataError)
    assert "did you mean 'load'?" in error.message
    assert plan_in("oak") == Plan.load(Path("mine/plan.toml")), "what was remembered stays"


def test_a_series_alone_has_no_inputs_besides_itself(typed: Typed) -> None:
    file = write(Path("a.csv"), {"load": ["1", "2"]})
    assert typed("oak", "--plan", "plan.toml", "--like", str(file)).exit_code == 0
    assert plan_in("oak").data.inputs == ()


def test_the_files_of_one_home_are_read_together(typed: Typed) -> None:
    write(Path("one") / "load.csv", {"load": ["1", "2"]})
    done = typed("oak", "--plan", "plan.toml", "--like", "one")
    assert done.exit_code == 0, done.exception


def test_classes_are_written_too(typed: Typed) -> None:
    write(Path("homes") / "a.csv", {"load": ["idle", "wash"], "power": ["1", "2"]})
    write(Path("homes") / "b.csv", {"load": ["dry", "idle"], "power": ["1", "2"]})
    Path("plan.toml").write_text(
        '[data]\ntarget = "load"\nhorizon = 0\nlags = []\n[task]\nkind = "multi-class"\n'
    )
    done = typed("oak", "--plan", "plan.toml", "--like", "homes")
    assert done.exit_code == 0, done.exception
    assert plan_in("oak").task.classes == ("dry", "idle", "wash")


@pytest.mark.long
def test_a_plan_is_shown_with_its_inputs(typed: Typed) -> None:
    del typed
    write(Path("a.csv"), {"load": ["1", "2"], "temp": ["1"]})
    done = CliRunner().invoke(app, ["plan", "show", "plan.toml", "--like", "a.csv"])
    assert done.exit_code == 0, done.exception
    assert Plan.parse(tomllib.loads(done.stdout)).data.inputs == (InputSpec(name="temp"),)
    again = CliRunner().invoke(app, ["plan", "explain", "plan.toml"], env={"COLUMNS": "300"})
    assert "data.inputs" in again.output


def test_an_invite_that_homes_would_refuse_for_its_letters_is_not_written(typed: Typed) -> None:
    Path("plan.toml").write_text('[data]\ntarget = "load\\u0007"\ninputs = [{name = "temp\\r"}]\n')
    error = typed("oak", "--plan", "plan.toml").exception
    assert isinstance(error, PlanError)
    assert any("data.target is 'load\\x07'" in fault for fault in error.faults)
    assert any("data.inputs.name is 'temp\\r'" in fault for fault in error.faults)
    assert not Path("oak.invite").exists()
