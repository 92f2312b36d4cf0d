"""Processes that are forked instead of started are processes as any other: helpers/forked.py."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fedhome.ops.processes import Child
from helpers.forked import Forker
from helpers.living import processes_of, wait_until_gone

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("forked"),
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc"),
]

FEDHOME = Path(sys.executable).parent / "fedhome"


def running(code: str, folder: Path) -> list[str]:
    """Return the command of a child that runs code, and names a folder."""
    return ["timeit", "-n", "1", "-r", "1", code, f"'{folder}'"]


def test_who_is_killed_or_stopped_while_it_asks_is_in_nobodys_way(forker: Forker) -> None:
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stopped,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as killed,
    ):
        for one in (stopped, killed):
            one.connect(forker.popen.address)
        killed.close()
        assert subprocess.run([FEDHOME, "--version"], check=False).returncode == 0


def test_a_command_says_what_it_says_and_ends_as_it_ends(tmp_path: Path, forker: Forker) -> None:
    assert subprocess.Popen is forker.popen
    done = subprocess.run([FEDHOME, "--version"], capture_output=True, text=True, check=True)
    assert (done.stdout.split()[0], done.stderr) == ("fedhome", "")
    done = subprocess.run(
        [FEDHOME, "server", "status", "absent"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=os.environ | {"COLUMNS": "500"},
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert f"no server.toml in {tmp_path / 'absent'}" in done.stderr


def test_a_child_has_its_words_its_streams_and_its_descriptors(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    code = f"import os; os.write({writing}, b'%d' % os.getpid()); print(sorted(os.environ))"
    log = tmp_path / "log"
    child = Child(
        *("it", running(code, tmp_path)),
        log=log,
        passed=(writing,),
        environment={"ONLY_HERE": "1"},
        told=True,
    )
    child.start()
    os.close(writing)
    assert child.process is not None
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read() == b"%d" % child.process.pid  # and nobody else has it open
    assert b"'ONLY_HERE'" in child.output()
    assert (child.look() or child.ending, log.read_bytes()) == ("status 0", b"")


def test_a_childs_descriptors_are_closed_by_nothing_of_before(
    tmp_path: Path, forker: Forker
) -> None:
    """Sockets of who forked it are gone before it opens files of the same numbers."""
    opened = "own = [os.open(os.devnull, os.O_RDONLY) for _ in range(100)]"
    looked = "gc.collect(); print(len([os.fstat(number) for number in own]))"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as beside:
        beside.connect(forker.popen.address)
        subprocess.run([FEDHOME, "--version"], check=True)  # who waits beside it is taken in
        code = f"import gc, os; {opened}; {looked}"
        child = Child("it", running(code, tmp_path), log=tmp_path / "log", told=True)
        child.start()
        assert b"100" in child.output(), (tmp_path / "log").read_text()
    assert child.ending == "status 0"


@pytest.mark.parametrize("stopped", [False, True])
def test_a_child_dies_with_whoever_started_it(tmp_path: Path, stopped: bool) -> None:
    inner, outer = tmp_path / "inner", tmp_path / "outer"
    waits = "import time; print('waits', flush=True); time.sleep(600)"
    starts = "import time; from fedhome.ops.processes import Child"
    begun = f"{starts}; Child('inner', {running(waits, inner)!r}).start(); time.sleep(600)"
    parent = Child("outer", running(begun, outer), told=True)
    parent.start()
    assert parent.process is not None
    assert parent.process.stdout is not None
    assert parent.process.stdout.readline() == b"waits\n"
    (child,) = set(processes_of(inner)) - {parent.process.pid}
    status = Path(f"/proc/{child}/status").read_text()
    assert f"PPid:\t{os.getpid()}\n" not in status
    if stopped:
        os.kill(child, signal.SIGSTOP)
    parent.process.kill()
    assert parent.output() == b""
    assert parent.ending == f"signal {signal.SIGKILL:d}"
    wait_until_gone(tmp_path)
