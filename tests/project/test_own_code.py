"""A user's own code: found beside the plan, in the current folder, by pip; its faults."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from fedhome import own_code
from fedhome.cli.simulate import resolve
from fedhome.errors import ModelError, PlanError, PluginError
from fedhome.learning.personalise import personaliser
from fedhome.learning.tasks import TASKS, kind_of
from fedhome.models.mlp import build_model
from fedhome.ops.processes import Child
from fedhome.plan.settings import Plan
from fedhome.plugins import load
from fedhome.server.strategies import strategy_of
from fedhome.simulations.gather import gather


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_file_is_found_beside_the_plan_then_in_the_current_folder(
    project: Path, here: Path
) -> None:
    plan = written(
        project / "plan.toml",
        '[strategy]\nname = "both.py:Mine"\n[model]\nname = "mine_of_here:Net"\n'
        '[task]\nkind = "neither.py:KIND"\n',
    )
    for folder in (project, here):
        written(folder / "both.py", "Mine = 1\n")
    written(here / "mine_of_here.py", "Net = 2\n")
    for read in (Plan.load(plan), resolve(str(plan), None, [])):
        assert read.strategy.name == f"{project / 'both.py'}:Mine"
        assert read.model.name == f"{here / 'mine_of_here.py'}:Net"
        assert read.task.kind == f"{project / 'neither.py'}:KIND"
        assert Plan.parse(read.model_dump()).located() == read
    assert load("mine_of_here:Net", "model") == load("mine_of_here.py:Net", "model") == 2
    with pytest.raises(PluginError, match=r"no file .*mine_of_hre\.py: did you mean '.*here\.py'"):
        load("mine_of_hre.py:Net", "model")


def test_a_current_folder_that_is_gone_is_told_where_code_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert Plan.load(sets=["data.homes=50"]).located().data.homes == 50
    for name in ("mine:Net", "mine.py:Net"):
        with pytest.raises(PlanError, match=r"model\.name: the current folder is gone"):
            Plan.load(sets=[f"model.name={name}"])
        with pytest.raises(PluginError, match="the current folder is gone"):
            load(name, "model")


def test_what_is_installed_keeps_its_name(here: Path) -> None:
    (here / "fedhome" / "learning").mkdir(parents=True)
    written(here / "fedhome" / "learning" / "build.py", "")
    for name in ("fedhome.learning.build:learning_of", "fedavg", "synthetic", "/data/a:b", ":", ""):
        assert own_code.located(name, [here]) == name


def test_an_import_leaves_no_name_and_no_path_behind(project: Path) -> None:
    written(project / "queue.py", "raise RuntimeError('it shadows')\n")
    written(project / "neighbour_of_one.py", "VALUE = 3\n")
    file = written(
        project / "server.py", "import queue\nfrom neighbour_of_one import VALUE\nqueue.Queue\n"
    )
    path = list(sys.path)
    assert load(f"{file}:VALUE", "model") == 3
    assert sys.path == path
    assert "server" not in sys.modules
    assert load(f"{file}:queue", "model") is sys.modules["queue"]
    assert not list(project.glob("__pycache__/server*"))


def test_each_folder_has_neighbours_of_its_own_and_a_changed_file_is_read_anew(
    tmp_path: Path,
) -> None:
    files = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        written(tmp_path / folder / "same_neighbour.py", f"VALUE = {folder!r}\n")
        files.append(
            written(tmp_path / folder / "mine.py", "from same_neighbour import VALUE as MINE\n")
        )
    assert [load(f"{file}:MINE", "model") for file in files] == ["a", "b"]
    written(files[0], "MINE = 'c'\n")
    assert load(f"{files[0]}:MINE", "model") == "c"


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("import torch\n\nx = missing\n", 3, "NameError: name 'missing' is not defined"),
        ("a = 1\ndef f(:\n", 2, "SyntaxError"),
        ("\nimport absent_neighbour\n", 2, "No module named 'absent_neighbour'"),
    ],
)
def test_a_mistake_at_import_is_told_with_its_line(
    project: Path, text: str, line: int, said: str
) -> None:
    file = written(project / "mine.py", text)
    with pytest.raises(PluginError) as caught:
        load(f"{file}:Net", "model")
    assert f"{file}, line {line}: " in caught.value.message
    assert said in caught.value.message
    assert text.splitlines()[line - 1].strip() in caught.value.hint


def test_a_mistake_in_a_neighbour_is_told_with_the_neighbours_line(project: Path) -> None:
    neighbour = written(project / "broken_neighbour.py", "\n\n1 / 0\n")
    file = written(project / "mine.py", "import broken_neighbour\n")
    with pytest.raises(PluginError, match="ZeroDivisionError") as caught:
        load(f"{file}:Net", "model")
    assert f"{neighbour}, line 3: " in caught.value.message


OWN = """
from fedhome.learning.tasks import TASKS
from flwr.serverapp.strategy import FedAvg

class Mine(FedAvg):
    def __init__(self, **settings):
        {}["strategy"]

def net(features, outputs):
    return {}["model"]

def deaf():
    pass

def source(plan):
    yield {}["source"]

def personal():
    raise KeyError("personaliser")

def kind():
    return TASKS["binary"]

def wrong():
    return 1 / 0
"""


def test_every_kind_tells_the_line_that_fails_when_it_is_called(project: Path) -> None:
    file = written(project / "mine.py", OWN)
    lines = OWN.splitlines()

    def fails(kind: str, call: object, text: str) -> None:
        with pytest.raises(PluginError) as caught:
            call()  # type: ignore[operator]
        assert caught.value.message.startswith(f"{kind} '{file}:")
        number = next(n for n, line in enumerate(lines, 1) if text in line)
        assert f"{file}, line {number}, in " in caught.value.message

    def plan(section: str, key: str, name: str) -> Plan:
        return Plan.parse({section: {key: f"{file}:{name}"}})

    fails("strategy", lambda: strategy_of(plan("strategy", "name", "Mine"), 5), '["strategy"]')
    fails("model", lambda: build_model(plan("model", "name", "net"), 3, 1), '["model"]')
    fails("model", lambda: build_model(plan("model", "name", "deaf"), 3, 1), "def deaf")
    fails("source", lambda: gather(plan("data", "source", "source")), '["source"]')
    fails("source", lambda: gather(plan("data", "source", "deaf")), "def deaf")
    fails("personaliser", lambda: personaliser(f"{file}:personal"), "raise KeyError")
    fails("task", lambda: kind_of(f"{file}:wrong"), "return 1 / 0")
    assert kind_of(f"{file}:kind") is TASKS["binary"]


def test_a_module_that_fails_on_an_input_is_told_with_its_line(project: Path) -> None:
    text = (
        "import torch\nclass Net(torch.nn.Module):\n    def __init__(self, features, outputs):\n"
        "        super().__init__()\n        self.a = torch.nn.Linear(features, outputs)\n"
        "    def forward(self, x):\n        return self.b(x)\n"
    )
    file = written(project / "mine.py", text)
    with pytest.raises(ModelError, match=r"mine\.py, line 7: .*'b'"):
        build_model(Plan.parse({"model": {"name": f"{file}:Net"}}), 3, 1)


def test_what_fails_in_a_run_is_told_and_what_is_not_ones_own_is_left(project: Path) -> None:
    file = written(project / "mine.py", "def halves(x):\n    return 1 / x\n")
    halves = load(f"{file}:halves", "strategy")
    told = rf"{file}, line 2, in halves: ZeroDivisionError"
    with pytest.raises(PluginError, match=told), own_code.faults_told():
        halves(0)  # type: ignore[operator]
    with pytest.raises(KeyError, match="ours"), own_code.faults_told():
        raise KeyError("ours")


def test_installed_packages_offer_names_in_one_group(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        EntryPoint("strategy.mine", "collections:OrderedDict", "fedhome"),
        EntryPoint("model.mine", "collections:Counter", "fedhome"),
        EntryPoint("model.twice", "collections:Counter", "fedhome"),
        EntryPoint("model.twice", "collections:deque", "fedhome"),
    ]
    monkeypatch.setattr(
        metadata, "entry_points", lambda *, group: points if group == "fedhome" else []
    )
    assert load("mine", "strategy").__name__ == "OrderedDict"  # type: ignore[attr-defined]
    with pytest.raises(PluginError, match="'twice' is offered twice"):
        load("mine", "model")
    points.pop()
    with pytest.raises(PluginError, match=r"'mien' is unknown: did you mean 'mine'\?"):
        load("mien", "model")


@pytest.mark.long
def test_a_child_is_not_shadowed_by_the_current_folder(here: Path, tmp_path: Path) -> None:
    for name in ("queue", "signal", "ctypes"):
        written(here / f"{name}.py", "raise RuntimeError('shadowed')\n")
    log = tmp_path / "log"
    child = Child("check", ["fedhome.absent"], log=log)
    child.start()
    assert child.process is not None
    child.process.wait(60)
    child.wait(0)
    assert "No module named 'fedhome.absent'" in log.read_text()


@pytest.mark.long
def test_the_command_line_tells_a_mistake_without_a_traceback(project: Path, here: Path) -> None:
    written(project / "mine.py", "\nx = missing\n")
    plan = written(
        project / "plan.toml",
        '[data]\nhomes = 5\ndays = 10\n[strategy]\nname = "mine.py:Mine"\n',
    )
    done = subprocess.run(
        [sys.executable, "-c", "from fedhome.cli import main; main()", "simulate", str(plan)],
        cwd=here,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert f"{project / 'mine.py'}, line 2: NameError" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("status", ["3", "", "'bye'"])
def test_code_that_ends_the_program_ends_the_run_with_its_line(project: Path, status: str) -> None:
    file = written(project / "mine.py", f"import sys\n\nsys.exit({status})\n")
    with pytest.raises(PluginError, match=rf"{file}, line 3: SystemExit") as caught:
        load(f"{file}:Net", "model")
    assert "__main__" in caught.value.hint
    file = written(project / "later.py", "def net(features, outputs):\n    raise SystemExit\n")
    with pytest.raises(PluginError, match=r"later\.py, line 2, in net: SystemExit"):
        build_model(Plan.parse({"model": {"name": f"{file}:net"}}), 3, 1)
    with pytest.raises(SystemExit), own_code.faults_told():
        sys.exit(3)  # not in code of a user's: that is somebody's own decision


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("loop.py:Net", "[Ll]oop|Too many levels"),
        ("a\0b.py:Net", "null"),
        (f"{'x' * 5000}.py:Net", r"'x{120}\.\.\.' cannot be a file: File name too long"),
        ("~nobody-of-this-name/x.py:Net", "home directory"),
    ],
    ids=["loop", "NUL", "long", "nobody"],
)
def test_a_name_that_no_file_can_have_is_a_fault_of_the_plan(
    here: Path, name: str, why: str
) -> None:
    (here / "loop.py").symlink_to(here / "loop.py")
    with pytest.raises(PlanError, match=why) as caught:
        Plan.load(model={"name": name})
    assert caught.value.faults[0].startswith("model.name: ")


@pytest.mark.parametrize(
    "name", ["mine.py:", ":Net", "mine.py:Net:x", "mine.py : Net", "mine.txt:Net x"]
)
def test_a_name_of_neither_form_says_which_forms_there_are(here: Path, name: str) -> None:
    written(here / "mine.py", "Net = 1\n")
    with pytest.raises(PluginError, match="of neither form") as caught:
        load(name, "model")
    assert '"file.py:attribute"' in caught.value.hint


def test_a_folder_is_not_taken_for_a_file_nor_meant_by_its_own_name(project: Path) -> None:
    (project / "mine.py").mkdir()
    with pytest.raises(PluginError, match=r"mine\.py is a folder\n"):
        load(f"{project / 'mine.py'}:Net", "model")


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("from . import other_one\n", "write `import other`"),
        ("def net(features, outputs):\n    import other_one\n", "import it at the file's top"),
    ],
)
def test_an_import_that_cannot_work_says_how_it_would(
    project: Path, text: str, advice: str
) -> None:
    written(project / "other_one.py", "")
    file = written(project / "mine.py", text)
    with pytest.raises(PluginError) as caught:
        build_model(Plan.parse({"model": {"name": f"{file}:net"}}), 3, 1)
    assert advice in caught.value.hint


def test_bytes_that_are_no_text_are_told_with_a_command_that_shows_it(project: Path) -> None:
    file = project / "mine.py"
    file.write_text("Net = 1\n", encoding="utf-16")
    with pytest.raises(PluginError, match="cannot be imported: SyntaxError") as caught:
        load(f"{file}:Net", "model")
    assert f"`python {file}`" in caught.value.hint


def test_a_module_that_makes_its_attributes_itself_is_told_when_it_fails(project: Path) -> None:
    file = written(project / "mine.py", "def __getattr__(name):\n    raise RuntimeError(name)\n")
    with pytest.raises(PluginError, match=rf"{file}, line 2, in __getattr__: RuntimeError: Net"):
        load(f"{file}:Net", "model")


def test_windows_line_ends_a_mark_and_names_of_all_kinds_are_nothing_special(
    project: Path,
) -> None:
    folder = project / "mit Leerzeichen, ü"
    folder.mkdir()
    file = folder / "größe 1.py"
    file.write_bytes("\ufeffclass Net:\r\n    size = 1\r\n".encode())
    assert load(f"{file}:Net.size", "model") == 1
    (project / "link.py").symlink_to(file)
    assert load(f"{project / 'link.py'}:Net.size", "model") == 1


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ((), r"Mine\.step\(\) missing 1 required positional argument: 'x'"),
        ((1, 2), r"Mine\.step\(\) takes 2 positional arguments but 3 were given"),
    ],
)
def test_a_function_that_takes_other_arguments_is_told_with_its_line(
    project: Path, given: tuple[int, ...], told: str
) -> None:
    """No line of it has run: its caller was shown, with a traceback."""
    file = written(project / "mine.py", "class Mine:\n    def step(self, x):\n        return x\n")
    mine: Any = load(f"{file}:Mine", "strategy")
    where = rf"{file}, line 2, in step: TypeError: {told}"
    with pytest.raises(PluginError, match=where) as caught, own_code.faults_told():
        mine().step(*given)
    assert caught.value.hint == "that line is: def step(self, x):"
    with pytest.raises(TypeError, match="step"), own_code.faults_told():
        raise TypeError("Ours.step() takes 2 positional arguments but 3 were given")


def test_what_a_framework_raises_is_no_fault_of_the_users(project: Path) -> None:
    del project
    load("flwr.serverapp.strategy:FedAvg", "strategy")
    with pytest.raises(AttributeError), own_code.faults_told():
        load("flwr.serverapp.strategy:FedAvg", "strategy").summary(object())  # type: ignore[attr-defined]
