"""The cache of named sets and their download, with a set of two homes and no network."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fedhome.data.homes_folder import read_folder
from fedhome.data.table import HomeTable
from fedhome.errors import SourceError
from fedhome.simulations.datasets import CATALOGUE, DataSet, Remote, get, is_cached, load
from fedhome.simulations.datasets import catalogue as catalogue_module
from fedhome.simulations.datasets.cache import MARKER, default_cache, store
from fedhome.simulations.datasets.download import fetch, open_https


def two_homes(_: Path) -> list[HomeTable]:
    hours = np.array([0, 3600], dtype=np.int64)
    mode = {"mode": ("cool", "heat")}
    common: dict[str, Any] = {"time_s": hours, "time_zone": "Europe/Oslo", "labels": mode}
    first = {"load": np.array([1.0, np.nan]), "mode": np.array([0.0, np.nan])}
    second = {"load": np.array([3.0, 4.0]), "mode": np.array([1.0, 0.0])}
    return [
        HomeTable(home="a", columns=first | {"temp": np.array([5.0, 6.0])}, **common),
        HomeTable(home="b", columns=second, **common),
    ]


TINY = DataSet(
    name="tiny",
    title="two homes",
    about="",
    homes=2,
    rows=4,
    columns={"load": "kWh", "mode": "what it does", "temp": "degrees Celsius"},
    train=(),
    citation="",
    licence="",
    page="https://example.org",
    remotes=(Remote(url="https://example.org/tiny.csv", name="tiny.csv"),),
    read=lambda path: iter(two_homes(path)),
)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> DataSet:
    monkeypatch.setitem(catalogue_module.CATALOGUE, "tiny", TINY)
    return TINY


class Server:
    """Answers every address with the same bytes and counts the requests."""

    def __init__(self, content: bytes = b"x") -> None:
        self.content = content
        self.requests: list[str] = []

    def __call__(self, url: str) -> AbstractContextManager[IO[bytes]]:
        self.requests.append(url)
        return closing(io.BytesIO(self.content))


def test_a_set_is_fetched_once_and_then_cached(tmp_path: Path, tiny: DataSet) -> None:
    server = Server()
    assert not is_cached("tiny", cache=tmp_path)
    folder = get("tiny", cache=tmp_path, opener=server)
    assert get("tiny", cache=tmp_path, opener=server) == folder
    assert server.requests == [tiny.remotes[0].url]
    assert is_cached("tiny", cache=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny"]


def test_the_cached_folder_is_a_folder_of_homes(tmp_path: Path, tiny: DataSet) -> None:
    read = read_folder(get(tiny.name, cache=tmp_path, opener=Server()), target="load")
    assert [home.home for home in read.homes] == ["a", "b"]  # also one whose target stands still
    assert read.homes[1].time_zone == "Europe/Oslo"
    assert read.homes[1].labels == {"mode": ("cool", "heat")}
    assert read.excluded == []


def test_a_loaded_home_has_all_columns_of_the_set(tmp_path: Path, tiny: DataSet) -> None:
    get(tiny.name, cache=tmp_path, opener=Server())
    first, second = load("tiny", cache=tmp_path)
    assert list(first.columns) == list(second.columns) == ["load", "mode", "temp"]
    np.testing.assert_array_equal(first.columns["load"], [1, np.nan])
    np.testing.assert_array_equal(first.columns["mode"], [0, np.nan])
    np.testing.assert_array_equal(second.columns["mode"], [1, 0])
    np.testing.assert_array_equal(second.columns["temp"], [np.nan, np.nan])
    assert second.time_s.tolist() == [0, 3600]


def _change(folder: Path) -> None:
    file = folder / "a.parquet"
    file.write_bytes(file.read_bytes() + b"x")


def _remove(folder: Path) -> None:
    (folder / "b.parquet").unlink()


def _add(folder: Path) -> None:
    pq.write_table(pa.table({"x": [1]}), folder / "c.parquet")


def _scribble(folder: Path) -> None:
    (folder / MARKER).write_text("[1, 2")


@pytest.mark.parametrize("harm", [_change, _remove, _add, _scribble])
def test_a_damaged_cache_is_fetched_again_and_reported(
    tmp_path: Path,
    tiny: DataSet,
    harm: Callable[[Path], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Server()
    harm(get(tiny.name, cache=tmp_path, opener=server))
    assert not is_cached("tiny", cache=tmp_path)
    get("tiny", cache=tmp_path, opener=server)
    assert is_cached("tiny", cache=tmp_path)
    assert len(server.requests) == 2
    assert "tiny in the cache is fetched again" in caplog.text


def test_another_number_of_rows_is_refused_and_leaves_the_cache_as_it_was(
    tmp_path: Path, tiny: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    get(tiny.name, cache=tmp_path, opener=Server())
    monkeypatch.setitem(catalogue_module.CATALOGUE, "tiny", replace(tiny, rows=5))
    with pytest.raises(
        SourceError, match="2 homes with 4 rows were read, but the set has 2 with 5"
    ):
        get("tiny", cache=tmp_path, file=tmp_path)
    assert is_cached("tiny", cache=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny"]


def test_a_set_given_by_hand_replaces_the_cached_one(tmp_path: Path, tiny: DataSet) -> None:
    get(tiny.name, cache=tmp_path, opener=Server())
    file = tmp_path / "by-hand.csv"
    file.touch()
    assert get("tiny", cache=tmp_path, file=file) == tmp_path / "tiny"
    with pytest.raises(SourceError, match="no such file"):
        get("tiny", cache=tmp_path, file=tmp_path / "nowhere.csv")


def test_a_pinned_file_with_other_content_is_refused(tmp_path: Path) -> None:
    pinned = replace(TINY, remotes=(replace(TINY.remotes[0], sha256="0" * 64),))
    with pytest.raises(SourceError, match=r"tiny\.csv is not the file that was published"):
        fetch(pinned, tmp_path, opener=Server())


def test_without_network_the_steps_by_hand_are_told(tmp_path: Path) -> None:
    nowhere = (replace(TINY.remotes[0], url="https://127.0.0.1:9/tiny.csv"),)
    with pytest.raises(SourceError, match=r"could not be downloaded from 127\.0\.0\.1") as error:
        fetch(replace(TINY, remotes=nowhere), tmp_path)
    assert "download https://127.0.0.1:9/tiny.csv" in error.value.hint
    assert "fedhome data get tiny --from" in error.value.hint


@pytest.mark.parametrize("url", ["http://example.org/x", "file:///etc/hostname", "ftp://a/b"])
def test_only_https_is_opened(url: str) -> None:
    with pytest.raises(OSError, match="not an https address"):
        open_https(url)


@pytest.mark.parametrize(
    ("stderr", "message"),
    [
        ("/bin/python: No module named pip", "this Python has no pip"),
        ("ERROR: https://user:secret@index.example failed", "pip ended with exit status 1"),
    ],
)
def test_a_failing_pip_is_told_without_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stderr: str, message: str
) -> None:
    def fail(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", stderr)

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(SourceError, match=message) as error:
        fetch(CATALOGUE["energy-homes17"], tmp_path)
    assert "secret" not in str(error.value)
    assert "pip download --no-deps --only-binary=:all: CityLearn==2.1.2" in error.value.hint


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    monkeypatch.delenv("FEDHOME_CACHE", raising=False)
    assert default_cache() == Path("/x/fedhome/datasets")
    monkeypatch.setenv("FEDHOME_CACHE", "/y")
    assert default_cache() == Path("/y/datasets")


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SourceError, match="cannot be written") as error:
        store(TINY, two_homes(tmp_path), tmp_path / "file" / "below")
    assert "FEDHOME_CACHE" in error.value.hint
