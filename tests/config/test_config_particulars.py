"""What single providers ask of their sources is checked when the configuration is read, with the real providers."""

from __future__ import annotations

from pathlib import Path

import pytest

from receiver.config import ConfigError, load_config
from receiver.ledger.records import Trust

ACME = """
[sources.acme]
provider = "standard-webhooks"
base_url = "https://api.acme.example"
signing_secrets = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLNIK"]
[sources.acme.options]
id = "data.id"
status = "type"
status_url = "/v1/jobs/{id}"
[sources.acme.options.statuses]
"job.done" = "succeeded"
"""


def said(tmp_path: Path, text: str) -> str:
    file = tmp_path / "hookledger.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(file, {})
    return str(caught.value)


def test_a_complete_source_of_standard_webhooks_starts(tmp_path: Path) -> None:
    file = tmp_path / "hookledger.toml"
    file.write_text(ACME, encoding="utf-8")
    account = load_config(file, {}).account("acme")
    assert account.trust is Trust.SIGNED
    assert account.options["statuses"] == {"job.done": "succeeded"}


@pytest.mark.parametrize(
    ("right", "wrong", "problem"),
    [
        ('id = "data.id"\n', "", "options.id is missing"),
        ('"job.done" = "succeeded"', '"job.done" = "finished"', "options.statuses.job.done must be one of ours"),
        ('base_url = "https://api.acme.example"\n', "", "options.status_url needs base_url"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLNIK", "whsec_not*base64*at*all", "signing_secrets: number 1"),
    ],
)
def test_a_source_that_could_not_be_read_or_believed_does_not_start(
    tmp_path: Path, right: str, wrong: str, problem: str
) -> None:
    assert right in ACME
    found = said(tmp_path, ACME.replace(right, wrong))
    assert "sources.acme" in found
    assert problem in found
    assert "not*base64" not in found


def test_a_secret_of_the_wrong_form_does_not_start_at_replicate(tmp_path: Path) -> None:
    found = said(tmp_path, '[sources.r]\nprovider = "replicate"\nsigning_secrets = ["r8_this-is-the-api-key"]\n')
    assert "`whsec_` and base64" in found
    assert "r8_this" not in found
