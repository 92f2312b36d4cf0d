"""Which fedhome is installed: its version, and a number that tells builds of one version apart.

Two builds of ``0.1.0`` are two programs, and a fleet that is upgraded runs both for a while. The
number is of the package's own sources, so a wheel and the checkout that it was made of have the
same one, and nothing else does.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_NOT_IN_WHEELS = ("simulations", "benchmarks")
_DIGITS = 8
_BUILD = re.compile(rf"\+[0-9a-f]{{{_DIGITS}}}\Z")


@cache
def installed_build() -> str:
    """Return version and build, such as ``0.1.0+5f1d0c2a``, as of when it is first asked for.

    A process that runs for months asks when it begins: its files may be replaced under it. Where
    no sources are to be found, as where they are compiled alone, the version stands by itself.
    """
    lines = sorted(_recorded() or _of_files())
    if not lines:
        return version("fedhome")
    number = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return f"{version('fedhome')}+{number[:_DIGITS]}"


def without_build(release: str) -> str:
    """Return a release without its build's number: homes and server need the same one.

    >>> without_build("0.1.0+5f1d0c2a"), without_build("0.1.0")
    ('0.1.0', '0.1.0')

    A version may have a part after a plus itself, as whoever changes fedhome gives it:

    >>> without_build("0.1.0+ours.2+5f1d0c2a"), without_build("0.1.0+ours.2")
    ('0.1.0+ours.2', '0.1.0+ours.2')
    """
    return _BUILD.sub("", release)


def _recorded() -> list[str]:
    """Return what an installed wheel's list says of each source file; empty: it is no such file.

    An editable installation's list does not name the sources.
    """
    try:
        files = distribution("fedhome").files or ()
    except PackageNotFoundError:
        return []
    first = f"{_PACKAGE.name}/__init__.py"
    listed = {file.as_posix(): file for file in files if file.hash is not None}
    if first not in listed or Path(str(listed[first].locate())).resolve().parent != _PACKAGE:
        return []
    return [
        f"{name} {file.hash.value}"
        for name, file in listed.items()
        if name.startswith(f"{_PACKAGE.name}/") and name.endswith(".py") and file.hash is not None
    ]


def _of_files() -> Iterator[str]:
    """Yield the same of a folder with sources, whose three outer rooms are links."""
    for top, folders, files in os.walk(_PACKAGE, followlinks=True):
        inside = Path(top).relative_to(_PACKAGE)
        if inside.parts == _NOT_IN_WHEELS:
            folders.clear()
            continue
        for name in files:
            # A link that leads nowhere is no source: editors leave such while they are open.
            if name.endswith(".py") and (Path(top) / name).is_file():
                digest = hashlib.sha256((Path(top) / name).read_bytes()).digest()
                text = base64.urlsafe_b64encode(digest).decode().rstrip("=")
                yield f"{(Path(_PACKAGE.name) / inside / name).as_posix()} {text}"
