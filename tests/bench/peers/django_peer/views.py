"""Django's view and its one URL."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from uuid import UUID, uuid4

from django.db import transaction
from django.db.models import F
from django.http import HttpRequest, JsonResponse
from django.urls import path

from tests.bench.peers.django_peer.models import Delivery, Job, Step, Transition, Workflow
from tests.bench.peers.events import Event, believed, moves
from tests.bench.peers.events import Step as Told


def hook(request: HttpRequest) -> JsonResponse:
    """Answer one delivery."""
    if not believed(request.META["QUERY_STRING"]):
        return JsonResponse({"detail": "not believed"}, status=401)
    event = Event.model_validate_json(request.body)
    with transaction.atomic():
        outcome = take(event, request.body, dict(request.headers))
    return JsonResponse({"outcome": outcome})


def take(event: Event, body: bytes, headers: dict[str, str]) -> str:
    """Do a delivery's work in the open transaction; return the outcome."""
    now, name = datetime.now(UTC), uuid4()
    kept, new = Delivery.objects.get_or_create(
        body_sha256=sha256(body).hexdigest(),
        defaults={
            "id": name, "workflow_id": event.workflow_id, "headers": headers, "body": body, "received_at": now,
            "count": 1,
        },
    )  # fmt: skip
    if not new:
        Delivery.objects.filter(pk=kept.pk).update(count=F("count") + 1)
        return "duplicate"
    workflow, _ = Workflow.objects.select_for_update().get_or_create(
        upstream_id=event.workflow_id, defaults={"status": "unassigned", "first_seen_at": now, "updated_at": now}
    )
    workflow.updated_at = now
    if event.kind == "workflow":
        if event.details is not None and event.details.metadata is not None:
            workflow.facts = event.details.metadata
        _move(workflow, workflow, "workflow", "", event.status, name)
    workflow.save(update_fields=["updated_at", "facts", "status"])
    for told in event.steps():
        _step(workflow, told, name)
    if event.job_id is not None:
        _job(workflow, event, name)
    return "applied"


def _step(workflow: Workflow, told: Told, delivery: UUID) -> None:
    step, _ = Step.objects.get_or_create(workflow=workflow, name=told.name, defaults={"status": "unassigned"})
    moved = _move(workflow, step, "step", told.name, told.status, delivery)
    if told.output is not None:
        step.output = told.output
    if moved or told.output is not None:
        step.save(update_fields=["status", "output"])


def _job(workflow: Workflow, event: Event, delivery: UUID) -> None:
    assert event.job_id is not None
    job, _ = Job.objects.get_or_create(
        workflow=workflow, key=event.job_id, defaults={"step": event.step_name, "status": "unassigned"}
    )
    _move(workflow, job, "job", event.job_id, event.status, delivery)
    if event.progress is not None:
        job.progress = max(job.progress or 0.0, event.progress)
    job.save(update_fields=["status", "progress"])


def _move(workflow: Workflow, node: Workflow | Step | Job, level: str, key: str, status: str, delivery: UUID) -> bool:
    if not moves(node.status, status):
        return False
    Transition.objects.create(
        workflow=workflow, level=level, key=key, from_status=node.status, to_status=status, delivery=delivery,
        recorded_at=datetime.now(UTC),
    )  # fmt: skip
    node.status = status
    return True


urlpatterns = [path("hooks/civitai", hook)]
