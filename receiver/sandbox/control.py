"""The sandbox's own surface under `/_sandbox`; no key needed. Not part of any upstream.

- `GET /_sandbox/truth` every workflow as it really is (`civitai_json.truth_of`, `tasks_sandbox.truth_of`)
- `GET /_sandbox/log` every API request and every try of a callback (`receiver.sandbox.recorder`, `.deliveries`)
- `GET /_sandbox/quiet` `{"quiet", "open", "pending_callbacks"}`: quiet when all has ended and been told or dropped
- `GET /_sandbox/faults` every knob as it stands, the key left out; `POST` a JSON object of knobs to change them: 200
  with the new state, 400 `{"error": sentence}` when one is wrong (none is changed then; the knobs in
  `engine.FIXED` can be set at the start only)
- `POST /_sandbox/advance` `{"seconds": n}`: that much time passes at once; URLs and retention end with it
- `POST /_sandbox/finish` `{"workflow": id, "status"?: word, "reason"?: text}`: it ends now, `succeeded`
  if not said
- `POST /_sandbox/purge` `{"workflow": id}` or `{"blob": id}`: upstream forgets it, without a word
"""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from receiver.sandbox.engine import Engine
from receiver.sandbox.faults import BadKnob, read_seconds


def control_routes(sandbox: Engine) -> list[BaseRoute]:
    """See the module."""
    return [*_asking(sandbox), *_changing(sandbox)]


def _asking(sandbox: Engine) -> list[BaseRoute]:
    async def truth(request: Request) -> Response:
        return JSONResponse(sandbox.truth())

    async def log(request: Request) -> Response:
        return JSONResponse(sandbox.log())

    async def quiet(request: Request) -> Response:
        return JSONResponse(sandbox.quiet())

    return [Route("/_sandbox/truth", truth), Route("/_sandbox/log", log), Route("/_sandbox/quiet", quiet)]


def _changing(sandbox: Engine) -> list[BaseRoute]:
    async def faults(request: Request) -> Response:
        if request.method == "POST":
            values = await _object(request)
            if values is None:
                return _wrong('post a JSON object of knobs, such as {"drop": 0.1}')
            try:
                sandbox.set_faults(values)
            except BadKnob as problem:
                return _wrong(str(problem))
        return JSONResponse(sandbox.faults.as_json())

    async def advance(request: Request) -> Response:
        try:
            sandbox.advance(read_seconds((await _object(request) or {}).get("seconds")))
        except ValueError as problem:
            return _wrong(f'post {{"seconds": n}}, n being {problem}')
        return JSONResponse(sandbox.quiet())

    async def finish(request: Request) -> Response:
        wanted = await _object(request) or {}
        try:
            sandbox.finish(str(wanted.get("workflow")), wanted.get("status", "succeeded"), wanted.get("reason"))
        except (KeyError, ValueError) as problem:
            return _wrong(f'post {{"workflow": id, "status": word}} of a workflow that exists: {problem}')
        return JSONResponse(sandbox.quiet())

    async def purge(request: Request) -> Response:
        try:
            sandbox.purge(await _object(request) or {})
        except KeyError:
            return _wrong('post {"workflow": id} or {"blob": id} of one that exists')
        return JSONResponse(sandbox.quiet())

    return [
        Route("/_sandbox/faults", faults, methods=["GET", "POST"]),
        Route("/_sandbox/advance", advance, methods=["POST"]),
        Route("/_sandbox/finish", finish, methods=["POST"]),
        Route("/_sandbox/purge", purge, methods=["POST"]),
    ]


async def _object(request: Request) -> dict[str, Any] | None:
    try:
        value = json.loads(await request.body())
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _wrong(sentence: str) -> Response:
    return JSONResponse({"error": sentence}, 400)
