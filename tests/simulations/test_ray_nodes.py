"""A run over two machines, as far as two network namespaces are: what it gives, what it sends, and
what becomes of it when one of them dies.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from fedhome.run.folder import RunFolder
from helpers.ray_nodes import RayNode, address_of, ray_nodes, why_not

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
_HOMES, _ROUNDS, _PARAMETERS = 60, 5, 5761
_PLAN = (
    f"data.homes={_HOMES}",
    f"rounds.count={_ROUNDS}",
    "rounds.judge_every=0",
    "aggregation.mode=ideal",
    "personalise.name=none",
)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Sequence[RayNode]]:
    if reason := why_not():
        pytest.skip(reason)
    told = Path(tempfile.gettempdir(), "ray", "ray_current_cluster")
    before = told.exists()
    with ray_nodes(2) as started:
        yield started
    assert told.exists() == before, "others on this machine would try to join it"


def _command(out: Path, *sets: str) -> list[str]:
    words = [sys.executable, "-m", "fedhome", "simulate", "--out", str(out)]
    for one in (*_PLAN, *sets):
        words += ["--set", one]
    return words


def _over(nodes: Sequence[RayNode], out: Path) -> list[str]:
    cluster = ("engine.name=ray", f"engine.ray_address={address_of(nodes[0])}")
    return nodes[0].command(*_command(out, *cluster, "engine.ray_shards=2"))


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The model that one machine gives."""
    out = tmp_path_factory.mktemp("one") / "run"
    subprocess.run(_command(out), check=True, capture_output=True, timeout=200)
    return (out / "model.safetensors").read_bytes()


def test_two_machines_give_one_machines_model_and_send_a_sum_each(
    nodes: Sequence[RayNode], expected: bytes, tmp_path: Path
) -> None:
    before = nodes[1].bytes_sent()
    subprocess.run(_over(nodes, tmp_path / "run"), check=True, capture_output=True, timeout=200)
    sent = nodes[1].bytes_sent() - before
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == expected
    notes = (tmp_path / "run" / "events.jsonl").read_text(encoding="utf-8")
    assert "on 2 machines" in notes
    one_by_one = _ROUNDS * (_HOMES // 2) * _PARAMETERS * 4
    assert sent < one_by_one / 4, "a sum for each round, and what Ray itself says"


def test_a_machine_that_dies_in_the_middle_changes_no_bit(
    nodes: Sequence[RayNode], expected: bytes, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with subprocess.Popen(
        _over(nodes, out), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as run:
        assert run.stdout is not None
        told = []
        for line in run.stdout:
            told.append(line)
            if line.startswith("round 2/"):
                nodes[1].kill()
        assert run.wait(timeout=400) == 0, "".join(told)
    assert (out / "model.safetensors").read_bytes() == expected
    events = RunFolder.open(out).read_events()
    notes = [event.data["text"] for event in events if event.event == "note"]
    assert any("Ray lost the worker of shard" in note for note in notes), notes
