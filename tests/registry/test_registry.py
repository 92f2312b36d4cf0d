"""The registry: publish, find, go back, keep and remove, change keys."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from fedhome.errors import RegistryError
from fedhome.registry import (
    FORMATS,
    ModelPayload,
    Privacy,
    Registry,
    export,
    needs_passphrase,
    release_of,
)
from fedhome.registry.release import NONE
from fedhome.registry.vault import MOST_RELEASES
from fedhome.run.folder import RunFolder
from fedhome.secagg import ServerKeys, signature_holds
from fedhome.wire.layout import Layout
from helpers.registry_world import (
    FLEET,
    LAYOUT,
    ORIGIN,
    SERVER,
    Shelf,
    contents,
    draft,
    faults_of,
    model,
    numbers,
    reason_of,
)

WORDS, OTHER_WORDS, SHORT = "correct horse battery staple", "another passphrase", "short"


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """Rounds 1, 2 and 3."""
    return Shelf.of(tmp_path / "registry")


@pytest.mark.parametrize("storage", FORMATS)
def test_what_is_published_is_loaded(tmp_path: Path, storage: str) -> None:
    shelf = Shelf.of(tmp_path / "r", rounds=0)
    made = shelf.registry.publish(draft(1, storage=storage), SERVER)
    read = Registry.open(tmp_path / "r").load("latest")
    error = read.flat.astype(np.float64) - numbers(1)
    assert made.manifest.fidelity.max_error == np.abs(error).max()
    assert made.manifest.fidelity.rmse == pytest.approx(np.sqrt((error**2).mean()))
    assert read.layout == LAYOUT
    assert (storage == "float32") == (read.flat.tobytes() == numbers(1).tobytes())


def test_the_chain(shelf: Shelf) -> None:
    first, second, third = shelf.registry.releases()
    assert [release.number for release in (first, second, third)] == [1, 2, 3]
    assert [release.manifest.round for release in (first, second, third)] == [1, 2, 3]
    assert (first.manifest.previous, second.manifest.previous) == (NONE, first.hash)
    assert third.manifest.previous == second.hash
    said = third.manifest
    assert (said.fleet, said.run, said.run_hash, said.plan) == (FLEET, "tiny-1", b"r" * 32, "tiny")
    assert (said.homes, said.privacy, said.restores) == (5, (), 0)
    assert said.layout.hex() == LAYOUT.hash
    assert signature_holds(SERVER.public, third.signed.signature, third.signed.body)
    report = shelf.registry.verify()
    assert (report.releases, report.models, report.faults, report.leftovers) == (3, 3, (), ())


def test_its_folder_is_its_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        Shelf.of(tmp_path / "registry")
    finally:
        os.umask(before)
    for folder in (tmp_path / "registry", tmp_path / "registry" / "releases"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_nothing_of_a_model_lies_open(shelf: Shelf) -> None:
    for name, data in shelf.files().items():
        assert numbers(1).tobytes()[:8] not in data, name
        assert b"tiny" not in data, name
        assert stat.S_IMODE((shelf.folder / name).stat().st_mode) == 0o600, name
    keys = [entry.key for entry in shelf.registry._vault.read().entries]
    assert len(set(keys)) == 3


def test_releases_are_found_by_round_and_by_hash(shelf: Shelf) -> None:
    registry = shelf.registry
    second = registry.find(2)
    assert second.manifest.round == 2
    for reference in ("2", second.hash.hex(), second.hash.hex()[:8], second):
        assert registry.find(reference) == second
    assert registry.find("latest").manifest.round == 3
    for reference in (7, "8", "0" * 8, "", second.hash.hex()[:7] + "x", "first", -1):
        assert reason_of(registry.find, reference) == "unknown"
    assert reason_of(Shelf.of(shelf.folder.parent / "new", rounds=0).registry.load) == "unknown"
    # Two runs have a round 2: the newer one is meant.
    registry.publish(draft(2, run=b"q" * 32), SERVER)
    assert registry.find(2).number == 4
    with pytest.raises(RegistryError, match="release 4 is of round 2, and its hash begins with"):
        registry.find(4)


def test_privacy_is_told(tmp_path: Path) -> None:
    shelf = Shelf.of(tmp_path / "r", rounds=0)
    spent = Privacy(mechanism="central Gaussian", noise=0.7, epsilon=3.5, delta=1e-5)
    made = release_of(model(), ORIGIN, round=1, homes=5, privacy=spent)
    shelf.registry.publish(made, SERVER)
    assert shelf.registry.find(1).manifest.privacy == (spent,)


def test_publishing_once_more_does_nothing(shelf: Shelf) -> None:
    before = shelf.files()
    assert shelf.registry.publish(draft(3), SERVER).number == 3
    assert shelf.registry.publish(draft(1), SERVER).number == 1
    assert shelf.files() == before


def test_rounds_of_a_run_rise(shelf: Shelf) -> None:
    other = replace(draft(4), round=3)
    for late in (other, replace(other, round=2)):
        assert reason_of(shelf.registry.publish, late, SERVER) == "round"
    assert shelf.registry.publish(replace(other, round=9), SERVER).number == 4
    assert shelf.registry.publish(draft(1, run=b"q" * 32), SERVER).number == 5
    assert faults_of(shelf.registry) == []


def test_only_the_fleets_server_signs(shelf: Shelf, tmp_path: Path) -> None:
    assert reason_of(shelf.registry.publish, draft(4), ServerKeys.create()) == "signer"
    assert reason_of(shelf.registry.publish, draft(4)) == "signer"
    assert reason_of(shelf.registry.rollback, 1) == "signer"
    trial = Registry.create(tmp_path / "trial")
    assert (trial.signs, shelf.registry.signs) == (True, False)
    assert trial.publish(draft(1)).number == 1
    assert reason_of(trial.publish, draft(2), SERVER) == "signer"
    assert trial.fleet != Registry.create(tmp_path / "other").fleet


def test_drafts_that_could_not_be_read_back(shelf: Shelf) -> None:
    before = shelf.files()
    for origin in (replace(ORIGIN, run=""), replace(ORIGIN, plan="x" * 256)):
        bad = replace(draft(4), origin=origin)
        assert reason_of(shelf.registry.publish, bad, SERVER) == "draft"
    assert reason_of(shelf.registry.publish, replace(draft(4), homes=-1), SERVER) == "draft"
    assert shelf.files() == before


def test_going_back(shelf: Shelf) -> None:
    registry = shelf.registry
    old = registry.releases()
    back = registry.rollback(1, SERVER)
    assert (back.number, back.manifest.round, back.manifest.restores) == (4, 3, 1)
    assert back.manifest.previous == old[2].hash
    assert back.manifest.payload == old[0].manifest.payload
    assert registry.load("latest").flat.tobytes() == numbers(1).tobytes()
    assert registry.releases()[:3] == old  # history stays
    assert not (shelf.folder / "releases" / "00000004.model").exists()
    assert reason_of(registry.rollback, 1, SERVER) == "current"
    forward = registry.rollback(old[2].hash.hex(), SERVER)
    assert forward.manifest.restores == 3
    again = registry.rollback(back, SERVER)  # to what that one gave
    assert (again.number, again.manifest.restores) == (6, 1)
    assert registry.find(3).number == 3  # the round's own release, not one that went back
    assert registry.publish(draft(4), SERVER).number == 7
    assert faults_of(registry) == []


def test_old_models_go_and_the_chain_stays(shelf: Shelf) -> None:
    registry = shelf.registry
    registry.publish(draft(4), SERVER)
    registry.publish(draft(5), SERVER)
    registry.pin(2)
    registry.rollback(1, SERVER)
    assert registry.prune(2) == (3, 4)  # 6 goes back to 1, 5 is new, 2 is pinned
    assert [release.kept for release in registry.releases()] == [
        True,
        True,
        False,
        False,
        True,
        True,
    ]
    assert registry.prune(2) == ()
    for call in (registry.load, registry.package, registry.pin):
        assert reason_of(call, 3) == "pruned"
    assert reason_of(registry.rollback, 3, SERVER) == "pruned"
    registry.unpin(2)
    registry.publish(draft(6), SERVER)
    assert registry.prune(1) == (1, 2, 5)
    assert [release.kept for release in registry.releases()] == [False] * 6 + [True]
    report = registry.verify()
    assert (report.releases, report.models, report.faults, report.leftovers) == (7, 1, (), ())
    assert reason_of(registry.prune, 0) == "keep"


def test_what_a_crash_left_is_told_and_removed(shelf: Shelf) -> None:
    place = shelf.folder / "releases"
    for name in ("00000004.model", "00000004.manifest.new", "notes.txt"):
        (place / name).write_bytes(b"half")
    report = shelf.registry.verify()
    assert [path.name for path in report.leftovers] == ["00000004.manifest.new", "00000004.model"]
    assert report.faults == ()
    assert len(shelf.registry.releases()) == 3
    assert shelf.registry.prune(3) == ()
    assert shelf.registry.verify().leftovers == ()
    assert (place / "notes.txt").exists()  # somebody's own


def test_a_new_key_leaves_the_releases_files_alone(shelf: Shelf, tmp_path: Path) -> None:
    before = shelf.files()
    old_key = before.pop("registry.key")
    old_index = before.pop("registry.fh")
    shelf.registry.rotate()
    after = shelf.files()
    assert after.pop("registry.key") != old_key
    assert after.pop("registry.fh") != old_index
    assert after == before
    assert shelf.registry.load(1).flat.tobytes() == numbers(1).tobytes()
    assert Registry.open(shelf.folder).load(3).flat.tobytes() == numbers(3).tobytes()
    kept = tmp_path / "old.key"
    kept.write_bytes(old_key)
    kept.chmod(0o600)
    assert reason_of(Registry.open, shelf.folder, key_file=kept) == "wrong-key"


def test_key_files_and_passphrases_take_turns(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, folder = shelf.registry, shelf.folder
    registry.rotate(passphrase=WORDS)
    assert not (folder / "registry.key").exists()
    assert needs_passphrase(folder)
    assert reason_of(Registry.open, folder) == "passphrase"
    assert reason_of(Registry.open, folder, passphrase=OTHER_WORDS) == "wrong-key"
    assert reason_of(registry.rotate, passphrase=SHORT) == "passphrase"
    Registry.open(folder, passphrase=WORDS).rotate(passphrase=OTHER_WORDS)
    assert reason_of(Registry.open, folder, passphrase=WORDS) == "wrong-key"
    monkeypatch.chdir(tmp_path)
    elsewhere = tmp_path / "elsewhere.key"
    Registry.open(folder, passphrase=OTHER_WORDS).rotate(key_file=elsewhere)
    assert not needs_passphrase(folder)
    assert reason_of(Registry.open, folder) == "missing"
    assert reason_of(Registry.open, folder, passphrase=OTHER_WORDS) == "passphrase"
    given = tmp_path / "given.key"
    given.write_bytes(b"g" * 32)
    given.chmod(0o600)
    before = elsewhere.read_bytes()
    Registry.open(folder, key_file="elsewhere.key").rotate(key_file=elsewhere)
    assert elsewhere.read_bytes() != before  # the same file by another name: a new key in it
    last = Registry.open(folder, key_file=elsewhere)
    last.rotate(key_file=given)
    assert given.read_bytes() == b"g" * 32
    last.publish(draft(4), SERVER)
    assert len(Registry.open(folder, key_file=given).releases()) == 4
    given.chmod(0o640)
    assert reason_of(Registry.open, folder, key_file=given) == "permissions"


def test_another_process_may_change_the_key(shelf: Shelf) -> None:
    Registry.open(shelf.folder).rotate()
    assert len(shelf.registry.releases()) == 3  # it reads the key file anew
    assert shelf.registry.publish(draft(4), SERVER).number == 4
    assert len(Registry.open(shelf.folder).releases()) == 4


def test_a_registry_in_use_is_waited_for(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedhome.registry.vault._PATIENCE_S", 0.0)
    with shelf.registry._vault.locked():
        assert reason_of(Registry.open(shelf.folder).publish, draft(4), SERVER) == "in-use"
        assert len(Registry.open(shelf.folder).releases()) == 3  # reading needs no turn
    assert Registry.open(shelf.folder).publish(draft(4), SERVER).number == 4


def test_there_is_no_registry_or_one_already(shelf: Shelf, tmp_path: Path) -> None:
    assert reason_of(Registry.open, tmp_path / "none") == "missing"
    assert reason_of(Registry.create, shelf.folder) == "exists"
    assert reason_of(Registry.create, tmp_path / "r", passphrase=SHORT) == "passphrase"
    (tmp_path / "file").write_bytes(b"")
    assert reason_of(Registry.create, tmp_path / "file" / "r") == "missing"
    assert reason_of(needs_passphrase, tmp_path / "none") == "missing"


def test_exported_files_are_read_by_others(shelf: Shelf, tmp_path: Path) -> None:
    found = shelf.registry.find(2)
    folder = RunFolder(tmp_path)
    export(shelf.registry.load(2), found.manifest, folder.model_path)
    saved = folder.read_model()
    assert (saved.plan, saved.round, saved.layout_hash) == ("tiny", 2, LAYOUT.hash)
    parameters = LAYOUT.unflatten(numbers(2))
    by_others = safetensors.numpy.load_file(folder.model_path)
    export(shelf.registry.load(2), found.manifest, tmp_path / "m.npz")
    assert stat.S_IMODE((tmp_path / "m.npz").stat().st_mode) == 0o600
    with np.load(tmp_path / "m.npz") as npz:
        assert list(npz) == list(parameters)
        for name, array in parameters.items():
            assert saved.parameters[name].tobytes() == array.tobytes()
            assert by_others[name].tobytes() == array.tobytes()
            assert (npz[name].dtype, npz[name].tobytes()) == (np.float32, array.tobytes())
    args = shelf.registry.load(2), found.manifest
    assert reason_of(export, *args, tmp_path / "m.onnx") == "format"
    assert reason_of(export, *args, tmp_path / "none" / "m.npz") == "missing"


def test_npz_takes_any_name(tmp_path: Path, shelf: Shelf) -> None:
    layout = Layout(("file", "allow_pickle"), ((1,), (2, 1)))
    odd = ModelPayload(layout, np.array([1, 2, 3], np.float32))
    export(odd, shelf.registry.find(1).manifest, tmp_path / "m.npz")
    with np.load(tmp_path / "m.npz") as npz:
        assert npz["allow_pickle"].tolist() == [[2], [3]]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(shelf: Shelf) -> None:
    place = shelf.folder / "releases"
    place.chmod(0o500)
    try:
        assert reason_of(shelf.registry.publish, draft(4), SERVER) == "not-writable"
    finally:
        place.chmod(0o700)
    assert len(shelf.registry.releases()) == 3


def test_a_full_registry_takes_no_more(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedhome.registry.model_registry.MOST_RELEASES", 3)
    before = shelf.files()
    assert reason_of(shelf.registry.publish, draft(4), SERVER) == "full"
    assert reason_of(shelf.registry.rollback, 1, SERVER) == "full"
    assert shelf.files() == before
    assert shelf.registry.publish(draft(3), SERVER).number == 3


@pytest.mark.slow
def test_a_full_registry_can_still_be_read(shelf: Shelf) -> None:
    vault = shelf.registry._vault
    index = vault.read()
    entries = (*index.entries, *index.entries[-1:] * (MOST_RELEASES - 3))
    vault.write(replace(index, entries=entries))
    again = Registry.open(shelf.folder)
    assert len(again._vault.read().entries) == MOST_RELEASES
    first = again.find(index.entries[0].hash.hex())
    assert again.load(first).flat.tobytes() == numbers(1).tobytes()


def test_files_are_what_the_guide_says(shelf: Shelf) -> None:
    names = ["registry.fh", "registry.key"]
    for number in (1, 2, 3):
        names += [f"releases/{number:08d}.manifest", f"releases/{number:08d}.model"]
    assert sorted(contents(shelf.folder)) == names
