"""Who has a turn where more ask than can be served: by rank, in time, and nobody who has left."""

from __future__ import annotations

import asyncio

import pytest

from fedhome.ops.turns import BusyError, Turns


def test_those_of_lower_rank_go_first_and_those_of_one_rank_as_they_came() -> None:
    async def served() -> list[str]:
        turns, done, begin = Turns(lambda: 1, most=9, patience_s=60.0), list[str](), asyncio.Event()

        async def serve(name: str, rank: int) -> None:
            async with turns.turn(rank):
                await begin.wait()
                done.append(name)

        names = {"first": 2, "join": 2, "enrol": 3, "release": 1, "join again": 2, "leave": 0}
        tasks = []
        for name, rank in names.items():
            tasks.append(asyncio.create_task(serve(name, rank)))
            await asyncio.sleep(0)
        assert (turns.at_work, turns.waiting) == (1, 5)
        begin.set()
        await asyncio.gather(*tasks)
        assert (turns.at_work, turns.waiting, turns.refused) == (0, 0, 0)
        return done

    assert asyncio.run(served()) == ["first", "leave", "release", "join", "join again", "enrol"]


def test_where_too_many_wait_the_last_of_the_lowest_rank_are_told_to_come_back() -> None:
    async def told() -> tuple[list[str], int]:
        turns, busy, end = Turns(lambda: 1, most=2, patience_s=60.0), list[str](), asyncio.Event()

        async def serve(name: str, rank: int) -> None:
            try:
                async with turns.turn(rank):
                    await end.wait()
            except BusyError:
                busy.append(name)

        tasks = []
        names = {"first": 2, "join": 2, "join again": 2, "third": 2, "release": 1}
        for name, rank in names.items():
            tasks.append(asyncio.create_task(serve(name, rank)))
            await asyncio.sleep(0)
        end.set()
        await asyncio.gather(*tasks)
        return busy, turns.refused

    assert asyncio.run(told()) == (["third", "join again"], 2)


def test_who_waits_too_long_or_leaves_has_no_turn() -> None:
    async def seen() -> list[str]:
        turns, done = Turns(lambda: 1, most=9, patience_s=0.01), list[str]()
        async with turns.turn(0):
            with pytest.raises(BusyError):
                async with turns.turn(0):
                    raise AssertionError
            turns = Turns(lambda: 1, most=9, patience_s=60.0)
        begin = asyncio.Event()

        async def serve(name: str) -> None:
            async with turns.turn(0):
                await begin.wait()
                done.append(name)

        first, left, last = (asyncio.create_task(serve(name)) for name in ("first", "left", "last"))
        await asyncio.sleep(0)
        left.cancel()
        begin.set()
        await asyncio.gather(first, last)
        assert left.cancelled()
        assert turns.at_work == 0
        return done

    assert asyncio.run(seen()) == ["first", "last"]


def test_a_turn_that_came_as_its_owner_left_goes_to_the_next() -> None:
    async def seen() -> list[str]:
        turns, done = Turns(lambda: 1, most=9, patience_s=60.0), list[str]()

        async def serve(name: str) -> None:
            async with turns.turn(0):
                done.append(name)

        async with turns.turn(0):
            left, last = (asyncio.create_task(serve(name)) for name in ("left", "last"))
            await asyncio.sleep(0)
        left.cancel()  # it has been given the turn, and does not know it yet
        await last
        assert (turns.at_work, turns.waiting) == (0, 0)
        return done

    assert asyncio.run(seen()) == ["last"]


def test_fewer_have_turns_while_something_else_matters_more() -> None:
    async def most() -> list[int]:
        allowed = 4
        turns, most, end = (
            Turns(lambda: allowed, most=9, patience_s=60.0),
            list[int](),
            asyncio.Event(),
        )

        async def serve() -> None:
            async with turns.turn(0):
                most.append(turns.at_work)
                await end.wait()

        tasks = [asyncio.create_task(serve()) for _ in range(6)]
        await asyncio.sleep(0)
        allowed = 1
        end.set()
        await asyncio.gather(*tasks)
        return most

    assert asyncio.run(most()) == [1, 2, 3, 4, 1, 1]
