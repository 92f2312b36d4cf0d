"""The folder of a home that a command of ``fedhome client`` is about."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fedhome.clients.membership.home_folder import HomeFolder

HomeArgument = Annotated[
    Path, typer.Argument(help="The home's folder.", metavar="DIR", show_default="here")
]


def home_folder_at(folder: Path) -> HomeFolder:
    """Return a home's folder.

    Raises:
        RunError: There is no home in it.
    """
    from fedhome.clients.membership.home_folder import HomeFolder  # noqa: PLC0415

    home_folder = HomeFolder(folder)
    _ = home_folder.settings
    return home_folder


def present_home_folder(folder: Path) -> HomeFolder:
    """Return the folder of a home that has not left.

    Raises:
        RunError: It has, or there is none.
    """
    from fedhome.clients.membership.may_run import check_present  # noqa: PLC0415

    home_folder = home_folder_at(folder)
    check_present(home_folder)
    return home_folder
