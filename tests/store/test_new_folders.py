"""New folders: what is made on the way to them is nobody else's to write to."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import fedhome
from fedhome.new_folders import make_folder


@pytest.fixture
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    try:
        yield
    finally:
        os.umask(before)


def modes(*paths: Path) -> list[int]:
    return [path.stat().st_mode & 0o777 for path in paths]


@pytest.mark.usefixtures("no_umask")
def test_folders_on_the_way_are_not_others_to_write_to(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b" / "c", mode=0o700)
    make_folder(tmp_path / "a" / "d")
    (tmp_path / "e" / "f").mkdir(parents=True)
    assert modes(*(tmp_path / part for part in ("a", "a/b", "a/b/c", "a/d"))) == [
        0o755,
        0o755,
        0o700,
        0o755,
    ]
    assert modes(tmp_path / "e") == [0o777], "the control"


@pytest.mark.usefixtures("no_umask")
def test_what_is_there_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(0o770)
    make_folder(tmp_path / "a", mode=0o700)
    assert modes(tmp_path / "a") == [0o770]
    (tmp_path / "link").symlink_to(tmp_path / "a")
    make_folder(tmp_path / "link" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def test_a_umask_takes_away_more(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        make_folder(tmp_path / "a" / "b")
    finally:
        os.umask(before)
    assert modes(tmp_path / "a", tmp_path / "a" / "b") == [0o700, 0o700]


def test_a_file_in_its_place_or_on_the_way_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "file")
    with pytest.raises(NotADirectoryError):
        make_folder(tmp_path / "file" / "a" / "b")


def test_no_other_code_makes_folders_on_the_way() -> None:
    """Benchmarks' folders are temporary, and nobody's but who runs them."""
    root = Path(fedhome.__file__).parent
    found = []
    for part in (root, root / "clients", root / "server", root / "simulations"):
        for path in part.rglob("*.py"):
            if "benchmarks" in path.parts:
                continue
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                named = isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1]
                if named == "makedirs" or (
                    named == "mkdir" and any(word.arg == "parents" for word in node.keywords)
                ):
                    found.append(f"{path}:{node.lineno}")
    assert not found
