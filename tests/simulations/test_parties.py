"""The homes' machines in worker processes: they answer as machines in this process do, and end."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import count

import numpy as np
import pytest

from fedhome.errors import BundleError, EngineError, ManifestError, SecAggError, UpdateError
from fedhome.plan.protocol import terms_hash
from fedhome.plan.settings import Plan
from fedhome.secagg import Bundle, KeyRing, Manifest, ShareKey
from fedhome.secagg.fixedpoint import FixedPoint
from fedhome.secagg.form import Form
from fedhome.secagg.scalars import Scalar
from fedhome.simulations.secure.parties import LocalParties, Numbers
from fedhome.simulations.secure.secure_fleet import SecureFleet
from fedhome.simulations.secure.worker_parties import WorkerParties, worker_count

pytestmark = pytest.mark.long

HOMES = 9
NAMES = [f"home-{place}" for place in range(HOMES)]
EXPECTED = {
    "purpose": "train",
    "settings": bytes(32),
    "model_hash": bytes(32),
    "layout": bytes(32),
}
FORM = Form(
    elements=2,
    layout=bytes(32),
    fixed=FixedPoint(bits=16, clip=1.0, norm="linf", weight_cap=4),
    scalars=(Scalar("loss", 0.0, 1.0, weighted=True),),
    homes=HOMES,
)


TURNS = count(1)


def _plan() -> Plan:
    return Plan.load(data={"homes": HOMES}, engine={"threads": 1})


@pytest.fixture(scope="module", params=[0, 2, 3], ids=["here", "two workers", "three workers"])
def fleet(request: pytest.FixtureRequest) -> Iterator[SecureFleet]:
    """One for all tests: each has a turn of its own."""
    with closing(SecureFleet(NAMES, _plan(), workers=request.param)) as made:
        assert isinstance(made.parties, WorkerParties if request.param else LocalParties)
        yield made


@pytest.fixture
def workers() -> Iterator[WorkerParties]:
    with closing(SecureFleet(NAMES, _plan(), workers=2)) as made:
        assert isinstance(made.parties, WorkerParties)
        yield made.parties


def _bundles(fleet: SecureFleet, positions: Sequence[int]) -> Iterator[Bundle]:
    """Yield a bundle of each home, for the members of the present time."""
    order = [NAMES.index(member) for member in fleet.directory.members]
    told = fleet.parties.answers(order, [{"share-key": b""}] * HOMES)
    keys = [ShareKey.from_bytes(_part(one, "share-key")) for one in told]
    ring = KeyRing(keys=tuple(keys)).to_bytes()
    for one in fleet.parties.answers(positions, [{"ring": ring}] * len(positions)):
        yield Bundle.from_bytes(_part(one, "bundle"))


def _part(answer: dict[str, bytes] | Exception, name: str) -> bytes:
    assert isinstance(answer, dict), answer
    return answer[name]


def _manifest(fleet: SecureFleet) -> bytes:
    bundles = list(_bundles(fleet, range(HOMES)))
    return Manifest.of(
        fleet.directory,
        bundles,
        run=bytes(16),
        turn=next(TURNS),
        round=7,
        purpose="train",
        plan=terms_hash(_plan()),
        settings=bytes(32),
        model_hash=bytes(32),
        form=FORM,
        n_min=HOMES,
        a_min=HOMES,
        degree=0,
        tau=HOMES - 1,
        expires=int(time.time()) + 3600,
    ).sign(fleet.server)


def _numbers(place: int) -> Numbers:
    update = np.array([[0.5, -0.25]], np.float32)
    return Numbers(update, np.array([place % 4]), np.array([[0.5]]), bytes([place]) * 32, bytes(32))


def test_homes_join_and_upload_in_the_order_in_which_they_are_asked(fleet: SecureFleet) -> None:
    manifest = _manifest(fleet)
    order = [4, 0, 8, 2, 6, 1, 3, 5, 7]
    joined = list(fleet.parties.join(order, manifest, EXPECTED))
    assert joined == [(FORM, 7)] * HOMES
    sent = list(fleet.parties.upload(order, [_numbers(place) for place in order]))
    homes = []
    for one in sent:
        assert isinstance(one, dict)
        homes.append(Bundle.from_bytes(one["bundle"]).home)
    assert homes == [NAMES[place] for place in order]


def test_a_refusal_is_the_homes_own_in_its_place(fleet: SecureFleet) -> None:
    manifest = _manifest(fleet)
    other = {**EXPECTED, "purpose": "evaluate"}
    refused = list(fleet.parties.join([3, 1], manifest, other))
    for error in refused:
        assert isinstance(error, ManifestError)
        assert error.reason == "purpose"
        assert "another purpose" in error.message
    # Only the first home has joined: the others are refused, by the right error, around it.
    assert list(fleet.parties.join([0], manifest, EXPECTED)) == [(FORM, 7)]
    none, fine, also_none = fleet.parties.upload(
        [1, 0, 2], [_numbers(place) for place in (1, 0, 2)]
    )
    assert isinstance(none, BundleError)
    assert isinstance(also_none, BundleError)
    assert isinstance(fine, dict)
    [again] = fleet.parties.join([0], manifest, EXPECTED)
    assert isinstance(again, ManifestError)
    assert again.reason == "replayed"


def test_a_home_keeps_its_one_time_keys_while_it_uploads_and_draws_new_ones_otherwise(
    fleet: SecureFleet,
) -> None:
    manifest = _manifest(fleet)
    before = Manifest.verify(manifest, fleet.directory)
    list(fleet.parties.join(range(HOMES), manifest, EXPECTED))
    sent = fleet.parties.upload(range(1, HOMES), [_numbers(place) for place in range(1, HOMES)])
    made = [Bundle.from_bytes(_part(one, "bundle")) for one in sent]
    for place, bundle in enumerate(made, 1):
        assert bundle.public == before.public(place)
        assert bundle.commitment == before.commitment(place)
        assert bundle.serial == before.serials[place] + 1
        assert bundle.nonce != bytes(12)
        bundle.check(fleet.directory)
    assert len({bundle.nonce for bundle in made}) == HOMES - 1
    new = list(_bundles(fleet, range(HOMES)))  # the first did not upload, the others have one each
    assert not {bundle.public for bundle in new} & {before.public(n) for n in range(HOMES)}


def test_what_is_not_finite_stays_at_home(fleet: SecureFleet) -> None:
    list(fleet.parties.join([0, 1], _manifest(fleet), EXPECTED))
    broken = _numbers(0)._replace(update=np.array([[np.nan, 0.0]], np.float32))
    lost, fine = fleet.parties.upload([0, 1], [broken, _numbers(1)])
    assert isinstance(lost, UpdateError)
    assert "learning_rate" in lost.hint
    assert isinstance(fine, dict)


def test_an_answer_left_unread_is_not_taken_for_the_next(fleet: SecureFleet) -> None:
    first = _bundles(fleet, range(HOMES))
    assert next(first).home == NAMES[0]
    assert [one.home for one in _bundles(fleet, [5, 2])] == [NAMES[5], NAMES[2]]


def test_a_directory_that_does_not_hold_is_raised(fleet: SecureFleet) -> None:
    with pytest.raises(SecAggError) as caught:
        fleet.parties.renew(range(HOMES), b"no directory")
    assert caught.value.reason == "format"


def test_every_home_has_keys_of_its_own(fleet: SecureFleet) -> None:
    entries = fleet.directory.homes
    assert [entry.home for entry in entries] == sorted(NAMES)
    assert len({key for entry in entries for key in (entry.identity, entry.share)}) == 2 * HOMES


def test_a_fault_in_a_worker_is_told_and_the_worker_goes_on(workers: WorkerParties) -> None:
    with pytest.raises(EngineError, match=r"failed: TypeError: .*nonsense"):
        list(workers.ask("entry", range(HOMES), {"nonsense": 1}))
    assert len(workers.entries(range(HOMES))) == HOMES


def test_a_worker_that_is_killed_ends_the_run_with_a_hint(workers: WorkerParties) -> None:
    os.kill(workers.workers[1].pid, signal.SIGKILL)
    with pytest.raises(EngineError, match="ended: signal 9") as caught:
        workers.entries(range(HOMES))
    assert "--resume" in caught.value.hint


def test_a_worker_that_cannot_start_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(EngineError, match="no worker process can be started"):
        SecureFleet(NAMES, _plan(), workers=2)


def test_workers_are_gone_when_the_fleet_is_closed() -> None:
    with closing(SecureFleet(NAMES, _plan(), workers=2)) as made:
        assert isinstance(made.parties, WorkerParties)
        watched = [os.pidfd_open(worker.pid) for worker in made.parties.workers]
    for one in watched:
        assert select.select([one], [], [], 0)[0] == [one]
        os.close(one)


_BUSY = """
import contextlib
from fedhome.secagg import Authority, Policy
from fedhome.simulations.secure.parties import PartyKeys
from fedhome.simulations.secure.worker_parties import WorkerParties

with contextlib.closing(WorkerParties(2)) as parties:
    names = [f"home-{place}" for place in range(9)]
    parties.populate(names, PartyKeys(Authority.create().public, Policy()))
    list(parties.entries(range(9)))
    print(*(worker.pid for worker in parties.workers), flush=True)
    while True:
        list(parties.entries(range(9)))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_the_process_that_started_them(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _BUSY],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as parent:
        assert parent.stdout is not None
        watched = [os.pidfd_open(int(pid)) for pid in parent.stdout.readline().split()]
        assert len(watched) == 2
        os.killpg(parent.pid, number)  # as a terminal does with Ctrl-C
        for one in watched:
            assert select.select([one], [], [], 60)[0] == [one]
            os.close(one)
        assert parent.stderr is not None
        said = parent.stderr.read()
    assert parent.returncode == -number
    assert said.count("Traceback") == (number == signal.SIGINT)  # the parent's own, and no other


def test_a_worker_loads_neither_torch_nor_flower() -> None:
    check = (
        "import sys, fedhome.simulations.secure.worker_parties; "
        "print({'torch', 'flwr', 'scipy'} & {*sys.modules})"
    )
    found = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "set()"


def test_small_fleets_stay_in_one_process() -> None:
    assert worker_count(31, 8) == 0
    assert worker_count(32, 1) == 0
    assert worker_count(32, 2) == 2
    assert worker_count(100, 64) == 12  # eight homes each at least
    assert worker_count(1000, 64) == 64
