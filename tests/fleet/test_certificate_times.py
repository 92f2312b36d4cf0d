"""A home whose clock, or its server's, is far off is told which time is shown where."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fedhome.errors import LinkError
from fedhome.fleet import front_requests
from fedhome.fleet.certificate_times import clock_or_certificate
from fedhome.flower.fleet_connection import FleetConnection
from fedhome.flower.node_key import NodeKey
from fedhome.ops import tls

NOW = datetime.now(UTC).replace(microsecond=0)
YEAR = timedelta(days=365)


@contextmanager
def _serving(folder: Path) -> Iterator[str]:
    """Greet whoever comes with a folder's certificate, and yield the address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / tls.CERTIFICATE, folder / tls.KEY)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            with suppress(OSError):
                while True:
                    one, _ = listener.accept()
                    with one, suppress(OSError):  # who refuses the certificate hangs up
                        context.wrap_socket(one, server_side=True).close()

        thread = threading.Thread(target=greet)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _refusals(folder: Path, authorities: bytes) -> list[LinkError]:
    """Return what a home says that asks for its node, and for its messages."""
    told = []
    with _serving(folder) as address:
        with pytest.raises(LinkError) as caught:
            front_requests.ask(address, authorities, front_requests.JOIN, b"a claim")
        told.append(caught.value)
        connection = FleetConnection(address, authorities, NodeKey.create())
        with pytest.raises(LinkError) as caught:
            connection.activate(1)
        connection.close()
        told.append(caught.value)
    return told


@pytest.mark.parametrize(
    ("made", "told"),
    [(NOW + YEAR, "is not valid yet"), (NOW - 3 * YEAR, "has expired")],
)
def test_a_certificate_of_another_time_is_told_with_the_time(
    tmp_path: Path, made: datetime, told: str
) -> None:
    tls.make_certificates(tmp_path, ["127.0.0.1"], now=made)
    for error in _refusals(tmp_path, (tmp_path / tls.CA).read_bytes()):
        assert error.reason == "clock"
        assert f"certificate {told}: it is {NOW.year}-" in error.message
        assert "NTP" in error.hint


def test_another_servers_certificate_is_no_matter_of_clocks(tmp_path: Path) -> None:
    for name in ("ours", "others"):
        tls.make_certificates(tmp_path / name, ["127.0.0.1"])
    for error in _refusals(tmp_path / "others", (tmp_path / "ours" / tls.CA).read_bytes()):
        assert error.reason == "unreachable"
        assert "shows no certificate of this fleet's server: " in error.message


def test_a_device_that_starts_in_1970_is_told_so() -> None:
    early = ssl.SSLCertVerificationError("certificate is not yet valid")
    early.verify_code = 9
    told = clock_or_certificate(early, now=60.0)
    assert told is not None
    assert "it is 1970-01-01 00:01 UTC here" in told.message
    assert clock_or_certificate(OSError("no route to host"), now=60.0) is None
