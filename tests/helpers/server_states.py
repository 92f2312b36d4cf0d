"""How a server is that has nothing to complain of, for tests of what commands say of it."""

from __future__ import annotations

from fedhome.server.daemon.server_status import RunStatus, ServerStatus

RUN = RunStatus(name="tiny-1", state="running", reason="", hint="", round=1, rounds=9)
CALM = ServerStatus(
    version="0.1.0+5f1d0c2a",
    other_builds={},
    running=True,
    starting=False,
    front=True,
    link=True,
    address="hub.example:8443",
    certificate_ends="2029-01-01",
    certificate_days=500,
    fleet="0" * 32,
    epoch=3,
    directory_ends="2027-12-01",
    directory_days=300,
    homes=5,
    connected=["ash", "elm"],
    pending=0,
    run=RUN,
    release=None,
    left_out=[],
    refusing=[],
    page="",
    faults=[],
)
