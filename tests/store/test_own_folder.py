"""A home's folder below one in which another account may put another folder in its place."""

from __future__ import annotations

import os
import sys

import pytest

from fedhome.errors import StateError
from fedhome.fleet.state_file import FileStore
from fedhome.secagg import HomeKeys
from fedhome.store import disk
from helpers.other_account import by_nobody, open_folder

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="secret files need POSIX locks")

_SWAP = """\
import json, os, sys
folder = json.load(sys.stdin)
try:
    os.rename(folder, f"{folder}-before")
    os.mkdir(folder)
    with open(f"{folder}/fleet.pub", "w") as file:
        file.write("another fleet")
    print("replaced")
except OSError as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize("deep", ["", "homes/of/house"])
def test_another_account_puts_no_folder_in_the_place_of_one_in_use(deep: str) -> None:
    """Its agent holds a lock on what is gone, and reads by its path: the fleet that it knows."""
    with open_folder() as open_to_all:
        place = open_to_all / deep / "oak"
        place.parent.mkdir(parents=True, exist_ok=True)
        moved = open_to_all / (deep.partition("/")[0] or "oak")
        with FileStore.create(place, HomeKeys.create("oak")):
            disk.put(place / "fleet.pub", b"this fleet")
            assert by_nobody(_SWAP, str(moved)).strip() == "PermissionError"
            assert disk.read(place / "fleet.pub") == b"this fleet"
        open_to_all.chmod(0o777)
        with pytest.raises(StateError, match="put another folder in the place of") as error:
            disk.lock(place)
        assert error.value.reason == "permissions"
        with pytest.MonkeyPatch.context() as patch:  # the control
            patch.setattr("fedhome.store.disk.check_own", lambda *_: None)
            lock = disk.lock(place)
            assert by_nobody(_SWAP, str(moved)).strip() == "replaced"
            assert disk.read(moved / "fleet.pub") == b"another fleet"
            os.close(lock)


def test_where_each_account_keeps_what_is_its_own_a_folder_is_used() -> None:
    """As below /tmp: there nobody renames what is another's."""
    with open_folder() as open_to_all:
        place = open_to_all / "oak"
        FileStore.create(place, HomeKeys.create("oak")).close()
        open_to_all.chmod(0o1777)
        os.close(disk.lock(place))
        assert by_nobody(_SWAP, str(place)).strip() == "PermissionError"
