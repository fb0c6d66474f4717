"""What Replicate sends and answers (UPSTREAMS §5.1), paths made up where the documentation cuts them."""

from __future__ import annotations

from typing import Any

from receiver.ledger.records import Trust
from receiver.providers.base import Account

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"
ID = "ufawqhfynnddngldkgtslldrkq"
OUTPUT = "https://replicate.delivery/xezq/a1/out-0.webp"
API = "https://api.replicate.com/v1"

PREDICTION: dict[str, Any] = {
    "id": ID,
    "model": "black-forest-labs/flux-schnell",
    "version": "hidden",
    "input": {"prompt": "a fox"},
    "logs": " 40%|████      | 20/50\n100%|██████████| 50/50 [00:01<00:00]\n",
    "output": [OUTPUT],
    "data_removed": False,
    "error": None,
    "source": "api",
    "status": "succeeded",
    "created_at": "2026-08-01T10:00:00.123Z",
    "started_at": "2026-08-01T10:00:00.200Z",
    "completed_at": "2026-08-01T10:00:01.900Z",
    "metrics": {"predict_time": 1.7, "total_time": 1.777},
    "urls": {"get": f"{API}/predictions/{ID}", "cancel": f"{API}/predictions/{ID}/cancel"},
    "webhook": "https://hooks.example.com/hooks/replicate?token=hook-secret",
    "webhook_events_filter": ["completed"],
}

STARTING: dict[str, Any] = {
    **PREDICTION,
    "logs": "",
    "output": None,
    "status": "starting",
    "started_at": None,
    "completed_at": None,
    "metrics": {},
}

FAILED: dict[str, Any] = {
    **PREDICTION,
    "status": "failed",
    "output": None,
    "error": "NSFW content detected in all outputs.",
}

REMOVED: dict[str, Any] = {**PREDICTION, "input": {}, "output": None, "logs": "", "data_removed": True}

REQUEST: dict[str, Any] = {
    "version": "black-forest-labs/flux-schnell",
    "input": {"prompt": "a fox"},
    "webhook": "https://hooks.example.com/hooks/replicate?token=hook-secret",
    "webhook_events_filter": ["completed"],
}


def account(trust: Trust = Trust.SIGNED, **fields: Any) -> Account:
    """A source at Replicate."""
    secrets = (SECRET,) if trust is Trust.SIGNED else ()
    return Account("replicate", API, trust, **{"api_key": "api-secret", "signing_secrets": secrets, **fields})
