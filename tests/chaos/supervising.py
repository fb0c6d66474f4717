"""Programs that are started again whenever they end, as a supervisor does, and what kills them."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from tests.staging.programs import Program, Stage
from tests.staging.waiting import until

RESTART_AFTER = 0.3

Disaster = Callable[[random.Random], Awaitable[None]]


class Kept:
    """One of our programs, kept running until `stop`. `ended` counts its ends by exit code."""

    def __init__(self, stage: Stage, name: str, *arguments: str) -> None:
        self.ended: Counter[int] = Counter()
        self.program: Program | None = None
        self._stage, self._name, self._arguments = stage, name, arguments
        self._stopping = asyncio.Event()
        self._task = asyncio.create_task(self._keep())

    @property
    def pid(self) -> int | None:
        """The process that runs now."""
        running = self.program is not None and self.program.process.returncode is None
        return self.program.process.pid if running and self.program is not None else None

    async def _keep(self) -> None:
        while not self._stopping.is_set():
            async with self._stage.running(self._name, *self._arguments) as program:
                self.program = program
                self.ended[await program.process.wait()] += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), RESTART_AFTER)

    async def kill(self, _: random.Random) -> None:
        """SIGKILL; it comes back by itself."""
        if self.program is not None:
            await self.program.kill()

    async def until_ready(self) -> None:
        """Return once it serves."""
        await until(lambda: self.program is not None)
        assert self.program is not None
        await self._stage.until_ready(self.program)

    async def stop(self) -> int:
        """SIGTERM and not again; returns its exit code."""
        self._stopping.set()
        assert self.program is not None
        return await self.program.stop() if self.pid is not None else -1

    async def abandon(self) -> None:
        """End at once; for the end of a test that failed."""
        self._stopping.set()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


@asynccontextmanager
async def kept(stage: Stage, name: str, *arguments: str) -> AsyncIterator[Kept]:
    """Keep a program running while inside."""
    program = Kept(stage, name, *arguments)
    try:
        yield program
    finally:
        await program.abandon()


class Disasters:
    """Things that go wrong now and then, each for itself, until `end`. `counts` says how often each did."""

    def __init__(self, seed: int) -> None:
        self.counts: Counter[str] = Counter()
        self._seed = seed
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self, name: str, choices: Sequence[tuple[str, Disaster]], least: float, most: float) -> None:
        """Let one of `choices` happen every `least` to `most` seconds from now on."""
        rng = random.Random(f"{self._seed}-{name}")
        self._tasks.append(asyncio.create_task(self._repeat(rng, choices, least, most), name=name))

    async def _repeat(
        self, rng: random.Random, choices: Sequence[tuple[str, Disaster]], least: float, most: float
    ) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), rng.uniform(least, most))
                return
            name, happen = rng.choice(choices)
            await happen(rng)
            self.counts[name] += 1

    async def end(self) -> None:
        """Let what is happening come to its end, and nothing more happen. Raises what went wrong otherwise."""
        self._stopping.set()
        await asyncio.gather(*self._tasks)

    async def abandon(self) -> None:
        """End at once."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
