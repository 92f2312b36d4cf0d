"""Files with which a server or a home runs as a service: a systemd unit, or a container's.

They hold names of folders and limits, and no secret. What runs may write its own folder and
read what its options name; of everything else it sees as little as it can work with.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from fedhome.accounts import account_name
from fedhome.errors import RunError
from fedhome.new_folders import make_folder
from fedhome.plugins import look_up
from fedhome.reasons import REFUSED
from fedhome.store import disk

Kind = Literal["systemd", "compose", "container"]
Role = Literal["client", "server"]

_PUBLIC = 0o644
_UID = 1000  # of an image that is run by itself; compose names the folder's owner
_PYTHON = "3.12"
_PINS = "fedhome-pins.txt"  # beside the Containerfile


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a service may use.

    Args:
        memory_mb: Memory, MiB; beyond it the kernel ends the service, and it is started again.
        cpus: Processors.
        tasks: Processes and threads.
    """

    memory_mb: int
    cpus: float
    tasks: int = 256


LIMITS: dict[Role, Limits] = {
    "client": Limits(memory_mb=1024, cpus=1.0),
    "server": Limits(memory_mb=4096, cpus=4.0, tasks=1024),
}
"""A home is a guest on its device; a model that is torch's takes some 530 MiB of it."""


def write_service(
    kind: Kind,
    role: Role,
    folder: Path,
    command: Sequence[str],
    out: Path,
    *,
    name: str = "",
    reads: Sequence[Path] = (),
    ports: Sequence[int] = (),
    limits: Limits | None = None,
    user: bool = False,
) -> list[Path]:
    """Write the files of a service, and return their paths.

    Args:
        kind: ``systemd``: a unit; ``compose``: a ``compose.yaml`` with a ``Containerfile``;
            ``container``: the ``Containerfile`` alone.
        role: What runs.
        folder: The folder of the home or the server: all that it writes is there.
        command: What follows ``fedhome``, such as ``client start /srv/oak``.
        out: Folder of the files.
        name: Tells several on one machine apart, such as the home's.
        reads: Files or folders outside ``folder`` that it reads.
        ports: On which it listens.
        limits: What it may use; None: `LIMITS`.
        user: Whether the unit is one of the user's own.

    Raises:
        PluginError: Another kind.
        RunError: A folder's name cannot stand in such a file.
        StateError: The files cannot be written.
    """
    texts_of = look_up(_TEXTS, kind, "kind of service")
    folder = folder.resolve()
    for path in (folder, *reads):
        if not str(path).isprintable():
            raise RunError(f"{str(path)!r} cannot stand in a unit", hint="rename the folder")
    service = _Service(
        title=f"fedhome-{role}-{name}" if name else f"fedhome-{role}",
        what=f"fedhome: a fleet's {'home' if role == 'client' else 'server'} {name}".rstrip(),
        folder=folder,
        command=tuple(command),
        reads=tuple(_apart(reads, folder)),
        ports=tuple(ports),
        limits=limits or LIMITS[role],
        idle=role == "client",
        user=user,
    )
    texts = texts_of(service)
    with disk.errors_of(out):
        make_folder(out)
    for file, text in texts.items():
        disk.put(out / file, text.encode(), mode=_PUBLIC)
    return [out / file for file in texts]


@dataclass(frozen=True, kw_only=True)
class _Service:
    title: str
    what: str
    folder: Path
    command: tuple[str, ...]
    reads: tuple[Path, ...]
    ports: tuple[int, ...]
    limits: Limits
    idle: bool
    user: bool


def _apart(reads: Sequence[Path], folder: Path) -> list[Path]:
    """Return the paths that are not in the folder itself."""
    return [path for path in map(Path.absolute, reads) if not path.is_relative_to(folder)]


def _unit(service: _Service) -> str:
    user = service.user
    low = any(port < 1024 for port in service.ports)  # noqa: PLR2004 - those that are root's
    limits = service.limits
    words = (_program(), *service.command)
    start = " ".join(_quoted(word.replace("$", "$$")) for word in words)
    lines = [
        "# Made by `fedhome ... service`; it holds no secret.",
        "[Unit]",
        f"Description={_plain(service.what)}",
        # A device without a clock of its own has the wrong time until the network sets it.
        "Wants=network-online.target time-sync.target",
        "After=network-online.target time-sync.target",
        "",
        "[Service]",
        f"ExecStart={start}",
        f"WorkingDirectory={_plain(str(service.folder))}",
        *([] if user else [f"User={account_name(service.folder.stat().st_uid)}"]),
        "Restart=always",
        "RestartSec=5",
        f"RestartPreventExitStatus={REFUSED}",
        "TimeoutStopSec=60",
        "KillMode=mixed",
        "UMask=0077",
        *(["Nice=10"] if service.idle else []),
        "",
        "# What it may use.",
        f"MemoryMax={limits.memory_mb}M",
        f"CPUQuota={round(100 * limits.cpus)}%",
        f"TasksMax={limits.tasks}",
        "",
        "# What it may touch: its own folder, and nothing else for writing.",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "ProtectHome=read-only",
        f"ReadWritePaths={_quoted(str(service.folder))}",
        "PrivateTmp=yes",
        "ProtectControlGroups=yes",
        "ProtectKernelTunables=yes",
        "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK",
        "RestrictNamespaces=yes",
        "RestrictRealtime=yes",
        "RestrictSUIDSGID=yes",
        "LockPersonality=yes",
        "SystemCallArchitectures=native",
        "SystemCallFilter=@system-service",
        "SystemCallErrorNumber=EPERM",
        # Not MemoryDenyWriteExecute: numeric kernels are compiled while it runs.
        *(["PrivateUsers=yes"] if user else _ROOTS_ONLY),
        *([] if user else [_capabilities(low=low)]),
        "",
        "[Install]",
        f"WantedBy={'default' if user else 'multi-user'}.target",
        "",
    ]
    return "\n".join(lines)


# A user's own service manager has no right to drop capabilities, on which these rest.
_ROOTS_ONLY = [
    "PrivateDevices=yes",
    "ProtectClock=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectProc=invisible",
]


def _capabilities(*, low: bool) -> str:
    if low:
        return (
            "AmbientCapabilities=CAP_NET_BIND_SERVICE\nCapabilityBoundingSet=CAP_NET_BIND_SERVICE"
        )
    return "CapabilityBoundingSet="


def _program() -> str:
    """Return the `fedhome` that belongs to this Python."""
    beside = Path(sys.executable).with_name("fedhome")
    if not beside.exists():
        raise RunError(
            f"there is no {beside}",
            hint="install fedhome with pip, and run the command from that installation",
        )
    return str(beside)


def _plain(text: str) -> str:
    return text.replace("%", "%%")


def _quoted(text: str) -> str:
    """Return a word of a list as systemd reads it back the same; in commands, ``$`` is doubled."""
    escaped = _plain(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"' if any(letter in escaped for letter in " '\"\\;") else escaped


def _compose(service: _Service) -> str:
    owner, limits = service.folder.stat(), service.limits
    mounts = [(service.folder, False)]
    # Of a file, its folder: a file that is replaced by a new one would stay the old one inside.
    parents = {path.parent if path.is_file() else path for path in service.reads}
    mounts += [(path, True) for path in sorted(parents) if path not in service.folder.parents]
    lines = [
        "# Made by `fedhome ... service`; it holds no secret. `docker compose up -d` runs it.",
        "services:",
        f"  {service.title}:",
        "    build:",
        "      context: .",
        "      dockerfile: Containerfile",
        f"    image: fedhome:{version('fedhome')}",
        f"    command: [{', '.join(map(_yaml, service.command))}]",
        f"    user: {_yaml(f'{owner.st_uid}:{owner.st_gid}')}",
        "    restart: unless-stopped",
        "    stop_grace_period: 60s",
        "    init: true",
        "    read_only: true",
        "    tmpfs: [/tmp]",
        "    cap_drop: [ALL]",
        "    security_opt: [no-new-privileges:true]",
        f"    mem_limit: {limits.memory_mb}m",
        f"    cpus: {limits.cpus}",
        f"    pids_limit: {limits.tasks}",
    ]
    if service.ports:
        lines += ["    ports:", *(f'      - "{port}:{port}"' for port in service.ports)]
    lines += ["    # Under the same names as outside: its settings name them.", "    volumes:"]
    for path, read_only in mounts:
        lines += [
            "      - type: bind",
            f"        source: {_yaml(str(path))}",
            f"        target: {_yaml(str(path))}",
            *(["        read_only: true"] if read_only else []),
        ]
    return "\n".join([*lines, ""])


def _yaml(text: str) -> str:
    """Return a text as YAML reads it, and as compose does not fill anything in."""
    return json.dumps(text, ensure_ascii=False).replace("$", "$$")


def _containerfile() -> str:
    release = f'"fedhome=={version("fedhome")}"'
    return f"""\
# Made by `fedhome ... service`. The image holds fedhome and its dependencies, no key and no data.
FROM python:{_PYTHON}-slim
COPY {_PINS} .
# All but fedhome itself has the versions and hashes of {_PINS}. On x86-64 that is a build of torch
# for GPUs, of several gigabytes. Another index, given with
# --build-arg PIP_EXTRA_INDEX_URL=ADDRESS, has files of its own: then the versions count alone.
ARG PIP_EXTRA_INDEX_URL=""
RUN if [ -z "$PIP_EXTRA_INDEX_URL" ]; then \\
      pip install --no-cache-dir --require-hashes -r {_PINS} && \\
      pip install --no-cache-dir --no-deps {release}; \\
    else \\
      sed -e '/--hash=/d' -e 's/ \\\\$//' {_PINS} > versions.txt && \\
      pip install --no-cache-dir -c versions.txt {release}; \\
    fi
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp
USER {_UID}:{_UID}
ENTRYPOINT ["fedhome"]
"""


def _image() -> dict[str, str]:
    pins = Path(__file__).with_name("image_pins.txt").read_text(encoding="utf-8")
    return {_PINS: pins, "Containerfile": _containerfile()}


_TEXTS: Mapping[str, Callable[[_Service], dict[str, str]]] = {
    "systemd": lambda service: {f"{service.title}.service": _unit(service)},
    "compose": lambda service: _image() | {"compose.yaml": _compose(service)},
    "container": lambda _: _image(),
}
"""The files of each kind, by their names."""
