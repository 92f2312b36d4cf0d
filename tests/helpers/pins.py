"""The locks: of what `make test` installs, in pins.txt, and of what a container's image does.

Each has every package with its version and hashes. The image's has the same versions.

    make pins                      write them anew where pyproject.toml has changed
    make pins ARGS=--upgrade       the same, with the newest releases that pyproject.toml takes

uv works them out, for every system and Python that pyproject.toml names. What they were worked out
of stands at their heads, so that a test can tell, without a network, that they are still of that.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROJECT, PINS = ROOT / "pyproject.toml", ROOT / "pins.txt"
IMAGE_PINS = ROOT / "fedhome" / "ops" / "image_pins.txt"
EXTRA = "dev"

_OF = "# of pyproject.toml: "
_HEAD = """\
# What `make test` installs, with hashes. Written by `make pins`: do not edit.
#     pip install --require-hashes -r pins.txt && pip install --no-deps --no-build-isolation -e .
"""
_IMAGE_HEAD = """\
# What fedhome needs at work, with hashes. Written by `make pins`: do not edit.
#     pip install --require-hashes -r FILE && pip install --no-deps fedhome
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


def _write(path: Path, head: str, arguments: list[str]) -> int:
    done = subprocess.run(
        [
            Path(sys.executable).parent / "uv",
            *("pip", "compile", PROJECT.name, "--universal", "--quiet"),
            *("--generate-hashes", "--no-header", "--no-emit-index-url", "--no-emit-find-links"),
            *("--output-file", str(path), *arguments),
        ],
        check=False,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,  # it goes into the file
    )
    if done.returncode == 0:
        path.write_text(f"{head}{_OF}{digest()}\n{path.read_text()}")
    return done.returncode


def main(arguments: list[str]) -> int:
    """Write the locks."""
    same = ["--constraint", str(PINS.relative_to(ROOT)), "--no-annotate"]
    return _write(PINS, _HEAD, ["--extra", EXTRA, *arguments]) or _write(
        IMAGE_PINS, _IMAGE_HEAD, [*same, *arguments]
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
