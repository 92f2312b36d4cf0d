"""Server and homes as real processes on this machine, for trying: what `fedhome up` does.

Everything is as in a deployment (keys, signed directory, TLS, secure sums, a process for each
part), except that all of it lies side by side in the run's folder.
"""

from __future__ import annotations

import secrets
import shutil
import socket
import ssl
from collections.abc import Iterable
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clients.place import Place as HomePlace
from clients.place import Settings as HomeSettings
from fedhome import tls
from fedhome.aggregation import check_groups
from fedhome.door import HEALTH
from fedhome.enrolment import home_keys
from fedhome.errors import PlanError, RunError
from fedhome.fleet import DIRECTORY, SERVER, Fleet
from fedhome.plan import Plan
from fedhome.processes import Processes
from fedhome.runs import RunFolder
from fedhome.tables import HomeTable
from server.place import Place, Settings
from simulations.homes import generate

HOST = "127.0.0.1"
_READY_S, _HOMES_S = 60.0, 120.0


def up(plan: Plan, *, homes: int, out: Path | str | None = None) -> RunFolder:
    """Run a plan over real processes, and return the folder of the finished run.

    Args:
        plan: The plan.
        homes: Number of synthetic homes.
        out: Folder of the run; None for the next free one in ``runs/``.

    Raises:
        PlanError: The plan cannot be run so.
        RunError: A process ended before its work was done.
    """
    plan = plan.model_copy(update={"data": plan.data.model_copy(update={"homes": homes})})
    faults = []
    if plan.data.source != "synthetic":
        faults.append(f"data.source: homes are synthetic here, not {plan.data.source!r}")
    if plan.aggregation.mode == "ideal":
        faults.append('aggregation.mode: "ideal" sums are for simulations alone')
    elif plan.aggregation.mode != "plain" and (fault := check_groups(plan, homes)):
        faults.append(fault)
    if faults:
        raise PlanError(faults)
    folder = RunFolder.create(out, name=plan.name)
    folder.write_plan(plan.to_toml())
    tables = list(generate(homes=homes, days=plan.data.days, seed=plan.seed))
    root = folder.path.resolve() / "deployment"
    server, places = prepare(root, plan, tables)
    with Processes() as processes:
        start(processes, server, places)
        processes.start(
            "run",
            "server.deploy",
            str(server.folder),
            str(folder.path.resolve()),
            str(_HOMES_S),
            ends=(0, 1),  # killed, or cut off by a new SuperLink, it goes on with the run
        )
        code = processes.wait("run")
    if code:
        raise RunError(
            f"the run ended before it was done, with status {code}",
            hint=f"the logs in {server.logs} say more",
        )
    return folder


def prepare(root: Path, plan: Plan, tables: Iterable[HomeTable]) -> tuple[Place, list[HomePlace]]:
    """Make a fleet: an owner, a server, and homes with keys and data of their own.

    Args:
        root: The folder for all of it.
        plan: The plan that the homes take part in.
        tables: The homes' readings.

    Raises:
        PlanError: The plan's promises cannot be kept with so many homes.
        StateError: The folder cannot be used.
    """
    settings = Settings(host=HOST, port=_free_port(), link_port=_free_port())
    server = Place.create(root / "server", settings, names=[HOST, "localhost"])
    places, entries = [], []
    for table in tables:
        place = HomePlace(root / "homes" / table.home)
        keys, _ = home_keys(table.home, place.folder)
        entries.append(keys.entry())
        write_readings(table, place.folder / "readings.parquet")
        places.append(place)
    passphrase = secrets.token_hex(16)  # nobody signs a second directory of this fleet
    with Fleet.create(root / "owner", passphrase) as fleet:
        fleet.add(*entries)
        aggregation = plan.aggregation
        fleet.sign(
            passphrase,
            corrupt=aggregation.corrupt,
            dropped=aggregation.dropped,
            committee=aggregation.committee,
            min_cohort=aggregation.min_cohort,
        )
        anchor = fleet.anchor
    shutil.copytree(root / "owner" / SERVER, server.fleet, dirs_exist_ok=True)
    shutil.copyfile(root / "owner" / DIRECTORY, server.fleet / DIRECTORY)
    authorities = (server.tls / tls.CA).read_bytes()
    for place in places:
        place.fill(
            HomeSettings(
                home=place.folder.name,
                server=f"{HOST}:{settings.port}",
                data=str(place.folder / "readings.parquet"),
            ),
            plan=plan,
            anchor=anchor,
            authorities=authorities,
        )
    return server, places


def start(processes: Processes, server: Place, places: Iterable[HomePlace]) -> None:
    """Start the server's processes and the homes' agents.

    Raises:
        RunError: The server is not up in time.
    """
    for name in ("link", "front"):
        processes.start(name, f"server.{name}", str(server.folder), log=server.logs / f"{name}.log")
    for place in places:
        home = place.folder.name
        processes.start(home, "clients.agent", str(place.folder), log=server.logs / f"{home}.log")
    settings = server.settings
    context = ssl.create_default_context(cafile=server.tls / tls.CA)
    with httpx.Client(verify=context, timeout=5) as client:

        def healthy() -> bool:
            try:
                return client.get(f"https://{HOST}:{settings.port}{HEALTH}").is_success
            except httpx.HTTPError:
                return False

        processes.until(healthy, what="the server came up", timeout_s=_READY_S)


def write_readings(table: HomeTable, path: Path) -> None:
    """Write a home's readings as a Parquet file, to be read back the same.

    Args:
        table: The readings.
        path: The file.
    """
    columns: dict[str, pa.Array] = {
        "time": pa.array(table.time_s, pa.timestamp("s", tz=table.time_zone))
    }
    for name, values in table.columns.items():
        classes = table.labels.get(name)
        if classes is None:
            columns[name] = pa.array(values)
            continue
        words = [None if np.isnan(value) else classes[int(value)] for value in values]
        columns[name] = pa.array(words, pa.string())
    pq.write_table(pa.table(columns), path)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind((HOST, 0))
        port: int = free.getsockname()[1]
        return port
