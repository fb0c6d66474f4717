"""What all bodies together may hold in memory while they arrive."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Message

from receiver.web.bodies import Bodies, ClientLeft, NoRoom, TooLarge


class Upload:
    """A body that arrives when told."""

    def __init__(self) -> None:
        self._messages: asyncio.Queue[Message] = asyncio.Queue()

    def send(self, size: int, *, more: bool = True) -> None:
        self._messages.put_nowait({"type": "http.request", "body": b"x" * size, "more_body": more})

    def leave(self) -> None:
        self._messages.put_nowait({"type": "http.disconnect"})

    async def receive(self) -> Message:
        return await self._messages.get()


async def test_bodies_that_arrive_together_share_one_room_and_give_it_back() -> None:
    bodies = Bodies(largest=100, room=150)
    first, second, third = Upload(), Upload(), Upload()
    first.send(100)
    waiting = asyncio.create_task(bodies.read({}, first.receive, None))
    await asyncio.sleep(0)
    second.send(60, more=False)
    with pytest.raises(NoRoom):
        await bodies.read({}, second.receive, None)
    first.send(0, more=False)
    whole = await waiting
    assert whole == b"x" * 100
    third.send(100, more=False)
    with pytest.raises(NoRoom):  # the first has not been answered yet
        await bodies.read({}, third.receive, None)
    bodies.let_go(whole)
    third.send(100, more=False)
    assert len(await bodies.read({}, third.receive, None)) == 100


async def test_the_room_of_a_client_that_left_or_sent_too_much_is_given_back() -> None:
    bodies = Bodies(largest=100, room=100)
    for _ in range(5):
        left, large = Upload(), Upload()
        left.send(90)
        left.leave()
        with pytest.raises(ClientLeft):
            await bodies.read({}, left.receive, None)
        large.send(101)
        with pytest.raises(TooLarge):
            await bodies.read({}, large.receive, None)
    whole = Upload()
    whole.send(100, more=False)
    assert len(await bodies.read({}, whole.receive, "100")) == 100
