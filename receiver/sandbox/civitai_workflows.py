"""What the workflow and step routes do (UPSTREAMS §1.2). Each takes the sandbox and a request that was let in."""

from __future__ import annotations

import base64
import json

from starlette.requests import Request
from starlette.responses import Response

from receiver.sandbox.civitai_errors import forbidden, problem, too_many
from receiver.sandbox.civitai_output import cost_of
from receiver.sandbox.civitai_records import Workflow
from receiver.sandbox.civitai_requests import (
    BadQuery,
    body_of,
    cursor_of,
    flag_of,
    found,
    found_step,
    instant_of,
    number_of,
    seconds_of,
)
from receiver.sandbox.civitai_sandbox import CivitaiSandbox
from receiver.sandbox.civitai_template import Invalid, problem_with_tags, read_template
from receiver.sandbox.gateway import gateway
from receiver.sandbox.wire import answer

UPDATE_KEYS = frozenset({"status", "metadata", "tags", "allowMatureContent"})


async def submit(sandbox: CivitaiSandbox, request: Request) -> Response:
    """SubmitWorkflow: 200 when it ended within `wait`, else 202."""
    faults, world, now = sandbox.faults, sandbox.world, sandbox.clock.now()
    if faults.submit_429.hit(sandbox.rngs["submit"]):
        return too_many(faults)
    wait = seconds_of(request, "wait")
    template = read_template(await body_of(request), wait=wait, allow_http=faults.allow_http)
    if flag_of(request, "whatif", default=False):
        return answer(sandbox.renderer.workflow(world.draft(template, now, 0), now) | {"id": None})
    workflow = world.by_external_id(template.external_id, now)
    if workflow is None:
        if faults.buzz is not None:
            if cost_of(template) > faults.buzz:
                return forbidden("You do not have enough Buzz to run this workflow.")
            faults.buzz -= cost_of(template)
        workflow = world.submit(template, now)
        sandbox.catch_up()
        if faults.submit_500.hit(sandbox.rngs["submit"]):
            return problem(500)
    return await awaited(sandbox, request, workflow, wait)


async def get_workflow(sandbox: CivitaiSandbox, request: Request) -> Response:
    """GetWorkflow: 200 when it has ended, 202 while it runs."""
    return await awaited(sandbox, request, found(sandbox, request), seconds_of(request, "wait"))


async def awaited(sandbox: CivitaiSandbox, request: Request, workflow: Workflow, wait: float) -> Response:
    """The workflow after at most `wait` seconds. The gateway does not wait for ever (UPSTREAMS §1.4)."""
    until = request.query_params.get("until", "completion")
    if until not in ("completion", "change"):
        raise BadQuery("until", until)
    hide = flag_of(request, "hideMatureContent", default=False)
    if wait > 0 and not workflow.ended:
        limit = sandbox.faults.gateway_timeout
        await sandbox.watch(workflow, min(wait, limit), until_change=until == "change")
        if wait > limit and not workflow.ended and not sandbox.closing:
            return gateway(524)
    shown = sandbox.renderer.workflow(workflow, sandbox.clock.now(), hide_mature=hide)
    return answer(shown, 200 if workflow.ended else 202)


async def query(sandbox: CivitaiSandbox, request: Request) -> Response:
    """QueryWorkflows: newest first, `next` is the cursor of the next page or null."""
    params, now = request.query_params, sandbox.clock.now()
    take = int(number_of(request, "take", 100, 1, 1000))
    hide = flag_of(request, "hideMatureContent", default=True)
    wanted = params.getlist("tags") + params.getlist("tags[]")
    text, ascending = params.get("query"), flag_of(request, "ascending", default=False)
    since, before = instant_of(request, "fromDate"), instant_of(request, "toDate")
    no_failed, cursor = flag_of(request, "excludeFailed", default=False), cursor_of(request)
    chosen: list[Workflow] = []
    rows = list(sandbox.world.newest_first(now))
    for row in reversed(rows) if ascending else rows:
        if cursor is not None and (row.number <= cursor if ascending else row.number >= cursor):
            continue
        if (since and row.created_at < since) or (before and row.created_at > before):
            continue
        if not set(wanted) <= set(row.tags) or (no_failed and row.status in ("failed", "expired")):
            continue
        if text and text not in json.dumps([row.tags, row.metadata], ensure_ascii=False):
            continue
        chosen.append(row)
        if len(chosen) > take:
            break
    more = len(chosen) > take
    following = base64.urlsafe_b64encode(f"after {chosen[take - 1].number}".encode()).decode() if more else None
    items = [sandbox.renderer.workflow(row, now, hide_mature=hide) for row in chosen[:take]]
    return answer({"next": following, "items": items})


async def update(sandbox: CivitaiSandbox, request: Request) -> Response:
    """UpdateWorkflow: cancel, or override metadata, tags, allowMatureContent. 204; 409 when it has ended."""
    workflow, body = found(sandbox, request), await body_of(request)
    errors: dict[str, list[str]] = {}
    if not isinstance(body, dict):
        raise Invalid({"$": ["The body must be a JSON object."]})
    for name in sorted(set(body) - UPDATE_KEYS):
        errors[name] = [f"The property '{name}' is not allowed."]
    if body.get("status") not in (None, "canceled"):
        errors["status"] = [f"The value '{body['status']}' is not valid for status."]
    if body.get("tags") is not None and (wrong := problem_with_tags(body["tags"])):
        errors["tags"] = [wrong]
    if not isinstance(body.get("metadata"), dict | None):
        errors["metadata"] = ["The field metadata must be an object."]
    if not isinstance(body.get("allowMatureContent"), bool | None):
        errors["allowMatureContent"] = ["The field allowMatureContent must be a boolean."]
    if errors:
        raise Invalid(errors)
    if body.get("status") == "canceled" and not sandbox.world.cancel(workflow, sandbox.clock.now()):
        return problem(409, f"The workflow has already ended: {workflow.status}.")
    workflow.metadata = body.get("metadata") or workflow.metadata
    workflow.tags = body["tags"] if body.get("tags") is not None else workflow.tags
    if body.get("allowMatureContent") is not None:
        workflow.allow_mature = body["allowMatureContent"]
    return Response(status_code=204)


async def patch(sandbox: CivitaiSandbox, request: Request) -> Response:
    """PatchWorkflow: JSON Patch of `/metadata/<key>` and `/tags`; nothing else can be patched here."""
    workflow, body = found(sandbox, request), await body_of(request)
    if not isinstance(body, list) or not all(isinstance(op, dict) for op in body):
        raise Invalid({"$": ["The body must be a JSON Patch: an array of operations."]})
    metadata, tags = dict(workflow.metadata), list(workflow.tags)
    for number, op in enumerate(body):
        kind, path, value = op.get("op"), str(op.get("path")), op.get("value")
        key = path.removeprefix("/metadata/")
        if kind in ("add", "replace") and key != path and "/" not in key:
            metadata[key] = value
        elif kind == "remove" and key in metadata and key != path:
            del metadata[key]
        elif kind in ("add", "replace") and path == "/tags" and not problem_with_tags(value):
            tags = list(value)
        else:
            raise Invalid({f"[{number}].path": [f"The operation on '{path}' is not supported."]})
    workflow.metadata, workflow.tags = metadata, tags
    return Response(status_code=204)


async def delete(sandbox: CivitaiSandbox, request: Request) -> Response:
    """DeleteWorkflow: what runs is canceled; the workflow is not found afterwards."""
    sandbox.world.delete(found(sandbox, request), sandbox.clock.now())
    return Response(status_code=204)


async def get_step(sandbox: CivitaiSandbox, request: Request) -> Response:
    """One WorkflowStep, with its output once it succeeded."""
    workflow, step = found_step(sandbox, request)
    return answer(sandbox.renderer.step(workflow, step, sandbox.clock.now()))


async def update_step(sandbox: CivitaiSandbox, request: Request) -> Response:
    """204 for its metadata; 409 once it has started (guide only, UPSTREAMS §1.9)."""
    _, step = found_step(sandbox, request)
    body = await body_of(request)
    if not isinstance(body, dict) or not isinstance(body.get("metadata"), dict | None):
        raise Invalid({"metadata": ["The field metadata must be an object."]})
    if step.status != "unassigned":
        return problem(409, f"The step has already started: {step.status}.")
    step.metadata = body.get("metadata") or step.metadata
    return Response(status_code=204)
