"""Build a release and sign it, or check one: `make release KEY=FILE`, `make verify RELEASE=FOLDER`.

A release is a folder: wheel, sdist, the lock, the commit that they are built from, and a list of
their SHA-256 that OpenSSH signs. Whoever has a checkout checks the signature against the keys in
release.signers, and builds wheel and sdist anew: they come out the same, byte for byte.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SIGNERS = "release.signers"
SUMS, SIGNATURE, COMMIT, LOCK = "SHA256SUMS", "SHA256SUMS.sig", "COMMIT", "pins.txt"
WHO = "fedhome"
"""Whom release.signers names as the owner of its keys, and what a signature is for."""


class ReleaseError(Exception):
    """A release cannot be made, or is not what it should be: what is wrong, and what to do."""


def make(key: Path, out: Path, root: Path = ROOT) -> Path:
    """Build and sign a release of what is committed; return its folder.

    Args:
        key: OpenSSH's private key file; it may ask for its passphrase.
        out: The folder, which must not be there.
        root: The checkout.

    Raises:
        ReleaseError: There are changes that nobody committed, or release.signers lacks the key.
    """
    if _said("git", "status", "--porcelain", folder=root):
        raise ReleaseError("not all is committed: a release is built of a commit, so commit first")
    public = _said("ssh-keygen", "-y", "-f", key, folder=root).split()[:2]
    if not any(public == line.split()[-2:] for line in _signers(root)):
        raise ReleaseError(
            f"{SIGNERS} does not list this key, so nobody could check what it signs: add the line\n"
            f'{WHO} namespaces="{WHO}" {" ".join(public)}\nand commit it'
        )
    out.mkdir(parents=True)
    build(out, root)
    shutil.copyfile(root / LOCK, out / LOCK)
    (out / COMMIT).write_text(_said("git", "rev-parse", "HEAD", folder=root) + "\n")
    sign(out, key)
    check(out, root / SIGNERS)
    return out


def build(out: Path, root: Path = ROOT) -> None:
    """Build sdist and wheel of a checkout into a folder, dated by its commit."""
    date = _said("git", "log", "-1", "--format=%ct", folder=root)
    command = (sys.executable, "-m", "build", "--no-isolation", "--outdir", out, root)
    _said(*command, folder=root, SOURCE_DATE_EPOCH=date)


def sign(folder: Path, key: Path) -> None:
    """List the files of a folder with their SHA-256, as sha256sum does, and sign the list."""
    rows = [f"{_sha256(path)}  {path.name}\n" for path in _files(folder)]
    (folder / SUMS).write_text("".join(rows))
    (folder / SIGNATURE).unlink(missing_ok=True)
    _said("ssh-keygen", "-Y", "sign", "-f", key, "-n", WHO, folder / SUMS, folder=folder)


def check(folder: Path, signers: Path) -> None:
    """Refuse a folder whose list nobody of the signers signed, or that is not what the list says.

    Args:
        folder: The release.
        signers: OpenSSH's list of allowed signers.

    Raises:
        ReleaseError: What is wrong.
    """
    for name in (SUMS, SIGNATURE):
        if not (folder / name).is_file():
            raise ReleaseError(f"{folder} has no {name}: it is no signed release")
    listed = (folder / SUMS).read_bytes()
    done = subprocess.run(
        [
            "ssh-keygen",
            "-Y",
            "verify",
            "-f",
            signers,
            "-I",
            WHO,
            "-n",
            WHO,
            "-s",
            folder / SIGNATURE,
        ],
        input=listed,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise ReleaseError(
            f"no key of {signers.name} signed {SUMS}: do not install this release, and tell the "
            "maintainers where it came from"
        )
    wanted = dict(line.split("  ", 1)[::-1] for line in listed.decode().splitlines())
    found = {path.name: _sha256(path) for path in _files(folder)}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            what = "missing" if name not in found else "another one than the signed list says"
            what = "in no signed list" if name not in wanted else what
            raise ReleaseError(f"{name} is {what}: do not install this release")


def check_sources(folder: Path, root: Path = ROOT) -> None:
    """Refuse a release whose wheel or sdist a checkout of its commit does not give.

    Raises:
        ReleaseError: Which; or the checkout is of another commit.
    """
    commit = (folder / COMMIT).read_text().strip()
    here = _said("git", "rev-parse", "HEAD", folder=root)
    if here != commit or _said("git", "status", "--porcelain", folder=root):
        raise ReleaseError(f"the checkout is not just commit {commit}: `git checkout {commit}`")
    with tempfile.TemporaryDirectory() as made:
        build(Path(made), root)
        for path in _files(Path(made)):
            if _sha256(path) != _sha256(folder / path.name):
                raise ReleaseError(
                    f"{path.name} is not what its commit gives: it was built of something else, or "
                    f"by other tools than those of {LOCK}"
                )


def _files(folder: Path) -> list[Path]:
    left = {SUMS, SIGNATURE}
    return sorted(path for path in folder.iterdir() if path.is_file() and path.name not in left)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _signers(root: Path) -> list[str]:
    lines = (root / SIGNERS).read_text().splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def _said(*command: str | Path, folder: Path, **variables: str) -> str:
    """Return what a command printed.

    Raises:
        ReleaseError: It failed, and what it said.
    """
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ReleaseError(f"{Path(command[0]).name} failed: {done.stderr.strip()[-400:]}")
    return done.stdout.strip()


def main(arguments: list[str] | None = None) -> int:
    """Make or check a release, as the command line says."""
    parser = argparse.ArgumentParser(prog="make", description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    making, checking = steps.add_parser("make"), steps.add_parser("check")
    making.add_argument("--key", type=Path, required=True)
    making.add_argument("--out", type=Path, default=ROOT / "dist" / "release")
    checking.add_argument("folder", type=Path)
    asked = parser.parse_args(arguments)
    try:
        if asked.step == "make":
            told = f"signed: {make(asked.key.expanduser(), asked.out)}"
        else:
            check(asked.folder, ROOT / SIGNERS)
            check_sources(asked.folder)
            told = f"{asked.folder} is signed, and is what its commit gives"
    except ReleaseError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{told}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
