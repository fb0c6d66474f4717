"""The door of every single-task stand-in: outages, failing reads, the key, the pace, then upstream's own routes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from receiver.sandbox.control import control_routes
from receiver.sandbox.filing import file_response
from receiver.sandbox.gateway import gateway, read_fault
from receiver.sandbox.recorder import Recorder
from receiver.sandbox.running import Running, running
from receiver.sandbox.tasks_sandbox import Refused, TaskSandbox

Stand = TypeVar("Stand", bound=TaskSandbox)
Handler = Callable[[Request], Awaitable[Response]]


def tasks_app(sandbox: TaskSandbox) -> Recorder:
    """The whole application, output files and the control surface included."""
    files = route(sandbox, "GET", "/files/{task}/{name}", content_of(sandbox), key=False, reading=False)
    routes: list[BaseRoute] = [*control_routes(sandbox), files, *sandbox.routes()]
    return Recorder(Starlette(routes=routes), sandbox.clock, sandbox.requests.append)


def route(
    sandbox: TaskSandbox, method: str, path: str, handler: Handler, *, key: bool = True, reading: bool | None = None
) -> Route:
    """One route behind the door. `reading`: the faults of reads apply (to GET, if not said); `key`: one is needed."""
    reads = method == "GET" if reading is None else reading

    async def endpoint(request: Request) -> Response:
        if sandbox.outage_left() > 0:
            return gateway(503)
        if reads:
            if sandbox.faults.latency:
                await asyncio.sleep(sandbox.faults.latency)
            if fault := read_fault(sandbox.faults, sandbox.rngs["read"], sandbox.failed):
                return fault
        try:
            if key and (sandbox.faults.revoked or not sandbox.let_in(request)):
                return sandbox.failed(401)
            sandbox.catch_up()
            if key and (waiting := sandbox.hold_back(request, reading=reads)):
                return waiting
            return await handler(request)
        except Refused as refused:
            return refused.response

    return Route(path, endpoint, methods=[method])


def content_of(sandbox: TaskSandbox) -> Handler:
    """The bytes behind an output URL: 403 once its time is over or when the signature is not ours, 404 when gone."""

    async def handler(request: Request) -> Response:
        now, params = sandbox.clock.now(), request.query_params
        path = f"{request.path_params['task']}/{request.path_params['name']}"
        if not sandbox.signer.opens(path, params.get("sig", ""), params.get("exp", ""), now):
            return JSONResponse({"error": "The URL has expired or its signature is wrong."}, 403)
        task = sandbox.world.tasks.get(request.path_params["task"])
        if task is None or not sandbox.files_left(task) or path not in {file.path for file in task.files}:
            return JSONResponse({"error": "There is no such file."}, 404)
        return file_response(request, path, sandbox.faults, sandbox.rngs["files"])

    return handler


def opener(stand: type[Stand]) -> Callable[..., AbstractAsyncContextManager[Running[Stand]]]:
    """`running_…(*, host="127.0.0.1", port=0, **knobs)`: serve such a sandbox in the running loop while inside, and
    give its `Running`. The knobs are those of its `faults_type`; BadKnob, and OSError for an address that cannot be
    had, come at once."""

    @asynccontextmanager
    async def open_one(*, host: str = "127.0.0.1", port: int = 0, **knobs: Any) -> AsyncIterator[Running[Stand]]:
        faults = stand.faults_type()
        faults.update(knobs)
        sandbox = stand(faults)
        async with running(sandbox, tasks_app, host, port):
            yield Running(sandbox)

    return open_one
