"""A release is signed by a key that the repository lists, and is what its commit gives."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers import release
from helpers.release import COMMIT, LOCK, SIGNERS, SUMS, WHO, ReleaseError

pytestmark = pytest.mark.skipif(
    shutil.which("ssh-keygen") is None, reason="releases are signed with OpenSSH's ssh-keygen"
)
ROOT = Path(__file__).resolve().parents[2]


def _key(folder: Path, name: str) -> Path:
    path = folder / name
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)]
    subprocess.run(command, check=True)
    return path


def _line(key: Path) -> str:
    return f'{WHO} namespaces="{WHO}" {key.with_suffix(".pub").read_text().strip()}\n'


@pytest.fixture
def signed(tmp_path: Path) -> tuple[Path, Path]:
    """Return a release of two files that a throw-away key signed, and the list of signers."""
    key, folder = _key(tmp_path, "key"), tmp_path / "release"
    folder.mkdir()
    (folder / "one.whl").write_bytes(b"wheel")
    (folder / COMMIT).write_text("c" * 40 + "\n")
    release.sign(folder, key)
    signers = tmp_path / SIGNERS
    signers.write_text("# a comment\n" + _line(key))
    return folder, signers


def test_what_was_signed_holds(signed: tuple[Path, Path]) -> None:
    release.check(*signed)
    sums = subprocess.run(
        ["sha256sum", "--check", "--strict", SUMS], cwd=signed[0], check=False, capture_output=True
    )
    assert sums.returncode == 0, "the list is one that sha256sum reads"


def _another_wheel(folder: Path) -> None:
    (folder / "one.whl").write_bytes(b"another")


def _one_file_less(folder: Path) -> None:
    (folder / COMMIT).unlink()


def _one_file_more(folder: Path) -> None:
    (folder / "two.whl").write_bytes(b"more")


def _another_list(folder: Path) -> None:
    _another_wheel(folder)
    listed = (folder / SUMS).read_text().splitlines(keepends=True)
    (folder / SUMS).write_text("".join(listed[:1]))


def _signed_by_another(folder: Path) -> None:
    release.sign(folder, _key(folder.parent, "other"))


def _signed_for_something_else(folder: Path) -> None:
    path = folder / SUMS
    command = ["ssh-keygen", "-q", "-Y", "sign", "-n", "git", "-f", str(folder.parent / "key")]
    (folder / release.SIGNATURE).unlink()
    subprocess.run([*command, str(path)], check=True, capture_output=True)


def _not_signed(folder: Path) -> None:
    (folder / release.SIGNATURE).unlink()


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (_another_wheel, "one.whl is another one than the signed list says"),
        (_one_file_less, "COMMIT is missing"),
        (_one_file_more, "two.whl is in no signed list"),
        (_another_list, "no key of release.signers signed SHA256SUMS"),
        (_signed_by_another, "no key of release.signers signed SHA256SUMS"),
        (_signed_for_something_else, "no key of release.signers signed SHA256SUMS"),
        (_not_signed, "has no SHA256SUMS.sig"),
    ],
)
def test_what_was_changed_is_refused(
    change: Callable[[Path], None], fault: str, signed: tuple[Path, Path]
) -> None:
    change(signed[0])
    with pytest.raises(ReleaseError, match=fault):
        release.check(*signed)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a repository of one small package, with a list of signers that names nobody."""
    root = tmp_path / "checkout"
    (root / "tiny").mkdir(parents=True)
    (root / "tiny" / "__init__.py").write_text("ONE = 1\n")
    (root / LOCK).write_text("nothing==1\n")
    (root / SIGNERS).write_text("# nobody\n")
    (root / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "tiny"\nversion = "1"\nrequires-python = ">=3.11"\n'
    )
    _git(root, "init", "--quiet")
    _commit(root)
    return root


def _git(root: Path, *arguments: str) -> None:
    who = ("-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *arguments], cwd=root, check=True, capture_output=True)


def _commit(root: Path) -> None:
    _git(root, "add", "--all")
    _git(root, "commit", "--quiet", "--message", "one")


@pytest.mark.slow
def test_a_release_is_what_its_commit_gives_and_no_other(checkout: Path, tmp_path: Path) -> None:
    key, out = _key(tmp_path, "key"), tmp_path / "out"
    with pytest.raises(ReleaseError, match=r"release\.signers does not list this key"):
        release.make(key, out, checkout)
    (checkout / SIGNERS).write_text(_line(key))
    with pytest.raises(ReleaseError, match="not all is committed"):
        release.make(key, out, checkout)
    _commit(checkout)
    release.make(key, out, checkout)
    names = {path.name for path in out.iterdir()}
    assert {COMMIT, LOCK, "tiny-1-py3-none-any.whl", "tiny-1.tar.gz"} < names
    release.check_sources(out, checkout)

    (wheel,) = out.glob("*.whl")
    wheel.write_bytes(wheel.read_bytes() + b"\0")
    release.sign(out, key)  # whoever holds the key signs something else
    release.check(out, checkout / SIGNERS)
    with pytest.raises(ReleaseError, match="whl is not what its commit gives"):
        release.check_sources(out, checkout)
    _commit_more(checkout)
    with pytest.raises(ReleaseError, match="the checkout is not just commit"):
        release.check_sources(out, checkout)


def _commit_more(root: Path) -> None:
    (root / "tiny" / "more.py").write_text("TWO = 2\n")
    _commit(root)


def test_the_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert release.main(["check", str(tmp_path)]) == 1
    assert "it is no signed release" in capsys.readouterr().err


def test_the_list_of_signers_is_one_that_openssh_reads() -> None:
    lines = release._signers(ROOT)
    for line in lines:
        who, options, *_ = line.split()
        assert (who, options) == (WHO, f'namespaces="{WHO}"')
    said = (ROOT / "SECURITY.md").read_text()
    assert ("No key stands there yet" in said) == (not lines)
