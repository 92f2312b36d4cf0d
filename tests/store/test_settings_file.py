"""Settings of a folder: what is written is read, and what cannot be read says how to make it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from fedhome.errors import RunError
from fedhome.store.settings_file import read_settings, write_settings


@dataclass(frozen=True, kw_only=True)
class Lamp:
    """A lamp."""

    name: str
    watts: float = 7.5
    on: bool = False
    sockets: int = 1


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "lamp.toml"
    write_settings(path, Lamp(name="Küche", watts=4.0))
    assert path.read_text("utf-8") == 'name = "Küche"\nwatts = 4.0\non = false\nsockets = 1\n'
    assert read_settings(path, Lamp, made_by="lamp init") == Lamp(name="Küche", watts=4.0)
    path.write_text('name = "hall"\n')
    assert read_settings(path, Lamp, made_by="lamp init").watts == 7.5


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "'name'"),
        (b"name = hall\n", "Invalid value"),
        (b"\xff", "decode"),
    ],
    ids=["too little", "not TOML", "not text"],
)
def test_what_cannot_be_read_says_why_and_what_makes_it(
    tmp_path: Path, content: bytes, said: str
) -> None:
    path = tmp_path / "lamp.toml"
    path.write_bytes(content)
    with pytest.raises(RunError, match=said) as refused:
        read_settings(path, Lamp, made_by="lamp init")
    assert str(path) in str(refused.value)
    assert refused.value.hint == "make it with `lamp init`"


def test_settings_that_nobody_knows_are_named(tmp_path: Path) -> None:
    """One of an earlier release, or a slip of the pen: the rest of the file is sound."""
    path = tmp_path / "lamp.toml"
    path.write_text('name = "hall"\nwats = 4.0\ncolour = "red"\n')
    with pytest.raises(RunError, match="does not know: colour, wats\n") as refused:
        read_settings(path, Lamp, made_by="lamp init")
    assert refused.value.hint == "look at their spelling, or remove these lines"


def test_a_value_of_another_kind_is_refused_with_all_others(tmp_path: Path) -> None:
    """True would be read as 1, and 1 as true."""
    path = tmp_path / "lamp.toml"
    path.write_text("name = 3\nwatts = true\non = 1\nsockets = false\n")
    with pytest.raises(RunError) as refused:
        read_settings(path, Lamp, made_by="lamp init")
    assert refused.value.message == (
        f"{path}: name is 3, and has to be a text in quotes; watts is true, and has to be a "
        "number; on is 1, and has to be true or false; sockets is false, and has to be a whole "
        "number"
    )
    path.write_text('name = "hall"\nwatts = 4\n')  # a whole number is a number
    assert read_settings(path, Lamp, made_by="lamp init").watts == 4


def test_a_folder_without_its_settings_is_told_in_words(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"there is no lamp\.toml in .*nowhere") as error:
        read_settings(tmp_path / "nowhere" / "lamp.toml", Lamp, made_by="lamp init")
    assert "Errno" not in error.value.message
    assert error.value.hint.startswith("name the folder that `lamp init` made")
