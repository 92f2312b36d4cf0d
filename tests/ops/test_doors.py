"""Who is at a door: places are taken and given back, whatever comes first."""

from __future__ import annotations

import asyncio

from fedhome.ops.doors import Door, DoorLimits


def test_who_has_gone_takes_no_place_when_it_turns_out_who_that_was() -> None:
    async def run() -> None:
        door = Door(DoorLimits())
        visitor = door.enter("192.0.2.1")
        assert (len(door.strangers), len(door.known)) == (1, 0)
        door.leave(visitor)  # it hung up while it was asked about
        visitor.is_known("oak")
        assert (len(door.strangers), len(door.known)) == (0, 0)

    asyncio.run(run())


def test_who_becomes_known_gives_a_strangers_place_back() -> None:
    async def run() -> None:
        door = Door(DoorLimits())
        visitor = door.enter("192.0.2.1")
        visitor.is_known("oak", b"key")
        visitor.is_known("oak", b"key")
        assert (len(door.strangers), len(door.known)) == (0, 1)
        visitor.is_known("elm", b"key")
        assert (len(door.strangers), len(door.known)) == (0, 1)
        door.leave(visitor)
        door.leave(visitor)
        assert (len(door.strangers), len(door.known)) == (0, 0)

    asyncio.run(run())
