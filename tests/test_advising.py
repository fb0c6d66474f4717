"""What to do about a workflow that did not succeed, by status, code, reason and message; no database, no network."""

from __future__ import annotations

from typing import Any

import pytest

from receiver.advising import advise, advise_step, look_up, with_advice
from receiver.config import load_config
from receiver.providers import PROVIDERS
from receiver.providers.advice import CONTACT, FIX_ACCOUNT, FIX_REQUEST, NEVER, RETRY, ErrorTable, Rule

CIVITAI = PROVIDERS["civitai"].errors
PINS = [
    (None, "timeout", "retry"),
    (None, "expired", "retry"),
    (None, "request_cancelled", "retry"),
    (None, "generation_failed_no_content", "retry_once"),
    (None, None, "retry_once"),
    (None, "no_provider_available", "retry_later"),
    (None, "resource_not_found", "fix_request"),
    (None, "blocked", "fix_request"),
    (402, None, "fix_account"),
    (402, "a_code_nobody_knows", "fix_account"),
]


def node(status: str = "failed", **more: Any) -> dict[str, Any]:
    return {"status": status, "reason": None, "blocked_reason": None, "error": None, **more}


def step(name: str, status: str = "failed", **more: Any) -> dict[str, Any]:
    return node(status, name=name, **more)


def job(of: str | None, status: str = "failed", **more: Any) -> dict[str, Any]:
    return node(status, id=f"job-of-{of}", step=of, **more)


def workflow(status: str = "failed", *, steps: Any = (), jobs: Any = (), **more: Any) -> dict[str, Any]:
    return node(status, source="civ", steps=list(steps), jobs=list(jobs), **more)


def disposition(told: dict[str, Any], provider: str = "civitai") -> str | None:
    found = advise(told, PROVIDERS[provider].errors)
    return None if found is None else str(found.disposition)


@pytest.mark.parametrize("provider", sorted(PROVIDERS))
@pytest.mark.parametrize(("http", "code", "expected"), PINS)
def test_what_is_pinned_holds_for_every_upstream(
    provider: str, http: int | None, code: str | None, expected: str
) -> None:
    found = look_up(PROVIDERS[provider].errors, http, code)
    assert (found.disposition, found.known) == (expected, True)


@pytest.mark.parametrize("provider", sorted(PROVIDERS))
@pytest.mark.parametrize("http", [None, 418])
def test_what_no_table_knows_is_not_retryable_and_shown_as_such(provider: str, http: int | None) -> None:
    found = look_up(PROVIDERS[provider].errors, http, "brand_new_code")
    assert (found.disposition, found.known) == (CONTACT, False)
    assert "'brand_new_code'" in found.text


@pytest.mark.parametrize("provider", sorted(PROVIDERS))
def test_each_rule_of_each_table_is_what_its_key_is_answered_with(provider: str) -> None:
    table = PROVIDERS[provider].errors
    for rule in table.rules:
        found = look_up(table, rule.http, rule.code, rule.contains[0] if rule.contains else None)
        assert found.known
        assert found.disposition is rule.disposition or (rule.http, rule.code, rule.contains) == (None, None, ()), rule


def test_the_upstreams_own_words_are_used_where_it_agrees_with_the_pin() -> None:
    table = ErrorTable([Rule("timeout", RETRY, "Ours."), Rule("blocked", RETRY, "Never this.")])
    assert look_up(table, None, "timeout").text == "Ours."
    assert look_up(table, None, "blocked").disposition is FIX_REQUEST


def test_a_phrase_of_the_message_tells_what_an_unknown_code_does_not() -> None:
    table = ErrorTable([Rule(None, FIX_REQUEST, "A face.", contains=("real person",)), Rule(None, RETRY, "Generic.")])
    assert look_up(table, None, "E77", "a Real Person was seen").text == "A face."
    assert look_up(table, None, "E77", "something else").known is False


@pytest.mark.parametrize("status", ["unassigned", "preparing", "scheduled", "processing", "succeeded"])
def test_what_is_alive_or_succeeded_needs_no_advice_whatever_its_error_says(status: str) -> None:
    failed = {"reason": "blocked", "blocked_reason": "x", "error": {"code": "timeout", "message": "x"}}
    assert disposition(workflow(status, jobs=[job("a")], steps=[step("a", "succeeded")], **failed)) is None


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (workflow(), "retry_once"),
        (workflow("expired"), "retry"),
        (workflow("canceled"), "never"),
        (workflow(reason="no_provider_available"), "retry_later"),
        (workflow(reason="timeout"), "retry"),
        (workflow(reason="canceled"), "never"),
        (workflow(reason="Failed to create container"), "contact"),
        (workflow(reason="vanished"), "retry_once"),
        (workflow(reason="vanished", error={"code": "timeout", "message": None}), "retry"),
        (workflow(reason="timeout", blocked_reason="a face"), "fix_request"),
        (workflow("expired", reason="no_provider_available"), "retry_later"),
        (workflow("canceled", reason="timeout"), "never"),
        (workflow("canceled", error={"code": "timeout", "message": None}), "retry"),
        (workflow(error={"code": "E77", "message": None}, reason="timeout"), "retry"),
        (workflow(steps=[step("a", reason="no_provider_available")]), "retry_later"),
        (workflow(steps=[step("a")]), "retry_once"),
        (workflow(steps=[step("a", "expired")]), "retry"),
        (workflow(steps=[step("a")], jobs=[job("a", blocked_reason="a face")]), "fix_request"),
        (workflow(steps=[step("a")], jobs=[job("a", reason="timeout"), job("a", reason="blocked")]), "fix_request"),
        (workflow(steps=[step("a", "succeeded")], jobs=[job("a", reason="blocked")]), "retry_once"),
        (workflow(steps=[step("a")], jobs=[job("a", "succeeded", reason="blocked")]), "retry_once"),
        (workflow(steps=[step("a")], jobs=[job("a", "canceled", reason="canceled")]), "retry_once"),
        (workflow(jobs=[job(None, reason="no_provider_available")]), "retry_later"),
    ],
)
def test_the_reason_is_found_wherever_it_stands(told: dict[str, Any], expected: str) -> None:
    assert disposition(told) == expected


@pytest.mark.parametrize(
    ("provider", "told", "expected"),
    [
        ("evolink", workflow(error={"code": "content_policy_violation", "message": "nudity detected"}), "fix_request"),
        ("evolink", workflow(error={"code": "request_cancelled", "message": None}), "retry"),
        ("evolink", workflow("canceled", error={"code": "request_cancelled", "message": None}), "retry"),
        ("evolink", workflow(error={"code": "unknown_error", "message": None}), "contact"),
        ("evolink", workflow(error={"code": "402", "message": "x"}), "fix_account"),
        ("beeble", workflow(error={"code": None, "message": "Processing failed"}), "retry_once"),
        ("removebgvideo", workflow(error={"code": "insufficient_credits", "message": "x"}), "fix_account"),
        ("standard-webhooks", workflow(), "retry_once"),
        ("standard-webhooks", workflow(error={"code": None, "message": "something odd"}), "contact"),
    ],
)
def test_each_upstream_has_its_own_table(provider: str, told: dict[str, Any], expected: str) -> None:
    assert disposition(told, provider) == expected


def test_why_it_was_blocked_is_said() -> None:
    found = advise(workflow(steps=[step("a")], jobs=[job("a", blocked_reason="a real face")]), CIVITAI)
    assert found is not None
    assert "'a real face'" in found.text


def test_a_cancellation_names_the_failed_sibling_and_what_it_said() -> None:
    steps = [step("upscale", "canceled"), step("make", reason="no_provider_available"), step("other", "succeeded")]
    for found in (
        advise(workflow("canceled", steps=steps), CIVITAI),
        advise_step(workflow(steps=steps), steps[0], CIVITAI),
    ):
        assert found is not None
        assert found.disposition is NEVER
        assert "'make' had failed" in found.text
        assert "relax the inputs" in found.text
        assert "upscale" not in found.text
    lone = advise_step(workflow("canceled", steps=steps[:1]), steps[0], CIVITAI)
    assert lone is not None
    assert (lone.disposition, "Canceled because" in lone.text) == (NEVER, False)


def test_the_step_is_named_where_there_are_several() -> None:
    steps = [step("one", "succeeded"), step("two", reason="timeout")]
    found = advise(workflow(steps=steps), CIVITAI)
    assert found is not None
    assert found.text.startswith("Step 'two': ")
    assert advise_step(workflow(steps=steps), steps[0], CIVITAI) is None


def test_a_text_too_long_to_quote_is_not_cut_but_left_out() -> None:
    secret = "s" * 150
    for told in (workflow(reason="x" * 100 + secret), workflow(blocked_reason="x" * 100 + secret)):
        found = advise(told, CIVITAI)
        assert found is not None
        assert "sss" not in found.text


def test_workflows_get_their_advice_by_their_sources_provider_and_so_do_their_steps() -> None:
    config = load_config(env={"HOOKLEDGER_SOURCES__EVO__PROVIDER": "evolink", "HOOKLEDGER_SOURCES__EVO__TRUST": "none"})
    error = {"code": "key_disabled", "message": None}
    told = [
        {**workflow(error=error, steps=[step("a", reason="timeout"), step("b", "succeeded")]), "source": source}
        for source in ("evo", "not-configured-any-more")
    ]
    known, stranger = with_advice(told, config)
    assert known["advice"].keys() == {"disposition", "retry_after", "text", "known"}
    assert known["advice"]["disposition"] == FIX_ACCOUNT
    assert [one["advice"] and one["advice"]["disposition"] for one in known["steps"]] == ["retry", None]
    assert (stranger["advice"]["disposition"], stranger["advice"]["known"]) == ("contact", False)
    assert "advice" not in told[0]
