"""The lock of what `make test` installs: every package with its version and hashes, in pins.txt.

    make pins                      write it anew where pyproject.toml has changed
    make pins ARGS=--upgrade       the same, with the newest releases that pyproject.toml takes

uv works it out, for every system and Python that pyproject.toml names. What it was worked out of
stands at its head, so that a test can tell, without a network, that it is still of that.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROJECT, PINS = ROOT / "pyproject.toml", ROOT / "pins.txt"
EXTRA = "dev"

_OF = "# of pyproject.toml: "
_HEAD = """\
# What `make test` installs, with hashes. Written by `make pins`: do not edit.
#     pip install --require-hashes -r pins.txt && pip install --no-deps --no-build-isolation -e .
"""


def requirements() -> list[str]:
    """Return what the development environment needs, as pyproject.toml has it."""
    project = tomllib.loads(PROJECT.read_text())["project"]
    extras = project["optional-dependencies"]
    return [
        *project["dependencies"],
        *extras["ray"],
        *(one for one in extras[EXTRA] if not one.startswith("fedhome")),
    ]


def digest() -> str:
    """Return a hash of all that the lock follows from."""
    project = tomllib.loads(PROJECT.read_text())["project"]
    words = [project["requires-python"], *sorted(requirements())]
    return hashlib.sha256("\n".join(words).encode()).hexdigest()


def digest_of(pins: str) -> str:
    """Return that hash as a lock has it at its head; empty if there is none."""
    heads = [line for line in pins.splitlines() if line.startswith(_OF)]
    return heads[0].removeprefix(_OF) if heads else ""


def main(arguments: list[str]) -> int:
    """Write the lock."""
    done = subprocess.run(
        [
            Path(sys.executable).parent / "uv",
            *("pip", "compile", PROJECT.name, "--extra", EXTRA, "--universal", "--quiet"),
            *("--generate-hashes", "--no-header", "--no-emit-index-url", "--no-emit-find-links"),
            *("--output-file", PINS, *arguments),
        ],
        check=False,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,  # it goes into the file
    )
    if done.returncode == 0:
        PINS.write_text(f"{_HEAD}{_OF}{digest()}\n{PINS.read_text()}")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
