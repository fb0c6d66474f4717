"""Django's models for the peer."""

from __future__ import annotations

from django.db import models


class Delivery(models.Model):
    """A raw delivery, once; `count` says how often it came."""

    id = models.UUIDField(primary_key=True)
    body_sha256 = models.TextField(unique=True)
    workflow_id = models.TextField()
    headers = models.JSONField()
    body = models.BinaryField()
    received_at = models.DateTimeField()
    count = models.IntegerField()

    class Meta:
        db_table = "deliveries"


class Workflow(models.Model):
    """A workflow and where it stands."""

    upstream_id = models.TextField(unique=True)
    status = models.TextField()
    facts = models.JSONField(null=True)
    first_seen_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta:
        db_table = "workflows"


class Step(models.Model):
    """A step of a workflow."""

    workflow = models.ForeignKey(Workflow, models.CASCADE, db_index=False)
    name = models.TextField()
    status = models.TextField()
    output = models.JSONField(null=True)

    class Meta:
        db_table = "steps"
        unique_together = (("workflow", "name"),)


class Job(models.Model):
    """A job of a step."""

    workflow = models.ForeignKey(Workflow, models.CASCADE, db_index=False)
    key = models.TextField()
    step = models.TextField(null=True)
    status = models.TextField()
    progress = models.FloatField(null=True)

    class Meta:
        db_table = "jobs"
        unique_together = (("workflow", "key"),)


class Transition(models.Model):
    """A move of a workflow, a step or a job."""

    workflow = models.ForeignKey(Workflow, models.CASCADE)
    level = models.TextField()
    key = models.TextField()
    from_status = models.TextField()
    to_status = models.TextField()
    delivery = models.UUIDField()
    recorded_at = models.DateTimeField()

    class Meta:
        db_table = "transitions"
