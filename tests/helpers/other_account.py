"""What another account of this machine can do: it knocks at addresses, in a process of its own."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

NOBODY = "nobody"

_KNOCK = """\
import json, socket, sys
kind, address, requests = json.load(sys.stdin)
told = {}
for name, (head, body) in requests.items():
    try:
        with socket.socket(getattr(socket, kind)) as door:
            door.settimeout(30)
            door.connect(tuple(address) if isinstance(address, list) else address)
            door.sendall(head.encode() + bytes.fromhex(body))
            told[name] = door.recv(100).split(b" ")[1].decode()
    except OSError as error:
        told[name] = type(error).__name__
print(json.dumps(told))
"""


@cache
def interpreter() -> str:
    """Return a Python that the other account can run; skip the test where there is none."""
    if os.geteuid() != 0:
        pytest.skip("only root can start a process of another account")
    try:
        pwd.getpwnam(NOBODY)
    except KeyError:
        pytest.skip(f"this machine has no account {NOBODY}")
    for python in (sys.executable, "/usr/bin/python3", shutil.which("python3")):
        if python and _runs(python):
            return python
    pytest.skip(f"{NOBODY} can run no Python here: it lies in a folder of another account")


def _runs(python: str) -> bool:
    try:
        return not subprocess.run(
            [python, "-I", "-S", "-c", ""], user=NOBODY, check=False, capture_output=True, cwd="/"
        ).returncode
    except OSError:
        return False


def by_nobody(script: str, given: object) -> str:
    """Run a script as the other account, with JSON as its input; return what it prints."""
    done = subprocess.run(
        [interpreter(), "-I", "-S", "-c", script],
        input=json.dumps(given),
        user=NOBODY,
        group=pwd.getpwnam(NOBODY).pw_gid,
        extra_groups=[],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        cwd="/",
    )
    return done.stdout


def knocked(address: str | tuple[str, int], requests: Mapping[str, bytes]) -> dict[str, str]:
    """Post requests to an address as the other account.

    Args:
        address: Path of a Unix socket, or host and port.
        requests: Bodies by path.

    Returns:
        The status of each response; or the kind of error that came instead.
    """
    kind = "content-type: application/protobuf"
    posts = {
        path: (
            f"POST {path} HTTP/1.1\r\nhost: hub\r\n{kind}\r\ncontent-length: {len(body)}\r\n\r\n",
            body.hex(),
        )
        for path, body in requests.items()
    }
    family = "AF_UNIX" if isinstance(address, str) else "AF_INET"
    told: dict[str, str] = json.loads(by_nobody(_KNOCK, [family, address, posts]))
    return told


@contextmanager
def open_folder() -> Iterator[Path]:
    """Make a folder that every account may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="fedhome-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
