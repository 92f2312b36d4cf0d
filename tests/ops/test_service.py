"""Files of services: what they hold, and that those who read them can."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from fedhome.errors import FedHomeError, RunError, StateError
from fedhome.ops import processes
from fedhome.ops.service import LIMITS, REFUSED, Limits, write_service

ANALYZE = shutil.which("systemd-analyze")
FEDHOME = str(Path(sys.executable).with_name("fedhome"))
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not here")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "oak"
    made.mkdir()
    (made / "state.key").write_bytes(b"secret-secret-secret-secret-here")
    return made


def unit_of(path: Path) -> dict[str, list[str]]:
    """Return a unit's settings."""
    found: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def verify(path: Path, *words: str, runtime: Path) -> str:
    """Return what systemd says of a unit; nothing where it finds no fault."""
    done = subprocess.run(
        [str(ANALYZE), "verify", "--man=no", *words, str(path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "XDG_RUNTIME_DIR": str(runtime)},
    )
    # Of the machine's own units it may have something to say, too.
    lines = [line for line in done.stderr.splitlines() if path.name in line]
    return "\n".join(lines) or ("" if done.returncode == 0 else done.stderr)


def test_the_unit_of_a_home(folder: Path, tmp_path: Path) -> None:
    command = ("client", "start", str(folder))
    (path,) = write_service("systemd", "client", folder, command, tmp_path / "out", name="oak")
    assert path == tmp_path / "out" / "fedhome-client-oak.service"
    assert path.stat().st_mode & 0o777 == 0o644
    unit = unit_of(path)
    assert unit["ExecStart"] == [f"{FEDHOME} client start {folder}"]
    assert unit["ReadWritePaths"] == [str(folder)]
    expected = {
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "ProtectHome": "read-only",
        "PrivateTmp": "yes",
        "CapabilityBoundingSet": "",
        "Restart": "always",
        "RestartPreventExitStatus": str(REFUSED),
        "MemoryMax": "1024M",
        "CPUQuota": "100%",
        "WantedBy": "multi-user.target",
        "User": folder.owner(),
    }
    assert {name: unit[name] for name in expected} == {n: [v] for n, v in expected.items()}


@pytest.mark.parametrize(
    ("error", "parent", "status"),
    [
        (StateError("rolled back", reason="rolled-back"), "0", REFUSED),
        (StateError("a key is damaged", reason="altered"), "0", REFUSED),
        (StateError("another process has it", reason="in-use"), "0", 1),
        (StateError("no room", reason="disk-full"), "0", 1),
        (RunError("the port is taken"), "0", 1),
        (StateError("rolled back", reason="rolled-back"), "7", 1),
    ],
)
def test_a_service_is_not_started_again_for_what_only_people_can_mend(
    error: FedHomeError, parent: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def main(_: list[str]) -> int:
        raise error

    monkeypatch.setattr(processes, "import_module", lambda _: SimpleNamespace(main=main))
    monkeypatch.setattr(processes, "_die_with", lambda _: None)
    assert processes.main([parent, "fedhome.any"]) == status


def test_a_unit_of_the_users_own(folder: Path, tmp_path: Path) -> None:
    (path,) = write_service("systemd", "client", folder, ("client",), tmp_path, user=True)
    unit = unit_of(path)
    assert unit["WantedBy"] == ["default.target"]
    assert unit["PrivateUsers"] == ["yes"]
    # A user's manager may not do this: the unit would not start.
    assert not {"User", "CapabilityBoundingSet", "ProtectKernelModules"} & set(unit)


def test_a_server_may_listen_where_only_root_may(folder: Path, tmp_path: Path) -> None:
    for ports, capability in (((443,), "CAP_NET_BIND_SERVICE"), ((9443,), "")):
        (path,) = write_service("systemd", "server", folder, ("x",), tmp_path, ports=ports)
        assert unit_of(path)["CapabilityBoundingSet"] == [capability]
        assert unit_of(path)["MemoryMax"] == [f"{LIMITS['server'].memory_mb}M"]


def test_no_secret_is_in_them(folder: Path, tmp_path: Path) -> None:
    for kind in ("systemd", "compose", "container"):
        for path in write_service(kind, "client", folder, ("client", "start"), tmp_path / kind):
            assert "secret-secret" not in path.read_text()
            assert path.stat().st_mode & 0o777 == 0o644


ODD = 'my "home" 50% $HOME; ü'


@pytest.mark.long
@needs_systemd
@pytest.mark.parametrize("name", ["oak", ODD])
def test_systemd_finds_no_fault_in_them(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    command = ("client", "start", str(folder))
    for role in ("client", "server"):
        (path,) = write_service("systemd", role, folder, command, tmp_path, ports=[443])
        assert verify(path, runtime=tmp_path) == ""
    (path,) = write_service("systemd", "client", folder, command, tmp_path / "user", user=True)
    assert verify(path, "--user", runtime=tmp_path) == ""
    # It would find one.
    path.write_text(path.read_text().replace("ProtectSystem=strict", "ProtectSystem=perhaps"))
    assert "protect system value" in verify(path, "--user", runtime=tmp_path)


def test_odd_names_reach_the_program_whole(tmp_path: Path) -> None:
    folder = tmp_path / ODD
    folder.mkdir()
    (path,) = write_service("systemd", "client", folder, ("start", str(folder)), tmp_path)
    unit = unit_of(path)
    # As systemd reads it: its own marks doubled, else as a shell does with double quotes.
    (start,), (writes,) = unit["ExecStart"], unit["ReadWritePaths"]
    words = shlex.split(start.replace("%%", "%"))
    assert [word.replace("$$", "$") for word in words] == [FEDHOME, "start", str(folder)]
    assert shlex.split(writes.replace("%%", "%")) == [str(folder)]
    assert unit["WorkingDirectory"] == [str(folder).replace("%", "%%")]
    with pytest.raises(RunError, match="cannot stand"):
        write_service("systemd", "client", tmp_path / "a\nExecStart=x", (), tmp_path)


def compose_of(path: Path) -> Any:
    (service,) = yaml.safe_load(path.read_text())["services"].values()
    return service


def test_the_compose_file_of_a_home(folder: Path, tmp_path: Path) -> None:
    data = tmp_path / "data" / "readings.csv"
    data.parent.mkdir()
    data.write_text("time\n")
    limits = Limits(memory_mb=512, cpus=0.5, tasks=64)
    pins, image, compose = write_service(
        "compose",
        "client",
        folder,
        ("client", "start", str(folder)),
        tmp_path / "out",
        name="oak",
        reads=[data, folder / "in-it.csv"],
        limits=limits,
    )
    assert (image.name, compose.name) == ("Containerfile", "compose.yaml")
    assert f"COPY {pins.name} ." in image.read_text()
    assert list(yaml.safe_load(compose.read_text())["services"]) == ["fedhome-client-oak"]
    service = compose_of(compose)
    state = folder.stat()
    assert service == {
        "build": {"context": ".", "dockerfile": "Containerfile"},
        "image": f"fedhome:{version('fedhome')}",
        "command": ["client", "start", str(folder)],
        "user": f"{state.st_uid}:{state.st_gid}",
        "restart": "unless-stopped",
        "stop_grace_period": "60s",
        "init": True,
        "read_only": True,
        "tmpfs": ["/tmp"],  # noqa: S108 - in the container
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "mem_limit": "512m",
        "cpus": 0.5,
        "pids_limit": 64,
        "volumes": [
            {"type": "bind", "source": str(folder), "target": str(folder)},
            {
                "type": "bind",
                "source": str(data.parent),
                "target": str(data.parent),
                "read_only": True,
            },
        ],
    }


def test_an_image_takes_what_is_locked_by_hash_or_from_another_index_by_version(
    folder: Path, tmp_path: Path
) -> None:
    pins, image = write_service("container", "client", folder, ("client", "start"), tmp_path)
    (told,) = re.findall(r"^RUN (.*?[^\\])\n(?=\S)", image.read_text(), re.DOTALL | re.MULTILINE)
    (tmp_path / "pip").write_text('#!/bin/sh\necho "$@" >> asked\n')
    (tmp_path / "pip").chmod(0o755)
    release = f"fedhome=={version('fedhome')}"
    for index, asked in (
        ("", [f"--require-hashes -r {pins.name}", f"--no-deps {release}"]),
        ("https://hub.example", [f"-c versions.txt {release}"]),
    ):
        path = f"{tmp_path}:{os.environ['PATH']}"
        environment = {"PATH": path, "PIP_EXTRA_INDEX_URL": index}
        subprocess.run(["sh", "-ec", told], cwd=tmp_path, env=environment, check=True)
        lines = (tmp_path / "asked").read_text().splitlines()
        assert lines == [f"install --no-cache-dir {one}" for one in asked]
        (tmp_path / "asked").unlink()
    versions = (tmp_path / "versions.txt").read_text().splitlines()
    found = {Requirement(one).name for one in versions if not one.startswith("#")}
    assert {"torch", "flwr", "numpy", "cryptography"} <= found


def test_the_compose_file_of_a_server(tmp_path: Path) -> None:
    folder = tmp_path / ODD
    folder.mkdir()
    command = ("server", "start", str(folder))
    *_, compose = write_service("compose", "server", folder, command, tmp_path, ports=[9443])
    service = compose_of(compose)
    assert service["ports"] == ["9443:9443"]
    assert service["mem_limit"] == f"{LIMITS['server'].memory_mb}m"
    # Compose itself turns two of them into one.
    assert service["command"][-1].replace("$$", "$") == str(folder)


def test_the_image(folder: Path, tmp_path: Path) -> None:
    _, path = write_service("container", "client", folder, (), tmp_path)
    lines = [line for line in path.read_text().splitlines() if not line.startswith(("#", " "))]
    assert [line.split()[0] for line in lines] == [
        "FROM",
        "COPY",
        "ARG",
        "RUN",
        "ENV",
        "USER",
        "ENTRYPOINT",
    ]
    assert f'"fedhome=={version("fedhome")}"' in path.read_text()
    assert str(folder) not in path.read_text()
