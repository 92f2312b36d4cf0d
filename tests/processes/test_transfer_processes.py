"""Stages of transfer over real processes: a simulation's weights, and what waits is sealed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fedhome
from fedhome.clients.membership.method_state import FILE as METHOD_STATE
from fedhome.clients.membership.method_state import SealedState
from fedhome.run.folder import RunFolder
from helpers.living import assert_same_weights, tiny_plan
from helpers.patience import PATIENCE_S

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform != "linux", reason="as the other tests of processes"),
]

HOMES, ROUNDS = 5, 3


def test_what_is_not_sent_waits_sealed_in_each_home_and_weights_differ_by_rounding(
    tmp_path: Path,
) -> None:
    """Real homes draw how they round coarse numbers: nobody can work it out."""
    plan = tiny_plan(HOMES, ROUNDS)
    plan = plan.change(transfer={"stages": ["random-k", "int8"], "share": 0.5})
    simulated = fedhome.simulate(plan, out=tmp_path / "simulated").folder
    file, out = tmp_path / "plan.toml", tmp_path / "run"
    file.write_text(plan.to_toml())
    command = [Path(sys.executable).parent / "fedhome", "up", file]
    subprocess.run(
        [*command, "--homes", str(HOMES), "--out", out],
        check=True,
        capture_output=True,
        timeout=PATIENCE_S,
    )
    assert_same_weights(RunFolder.open(out), simulated, rounding=ROUNDS / 127)
    kept = sorted(path.parent.parent for path in out.rglob(METHOD_STATE))
    assert len(kept) == HOMES
    for folder in kept:
        state = SealedState(folder, folder.name).read(folder.name)
        assert state is not None
        left = state.arrays["not-sent"]
        assert 0.4 < np.mean(left == 0) < 0.9  # about a half was sent in the last round
        assert b"not-sent" not in next(folder.rglob(METHOD_STATE)).read_bytes()
