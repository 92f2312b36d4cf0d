"""The lock: it covers what pyproject.toml asks for, is not stale, and names no index."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from helpers import audit, pins
from helpers.pins import IMAGE_PINS, PINS, PROJECT, digest, digest_of, requirements

_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)")


def _lines(lock: Path) -> list[str]:
    """Return a lock's pins, each with its hashes in one line."""
    text = lock.read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]


def _pinned(lock: Path) -> dict[str, set[str]]:
    """Return each package's versions, of which some are for older versions of Python."""
    found: dict[str, set[str]] = {}
    for line in _lines(lock):
        match = _PIN.match(line)
        assert match, line
        found.setdefault(canonicalize_name(match[1]), set()).add(match[2])
    return found


@pytest.mark.parametrize("lock", [PINS, IMAGE_PINS], ids=["tests", "image"])
def test_it_covers_what_the_project_asks_for(lock: Path) -> None:
    pinned = _pinned(lock)
    needed = tomllib.loads(PROJECT.read_text())["project"]["dependencies"]
    for text in requirements() if lock == PINS else needed:
        asked = Requirement(text)
        versions = pinned.get(canonicalize_name(asked.name), set())
        assert versions, f"{asked.name} is not pinned: make pins"
        for version in versions:
            assert asked.specifier.contains(version, prereleases=True), (text, version)


def test_it_is_of_this_pyproject(monkeypatch: pytest.MonkeyPatch) -> None:
    assert digest_of(PINS.read_text()) == digest_of(IMAGE_PINS.read_text()) == digest(), "make pins"
    monkeypatch.setattr(pins, "requirements", lambda: [*requirements(), "another"])
    assert digest_of(PINS.read_text()) != digest()


def test_an_image_has_what_was_tested() -> None:
    tested, image = _pinned(PINS), _pinned(IMAGE_PINS)
    assert {name: tested.get(name) for name in image} == image
    assert "pytest" not in image


@pytest.mark.parametrize("lock", [PINS, IMAGE_PINS], ids=["tests", "image"])
def test_every_pin_has_hashes_and_no_line_an_index(lock: Path) -> None:
    for line in _lines(lock):
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", line), line
    text = lock.read_text()
    for word in ("://", "index-url", "find-links", "trusted-host"):
        assert word not in text


@pytest.mark.parametrize(
    ("packages", "status", "words"),
    [
        ([{"name": "a", "version": "1", "vulns": []}], audit.CLEAN, "1 packages"),
        ([{"name": "a", "skip_reason": "not found"}], audit.NOBODY_TO_ASK, "skipped"),
        (
            [{"name": "a", "skip_reason": "?"}, {"name": "b", "version": "1", "vulns": []}],
            audit.CLEAN,
            "not audited: a",
        ),
        (
            [
                {"name": "a", "skip_reason": "?"},
                {"name": "b", "version": "1", "vulns": [{"id": "X-1", "fix_versions": ["2"]}]},
            ],
            audit.FOUND,
            "b 1: X-1",
        ),
    ],
)
def test_an_audit_that_asked_nobody_is_no_clean_one(
    packages: list[dict[str, object]], status: int, words: str
) -> None:
    ended, said = audit.verdict({"dependencies": packages})
    assert ended == status
    assert words in " ".join(said)
