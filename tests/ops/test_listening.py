"""Why nothing can listen at an address, in the system's words."""

from __future__ import annotations

import socket
from typing import Any, NoReturn

import pytest

from fedhome.ops.listening import what_to_do, why_taken


def test_an_address_that_is_free_and_one_that_is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert why_taken("127.0.0.1", port) == "Address already in use"
    assert not why_taken("127.0.0.1", port)


def test_a_host_that_nobody_knows_is_told_by_the_resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its number is none of the system's: it was told as "Unknown error -2"."""

    class Unknown(socket.socket):
        def bind(self, _: Any) -> NoReturn:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "socket", Unknown)
    assert why_taken("hub.invalid", 8080) == "Name or service not known"


def test_an_address_of_no_card_of_this_machine_is_told_as_that() -> None:
    assert why_taken("192.0.2.1", 8080) == "this machine has no such address"  # RFC 5737: nobody's


def test_what_to_do_is_what_the_reason_asks_for() -> None:
    """Where the address is not this machine's, nothing else listens there that could be ended."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = what_to_do(why_taken("127.0.0.1", listener.getsockname()[1]))
    assert taken.startswith("end what else listens there")
    absent = what_to_do(why_taken("192.0.2.1", 8080))
    assert absent.startswith("name an address of this machine")
    assert what_to_do("Permission denied").startswith("name a port from 1024 on")
