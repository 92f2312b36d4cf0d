"""Crashes of our processes leave no picture of their memory, whoever is to get it."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it is Linux that hands dumps on")

CRASH = "import faulthandler; faulthandler._sigsegv()"
LIMITS = "import resource; print(*resource.getrlimit(resource.RLIMIT_CORE))"
DUMPABLE = "import ctypes; print(ctypes.CDLL(None).prctl(3))"
OURS = "from fedhome.ops.core_dumps import leave_no_core; leave_no_core(); "
MOST = resource.getrlimit(resource.RLIMIT_CORE)[1]
FREE = MOST if MOST != resource.RLIM_INFINITY else 1 << 30


def played(code: str, hard: int, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python code where dumps of so many bytes are allowed."""
    return subprocess.run(
        [sys.executable, "-c", code],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (hard, hard)),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.skipif(MOST == 0, reason="this account may have no dumps, whatever is asked for")
def test_a_limit_of_a_byte_is_what_a_program_for_dumps_heeds(tmp_path: Path) -> None:
    """At 0, the former limit, Linux hands the dump to it all the same: core(5)."""
    assert played(OURS + LIMITS, FREE, tmp_path).stdout.split() == ["1", str(FREE)]
    inherited = f"{OURS}import subprocess, sys; subprocess.run([sys.executable, '-c', '{LIMITS}'])"
    assert played(inherited, FREE, tmp_path).stdout.split() == ["1", str(FREE)]


def test_where_no_limit_can_be_set_the_process_itself_is_marked(tmp_path: Path) -> None:
    assert played(DUMPABLE, 0, tmp_path).stdout.split() == ["1"]  # the control
    assert played(OURS + DUMPABLE, 0, tmp_path).stdout.split() == ["0"]


LIKE_ANYONE = "import os; os.getuid() or os.setuid(65534); "  # root may write what is root's
ADJUSTED = "print(open('/proc/self/oom_score_adj').read())"


def test_a_worker_goes_first_where_memory_is_short_though_it_is_marked(tmp_path: Path) -> None:
    """Its files in /proc are root's then, that of its place in the row as well."""
    write = "open('/proc/self/oom_score_adj', 'w').write('500')"
    control = played(f"{OURS}{LIKE_ANYONE}leave_no_core(); {write}", 0, tmp_path)
    assert "PermissionError" in control.stderr
    nothing = "lambda *_: None"
    begun = (
        "import encodings.ascii; from fedhome.clients.agent import worker; "  # nobody may import
        f"worker.serve = worker.import_lean = worker.spare_statistics = {nothing}; "
        f"{OURS}{LIKE_ANYONE}leave_no_core(); a, b = os.pipe(); worker.main(['.', str(a)]); "
    )
    worker = played(begun + ADJUSTED + "; " + DUMPABLE, 0, tmp_path)
    assert worker.stdout.split() == ["500", "0"], worker.stderr


def test_a_home_behind_flowers_own_process_marks_that(tmp_path: Path) -> None:
    """A stock SuperNode answers in a process that nothing of ours has begun."""
    code = (
        "from pathlib import Path; from fedhome.clients.membership.home_folder import HomeFolder\n"
        "from fedhome.clients.supernode import home_at; from fedhome.errors import RunError\n"
        "try:\n    with home_at(HomeFolder(Path('none'))):\n        pass\n"
        f"except RunError:\n    {LIMITS}\n{DUMPABLE}"
    )
    told = played(code, 0, tmp_path)
    assert told.stdout.split() == ["0", "0", "0"], told.stderr
    told = played(code, FREE, tmp_path)
    assert told.stdout.split() == (["1", str(FREE), "1"] if FREE else ["0", "0", "0"])


@pytest.mark.skipif(
    MOST == 0 or Path("/proc/sys/kernel/core_pattern").read_text().strip() != "core",
    reason="dumps go elsewhere here",
)
def test_a_crash_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "control").mkdir()
    (tmp_path / "ours").mkdir()
    assert played(CRASH, FREE, tmp_path / "control").returncode < 0
    if not list((tmp_path / "control").iterdir()):
        pytest.skip("this system leaves none")
    assert played(OURS + CRASH, FREE, tmp_path / "ours").returncode < 0
    assert not list((tmp_path / "ours").iterdir())


@pytest.mark.parametrize("start", ["fedhome", "fedhome.ops.processes"])
def test_every_process_of_ours_begins_so(start: str, tmp_path: Path) -> None:
    """Commands too: an owner's key is open in some of them."""
    asked = (
        f"import runpy, sys; sys.argv = ['x', {'--version'!r}]"
        if start == "fedhome"
        else "import runpy, sys; sys.argv = ['x', '0', 'json']"
    )
    code = (
        f"{asked}\ntry:\n    runpy.run_module({start!r}, run_name='__main__')\n"
        f"except (SystemExit, AttributeError):\n    pass\n{LIMITS}\n{DUMPABLE}"
    )
    *_, limit, most, dumpable = played(code, FREE, tmp_path).stdout.split()
    assert (limit, dumpable) == (("1", "1") if int(most) else ("0", "0"))
