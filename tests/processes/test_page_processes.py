"""The page of a real server: it shows the run that is in progress, and its death harms nothing."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from fedhome.ops.listening import free_port
from fedhome.server.daemon.health import PAGE_MODULE
from fedhome.server.daemon.told_status import told_status
from fedhome.simulations import local_fleet
from fedhome.simulations.homes import generate
from fedhome.store.settings_file import write_settings
from helpers.client_world import until
from helpers.daemon_world import PASSPHRASE, World, agents, run, started, told
from helpers.living import lines_until, number_of, tiny_plan, wait_until_gone
from helpers.patience import PATIENCE_S

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.usefixtures("forked"),
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc"),
]

HOMES, ROUNDS = 5, 2


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    plan = tiny_plan(HOMES, ROUNDS)
    monkeypatch.setattr("fedhome.simulations.local_fleet.secrets.token_hex", lambda _: PASSPHRASE)
    tables = generate(homes=HOMES, days=plan.data.days, seed=plan.seed)
    server, homes = local_fleet.prepare(tmp_path / "fleet", plan, tables)
    monkeypatch.undo()
    page = f"127.0.0.1:{free_port()}"
    write_settings(server.path / "server.toml", replace(server.settings, page=page))
    file = tmp_path / "plan.toml"
    file.write_text(plan.to_toml())
    return World(server, homes, file)


def test_the_page_shows_a_run_and_is_started_again_when_it_was_killed(world: World) -> None:
    url = f"http://{world.server.settings.page}/"

    def told_up() -> bool:
        status = told_status(world.server.path)
        return status is not None and status.page == url and not status.faults

    def numbers() -> dict[str, float]:
        text = httpx.get(f"{url}metrics", trust_env=False).text
        return {
            " ".join([one.name, *one.labels.values()]): one.value
            for family in text_string_to_metric_families(text)
            for one in family.samples
        }

    with started(world) as daemon, agents(world):
        until(told_up)
        with told(*run(world, world.plan, "--name", "mine")) as watching:
            lines_until(watching, "report: ")
            assert watching.wait(PATIENCE_S) == 0
        until(lambda: numbers().get("fedhome_run_state finished") == 1)
        found = numbers()
        assert found["fedhome_up superlink"] == 1
        assert found["fedhome_homes_connected"] == HOMES
        assert found["fedhome_run_round"] == ROUNDS
        assert found["fedhome_release_number"] == 1
        assert found["fedhome_round_homes answered"] == HOMES
        shown = httpx.get(url, trust_env=False).text
        for words in ("Run mine", "Learning curves", f"{HOMES}/{HOMES}", "home-0001"):
            assert words in shown
        os.kill(number_of(world.server.path, PAGE_MODULE), signal.SIGKILL)
        lines_until(daemon, "page was killed (SIGKILL): it is started again")
        until(told_up)
        daemon.terminate()
        assert daemon.wait(PATIENCE_S) == 0
        wait_until_gone(world.server.path)
