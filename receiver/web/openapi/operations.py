"""Every operation of the receiver, as a table. A test compares it with the routes, and runs each example."""

from __future__ import annotations

from receiver.ledger.records import EvidenceKind, Outcome
from receiver.ledger.tables import ATTENTION_KINDS, ATTENTION_SCOPES
from receiver.web.openapi import answers as a
from receiver.web.openapi import figures as f
from receiver.web.openapi.describing import (
    ATTENTION,
    ATTENTION_IN_PATH,
    BLOB_IN_PATH,
    BY_SOURCE,
    CONTEXT,
    CURSOR,
    DELIVERY_IN_PATH,
    FLAG,
    INSTANT,
    LIMIT,
    SINCE,
    SOURCE,
    SOURCE_IN_PATH,
    STATUS,
    STEP_TYPE,
    UNTIL,
    WAIT,
    WORKFLOW,
    WORKFLOW_IN_PATH,
    Empty,
    JsonSchema,
    Operation,
    Parameter,
    Q,
    Raw,
)
from receiver.web.openapi.parts import Attention, KnownBlob, Workflow
from receiver.web.openapi.reports import Incident

_WORKFLOW = "/v1/workflows/{source}/{id}"
_NAMED = (SOURCE_IN_PATH, WORKFLOW_IN_PATH)
_WORD: JsonSchema = {"type": "string", "minLength": 1, "maxLength": 256}

WORKFLOWS = (
    Operation(
        "GET", "/v1/workflows", "listWorkflows", "Workflows that match, newest first", "workflows", "read",
        {200: a.WorkflowPage},
        (
            BY_SOURCE, STATUS, Parameter("open", FLAG, "Not ended, or ended."),
            Parameter("stale", FLAG, "With a check overdue by more than a minute, or without."), ATTENTION, STEP_TYPE,
            CONTEXT, SINCE, UNTIL, Q, LIMIT, CURSOR,
        ),
        problems=("bad-cursor",),
        description="Pages stay right while rows change: what is there all along is neither left out nor told twice.",
    ),
    Operation(
        "POST", "/v1/workflows", "trackWorkflow", "Track a submitted workflow", "workflows", "write",
        {200: Workflow, 201: Workflow}, body=a.TrackRequest,
        example={"source": SOURCE, "id": WORKFLOW, "context": {"team": "red"}},
        problems=("bad-track", "unknown-source"),
        description="201 when it is new, 200 when it was known; the same again changes nothing, more is added.",
    ),
    Operation(
        "GET", _WORKFLOW, "getWorkflow", "One workflow", "workflows", "read",
        {200: Workflow, 202: Workflow},
        (
            *_NAMED, WAIT,
            Parameter("until", {"type": "string", "enum": ["changed", "terminal"]}, "By default `changed`."),
        ),
        problems=("unknown-workflow",), cached=True,
        description="With `wait`: 200 once that has come about, 202 as things stand when it has not.",
    ),
    Operation(
        "GET", f"{_WORKFLOW}/transitions", "listTransitions", "A workflow's timeline, oldest first", "workflows",
        "read", {200: a.TransitionPage}, (*_NAMED, LIMIT, CURSOR), problems=("unknown-workflow", "bad-cursor"),
    ),
    Operation(
        "GET", f"{_WORKFLOW}/evidence", "listEvidence", "What was received, fetched and decided of it, oldest first",
        "workflows", "read", {200: a.EvidencePage}, (*_NAMED, LIMIT, CURSOR),
        problems=("unknown-workflow", "bad-cursor"),
    ),
    Operation(
        "GET", f"{_WORKFLOW}/document", "getDocument", "The newest whole document upstream gave of it", "workflows",
        "read", {200: Raw("application/json", "Upstream's own words, byte for byte except for secrets.")}, _NAMED,
        problems=("unknown-workflow", "no-document"), cached=True,
    ),
    Operation(
        "GET", f"{_WORKFLOW}/incident", "getIncident", "The report to escalate with", "workflows", "read",
        {200: Incident},
        (
            *_NAMED,
            Parameter(
                "symptom", {"type": "string", "minLength": 1, "maxLength": 500}, "What was seen, in your words.",
                example="flicker",
            ),
        ),
        problems=("unknown-workflow",),
    ),
    Operation(
        "POST", f"{_WORKFLOW}/refetch", "refetchWorkflow", "Have upstream asked now", "workflows", "write",
        {200: Workflow, 202: a.RefetchAnswer}, (*_NAMED, WAIT), problems=("unknown-workflow", "unknown-source"),
        description="202 at once; with `wait` 200 once a look has finished, 202 with the workflow when none has.",
    ),
    Operation(
        "POST", f"{_WORKFLOW}/attention/{{kind}}/ack", "acknowledge", "Say that a person has seen to it", "workflows",
        "write", {200: Attention},
        (*_NAMED, Parameter("kind", {"type": "string", "enum": list(ATTENTION_KINDS)}, "Which.", "path", "overdue")),
        problems=("unknown-workflow", "unknown-source", "no-attention"),
    ),
    Operation(
        "GET", "/v1/attention", "listAttention", "What needs a person and is open, newest first", "workflows", "read",
        {200: a.AttentionPage},
        (
            Parameter("scope", {"type": "string", "enum": list(ATTENTION_SCOPES)}, "About one of these."),
            Parameter("kind", {"type": "string", "enum": list(ATTENTION_KINDS)}, "One of these.", many=True),
            BY_SOURCE,
            Parameter("acknowledged", FLAG, "That a person has seen to, or nobody yet."), LIMIT, CURSOR,
        ),
        problems=("bad-cursor",),
    ),
    Operation(
        "POST", "/v1/attention/{ref}/ack", "acknowledgeAttention", "Say that a person has seen to it", "workflows",
        "write", {200: a.ListedAttention}, (ATTENTION_IN_PATH,), problems=("no-attention",),
        description="Of a source or a delivery, too. It stays open until its cause is gone; who says so first counts.",
    ),
    Operation(
        "GET", "/v1/jobs", "listJobs", "Jobs across workflows, newest first", "workflows", "read", {200: a.JobPage},
        (
            BY_SOURCE, Parameter("id", {"type": "string", "minLength": 1, "maxLength": 256}, "The job's id."), STATUS,
            Parameter("workflow", {"type": "string", "minLength": 1, "maxLength": 256}, "Of this workflow."), SINCE,
            LIMIT, CURSOR,
        ),
        problems=("bad-cursor",),
    ),
    Operation(
        "POST", "/v1/advice", "advise", "What an error met at submit time means, and what to do", "workflows", "read",
        {200: a.AdviceAnswer}, body=a.AdviceRequest, example={"provider": "civitai", "http": 402},
        problems=("bad-advice",),
    ),
)  # fmt: skip

FILES = (
    Operation(
        "GET", "/v1/blobs/{source}/{id}", "getBlob", "What is known of one output file", "files", "read",
        {200: KnownBlob}, (SOURCE_IN_PATH, BLOB_IN_PATH), problems=("unknown-blob",), cached=True,
    ),
    Operation(
        "GET", "/blobs/{source}/{id}", "openBlob", "The file itself", "files", "read",
        {
            200: Raw("application/octet-stream", "The copy, under the media type that it has."),
            206: Raw("application/octet-stream", "The part of the copy that was asked for."),
            302: Empty("To a URL that works now.", {"location": "The URL."}),
            304: Empty("The copy is the one that was named."),
            416: Empty("The copy has no such part.", {"content-range": "How long it is."}),
        },
        (SOURCE_IN_PATH, BLOB_IN_PATH),
        problems=("unknown-blob", "blob-unavailable", "blob-gone", "no-reconciler", "upstream-busy", "bad-link"),
        description=(
            "A file that has been copied is served from here: 200, or 206, 304 and 416 as RFC 9110 has them. Else an"
            " expired URL is renewed first, however many ask at once by one question to upstream. A link that was"
            " shared needs no token."
        ),
    ),
    Operation(
        "POST", "/v1/blobs/{source}/{id}/share", "shareBlob", "A link to one file for whoever has it, for a while",
        "files", "read", {201: a.Share}, (SOURCE_IN_PATH, BLOB_IN_PATH), body=a.ShareRequest,
        example={"seconds": 600}, problems=("unknown-blob", "bad-share"),
    ),
)  # fmt: skip

DELIVERING = (
    Operation(
        "POST", "/hooks/{source}", "deliver", "Take a delivery", "deliveries", None, {200: a.Delivered},
        (
            SOURCE_IN_PATH,
            Parameter("token", {"type": "string"}, "The secret of the registered URL, where the source uses one."),
            Parameter("ref", {"type": "string"}, "What the workflow was tracked under."),
        ),
        description=(
            "For upstreams. 200 once it is committed; 401 when a proof is missing or wrong; 503 with `Retry-After` when"
            " it could not be kept and must come again."
        ),
    ),
    Operation(
        "GET", "/v1/deliveries", "listDeliveries", "Deliveries across workflows, newest first", "deliveries", "read",
        {200: a.DeliveryPage},
        (
            BY_SOURCE,
            Parameter(
                "kind", {"type": "string", "enum": list(EvidenceKind)}, "By default deliveries alone.", many=True,
            ),
            Parameter("outcome", {"type": "string", "enum": list(Outcome)}, "One of these.", many=True),
            Parameter("workflow", {"type": "string", "minLength": 1, "maxLength": 256}, "About this workflow."), SINCE,
            UNTIL, LIMIT, CURSOR,
        ),
        problems=("bad-cursor",),
    ),
    Operation(
        "GET", "/v1/deliveries/{id}", "getDelivery", "One delivery with its headers, without its body", "deliveries",
        "read", {200: a.OneDelivery}, (DELIVERY_IN_PATH,), problems=("unknown-delivery",), cached=True,
    ),
    Operation(
        "GET", "/v1/deliveries/{id}/body", "getDeliveryBody", "What was received", "deliveries", "admin",
        {200: Raw("application/octet-stream", "Byte for byte except for secrets, as a file to keep.")},
        (DELIVERY_IN_PATH,), problems=("unknown-delivery", "no-body"),
    ),
    Operation(
        "POST", "/v1/deliveries/{id}/replay", "replayDelivery", "Read it with today's code and apply it again",
        "deliveries", "write", {200: a.Replayed}, (DELIVERY_IN_PATH,), problems=("unknown-delivery", "cannot-replay"),
        description="For one that could not be read when it came. It is as old, and proves as much, as it did then.",
    ),
)  # fmt: skip

FIGURES = (
    Operation(
        "GET", "/v1/sources", "listSources", "The sources, how well their news comes in, what holds them up", "figures",
        "read", {200: f.SourcePage},
    ),
    Operation(
        "GET", "/v1/stats", "getStatistics", "Totals, and what happened when", "figures", "read",
        {200: f.Statistics},
        (
            BY_SOURCE, Parameter("since", INSTANT, "From this minute or hour on; by default for two hours or a day."),
            Parameter("until", INSTANT, "Up to this one; by default now."),
            Parameter("span", {"type": "string", "enum": ["minute", "hour"]}, "How long each; by default `hour`."),
        ),
        description="Kept as the ledger changes, not counted on request: minutes for three days, hours for ever.",
    ),
    Operation(
        "GET", "/v1/audit", "listAudit", "Who did what by hand, newest first", "figures", "read", {200: f.AuditPage},
        (
            Parameter("who", _WORD, "By the token of this name, or by the `command line`."),
            Parameter("what", _WORD, "Of this kind.", example="track"), Parameter("source", _WORD, "To this source."),
            Parameter("subject", _WORD, "To the workflow, delivery, file or link of this name."), LIMIT, CURSOR,
        ),
        problems=("bad-cursor",),
        description="Every write by a person, or by a program with a person's token.",
    ),
)  # fmt: skip

FOLLOWING = (
    Operation(
        "GET", "/v1/stream", "followTransitions", "Transitions as they are committed", "workflows", "read",
        {200: Raw("text/event-stream", "Events named `transition`; `data` is a Happening. Where asked for, `hint`.")},
        (
            BY_SOURCE, Parameter("workflow", {"type": "string", "minLength": 1, "maxLength": 256}, "Of this id."),
            Parameter(
                "hints", {"type": "string", "enum": ["false", "true", "only"]},
                "Also tell, as events named `hint`, what to look at again; or `only` that, without the transitions.",
            ),
            Parameter("after", {"type": "string", "minLength": 1}, "As `Last-Event-ID`, for who cannot send headers."),
            Parameter("last-event-id", {"type": "string", "minLength": 1}, "The last event's `id`.", "header"),
        ),
        problems=("bad-cursor", "too-many-streams"),
        description=(
            "Server-sent events. From now on, or from the last event seen: none is left out, one may come twice, and"
            " (source, workflow, seq) tells one from another. It ends when the token is revoked. The `data` of a `hint`"
            ' is `{"workflows": [{"source", "workflow"}], "everything", "also"}`: what to look at again; `also` names'
            " `attention`, `audit` and `passes`. It has no id: what was missed is not told again."
        ),
    ),
)  # fmt: skip

RUNNING = (
    Operation(
        "GET", "/healthz", "isAlive", "Whether the program is alive", "running", None,
        {200: a.Health, 503: a.Health},
    ),
    Operation(
        "GET", "/readyz", "isReady", "Whether traffic may come", "running", None,
        {200: a.Readiness, 503: a.Readiness},
    ),
    Operation(
        "GET", "/metrics", "metrics", "Figures for Prometheus", "running", "read",
        {200: Raw("text/plain", "Prometheus' text format.")},
        description="Needs no token where `server.metrics_public` is set.",
    ),
    Operation(
        "GET", "/openapi.json", "describe", "This document", "running", None,
        {200: Raw("application/json", "OpenAPI 3.1.")}, cached=True,
    ),
    Operation(
        "GET", "/reference", "readReference", "This document as a page to read", "running", None,
        {200: Raw("text/html", "A page that needs nothing from elsewhere.")}, cached=True,
    ),
)  # fmt: skip

OPERATIONS = (*WORKFLOWS, *FILES, *DELIVERING, *FIGURES, *FOLLOWING, *RUNNING)
