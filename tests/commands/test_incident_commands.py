"""`hookledger advise`, `incident`, and the advice in `show` and `list`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.commands.conftest import HOOK_TOKEN, Command

FAILED = {
    "id": "wf-1",
    "status": "failed",
    "createdAt": "2026-01-21T22:21:26.3320000Z",
    "completedAt": "2026-01-21T22:22:00Z",
    "steps": [
        {"$type": "imageGen", "name": "make", "status": "failed", "input": {"image": "https://in.example.com/a.png"},
         "jobs": [{"id": "job-1", "status": "failed", "reason": "blocked", "blockedReason": "a \x1b[31mreal face"}]},
        {"$type": "upscale", "name": "enlarge", "status": "canceled", "jobs": []},
    ],
}  # fmt: skip
PROBLEM = {"title": "Validation failed.", "status": 400, "errors": {"steps[0].input.width": ["Too wide."]}}


@pytest.fixture
def tracked(hookledger: Command) -> None:
    words = ["--response", "-", "--media", "resolution=1920x1080", "--media", "duration=12.3s"]
    assert hookledger("track", "civ", *words, stdin=json.dumps(FAILED)).code == 0


def test_advise_says_what_to_do_about_an_error_in_a_file(hookledger: Command, tmp_path: Path) -> None:
    file = tmp_path / "body"
    file.write_text(json.dumps(PROBLEM))
    told = hookledger("advise", "civitai", "--http", "400", "--file", str(file), "--json").json
    assert (told["disposition"], told["fields"]) == ("fix_request", {"steps[0].input.width": ["Too wide."]})
    text = hookledger("advise", "civitai", "--http", "400", "--file", str(file)).out
    for said in ("fix_request", "Too wide.", "Validation failed."):
        assert said in text


def test_advise_reads_standard_input_and_does_without_a_body(hookledger: Command) -> None:
    error = json.dumps({"error": {"code": "service_unavailable", "message": f"see {HOOK_TOKEN}"}})
    told = hookledger("advise", "evolink", "--http", "503", "--file", "-", "--json", stdin=error).json
    assert (told["disposition"], told["message"]) == ("retry_later", "see [secret]")
    told = hookledger("advise", "beeble", "--http", "429", "--retry-after", "9", "--json").json
    assert (told["disposition"], told["retry_after"]) == ("retry_later", 9.0)
    unknown = hookledger("advise", "civitai", "--http", "418")
    assert (unknown.code, "known" in unknown.out, "contact" in unknown.out) == (0, True, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nobody", "--http", "400"], "civitai"), (["civitai"], "--http"),
        (["civitai", "--http", "400", "--file", "missing.json"], "missing.json"),
        (["civitai", "--http", "429", "--retry-after", "soon"], "retry_after"),
    ],
)  # fmt: skip
def test_what_cannot_be_advised_on_is_one_clear_line(hookledger: Command, words: list[str], said: str) -> None:
    done = hookledger("advise", *words)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert said in done.err


def test_a_status_that_is_none_is_a_usage_error(hookledger: Command) -> None:
    assert hookledger("advise", "civitai", "--http", "999").code == 2


@pytest.mark.usefixtures("tracked")
def test_show_and_list_tell_the_advice(hookledger: Command) -> None:
    shown = hookledger("show", "civ", "wf-1", "--json").json
    assert shown["advice"]["disposition"] == "fix_request"
    make, enlarge = sorted(shown["steps"], key=lambda step: step["name"], reverse=True)
    assert make["advice"]["disposition"] == "fix_request"
    assert (enlarge["advice"]["disposition"], "'make'" in enlarge["advice"]["text"]) == ("never", True)
    assert hookledger("list", "--json").json["items"][0]["advice"] == shown["advice"]
    assert "fix_request: Step 'make': Blocked" in hookledger("show", "civ", "wf-1").out


@pytest.mark.usefixtures("tracked")
def test_an_incident_can_be_read_by_program_and_by_people(hookledger: Command) -> None:
    told = hookledger("incident", "civ", "wf-1", "--symptom", "flicker", "--json").json
    assert list(told)[:9] == [
        "incident_time", "job_id", "model", "output_format", "symptom", "http_status", "error_code", "request_id",
        "source_video_meta",
    ]  # fmt: skip
    assert (told["incident_time"], told["job_id"], told["error_code"]) == ("2026-01-21T22:22:00Z", "wf-1", "blocked")
    assert told["source_video_meta"] == {"duration_s": 12.3, "resolution": "1920x1080", "codec": None}
    assert told["input_reference"] == {"steps[0].input.image": "https://in.example.com/a.png"}
    assert [one["kind"] for one in told["evidence"]] == ["decision"]
    text = hookledger("incident", "civ", "wf-1", "--symptom", "flicker").out
    template = json.loads(text[: text.index("\n}\n") + 2])
    assert template == {name: told[name] for name in list(told)[:9]}
    for said in ("fix_request", "Use original/pro, avoid", "timeline", "evidence", "make", "job-1"):
        assert said in text
    assert "\x1b" not in text


@pytest.mark.usefixtures("tracked")
def test_an_incident_without_a_symptom_has_none(hookledger: Command) -> None:
    assert hookledger("incident", "civ", "wf-1", "--json").json["symptom"] is None
    assert "known symptoms" not in hookledger("incident", "civ", "wf-1").out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["civ", "nobody"], 1, "nobody"), (["nobody", "x"], 1, "configured sources: civ"),
        (["civ", "x", "--symptom", " "], 2, "symptom"),
    ],
)  # fmt: skip
def test_no_incident_is_one_clear_line(hookledger: Command, words: list[str], code: int, said: str) -> None:
    done = hookledger("incident", *words)
    assert (done.code, done.out, done.err.count("\n")) == (code, "", 1)
    assert said in done.err
