"""What the blob routes do (UPSTREAMS §1.8): signed URLs that end, GetBlob's 308, HeadBlob, RefreshBlob."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from receiver.sandbox.civitai_errors import problem
from receiver.sandbox.civitai_records import Blob, Workflow
from receiver.sandbox.civitai_requests import NotFound
from receiver.sandbox.civitai_sandbox import CivitaiSandbox
from receiver.sandbox.filing import file_response
from receiver.sandbox.wire import answer


def found_blob(sandbox: CivitaiSandbox, request: Request) -> tuple[Workflow, Blob]:
    """The blob of the path with its workflow; NotFound when unknown or gone for good."""
    blob = sandbox.world.blobs.get(request.path_params["id"])
    if blob is None or blob.gone(sandbox.clock.now()):
        raise NotFound
    return sandbox.world.workflows[blob.workflow], blob


async def get_or_head(sandbox: CivitaiSandbox, request: Request) -> Response:
    """GetBlob: 308 to a content URL, 403 when blocked or withheld. HeadBlob: 204 with `x-nsfw-level`."""
    workflow, blob = found_blob(sandbox, request)
    if request.method == "HEAD":
        return Response(status_code=204, headers={"x-nsfw-level": blob.nsfw_level})
    if blob.blocked_reason or workflow.withholds(blob):
        return problem(403, blob.blocked_reason or "Mature content is withheld.")
    query, _ = sandbox.signer.query(blob.id, sandbox.clock.now(), sandbox.faults.url_ttl)
    base = (sandbox.faults.content_base or sandbox.public_url()).rstrip("/")
    return Response(status_code=308, headers={"Location": f"{base}/v2/consumer/blobs/content/{blob.id}?{query}"})


async def content_of(sandbox: CivitaiSandbox, request: Request) -> Response:
    """The bytes behind a signed URL: 403 once its time is over or when the signature is not ours, 404 when gone."""
    now, params = sandbox.clock.now(), request.query_params
    if not sandbox.signer.opens(request.path_params["id"], params.get("sig", ""), params.get("exp", ""), now):
        return problem(403, "The URL has expired or its signature is wrong.")
    workflow, blob = found_blob(sandbox, request)
    if blob.blocked_reason or workflow.withholds(blob):
        return problem(403, blob.blocked_reason or "Mature content is withheld.")
    return file_response(request, blob.id, sandbox.faults, sandbox.rngs["files"])


async def refresh(sandbox: CivitaiSandbox, request: Request) -> Response:
    """RefreshBlob: a Blob with a fresh URL; restarts its 30 days."""
    workflow, blob = found_blob(sandbox, request)
    sandbox.world.refresh(blob, sandbox.clock.now())
    return answer(sandbox.renderer.blob(workflow, blob, sandbox.clock.now()))
