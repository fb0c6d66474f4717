"""What is known of the symptoms people report: RemoveBGVideo's guide on troubleshooting [guides/troubleshooting].

Its advice holds for any upstream of the kind. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from receiver.ledger.query_parts import JsonObject

LONGEST = 500  # characters of what a person may say of a symptom


@dataclass(frozen=True, slots=True)
class Symptom:
    """One row of the guide's table. `said` is found, without regard to case, in what people write of it."""

    name: str
    cause: str
    action: str
    said: re.Pattern[str]

    def as_json(self) -> JsonObject:
        """Return it as an incident report shows it."""
        return {"symptom": self.name, "cause": self.cause, "action": self.action}


def _said(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE | re.ASCII)


SYMPTOMS: tuple[Symptom, ...] = (
    Symptom(
        "Job stays processing for too long",
        "Queue backlog or large media",
        "Poll with backoff and set timeout guardrails",
        _said(r"stays?\b|stuck|too (long|slow)|hang(s|ing)?\b|time[ _-]?out|timed out|never (ends|ended|finish)|"
              r"backlog|\boverdue|^\W*(still[ _-])?processing\W*$"),
    ),
    Symptom(
        "401/invalid_api_key",
        "Wrong key or key disabled",
        "Rotate key and verify environment mapping",
        _said(r"\b401\b|api[ _-]?key|unauthori[sz]ed|(wrong|bad|disabled)[ _-]key"),
    ),
    Symptom(
        "402/insufficient_credits",
        "Account credits below required amount",
        "Top up credits before retry",
        _said(r"\b402\b|credits?\b|insufficient[ _-](funds|balance|quota)|payment[ _-]required"),
    ),
    Symptom(
        "Loss of fine details",
        "Model/format mismatch",
        "Try original or pro, use higher source quality, avoid aggressive compression",
        _said(r"(loss|los(es|ing|t)|missing|fine|fewer|no)\b.*\bdetails?\b|\bdetails?[ _-]?(loss|lost|missing|gone)|"
              r"blur+(y|ed|ring)?\b|^\W*details?\W*$"),
    ),
    Symptom(
        "Flicker between frames",
        "Scene complexity + unstable segmentation",
        "Use original/pro, avoid aggressive post smoothing, test on representative clips",
        _said(r"flicker|flashing|jitter|between[ _-]frames|unstable[ _-](edges|mask|segmentation)"),
    ),
)  # fmt: skip


def known_symptoms(said: str) -> list[Symptom]:
    """Return what is known of a symptom in anybody's words: one row, several ("flicker / detail loss"), or none."""
    return [one for one in SYMPTOMS if one.said.search(said)]
