"""The compose file, by the Compose Specification's schema (dclint) and its rules of reference (compose-spec)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from receiver import __version__
from receiver.config import load_config
from receiver.web.server import GRACE
from tests.deploy.conftest import DEPLOY, Run

pytestmark = pytest.mark.deploy

COMPOSE = DEPLOY / "compose.yaml"
OURS = ("migrate", "receiver", "reconciler")
SECRETS = {
    "database__url": "postgresql://hookledger:made-up-Passw0rd@postgres/hookledger\n",
    "sources__civitai__api_key": "made-up-key-0123456789\n",
    "sources__civitai__hook_token": "made-up-token-0123456789\n",
}

# Schema and meaning are checked; in which order keys stand is a matter of reading.
RULES = {
    "service-keys-order": 0,
    "services-alphabetical-order": 0,
    "service-dependencies-alphabetical-order": 0,
    "top-level-properties-order": 0,
    "require-quotes-in-ports": [1, {"quoteType": "double"}],
    "no-build-and-image": [2, {"checkPullPolicy": True}],
}


def loaded() -> dict[str, Any]:
    """Return the file with its anchors resolved."""
    import yaml  # a tool of these checks alone, like hadolint: pip install PyYAML

    read: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return read


def lint(tool: Run, tmp_path: Path, file: Path) -> Any:
    """Return dclint's verdict on a file."""
    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps({"rules": RULES}))
    return tool("dclint", "--config", rules, "--max-warnings", "0", file)


def validate(document: dict[str, Any]) -> None:
    """Raise ValueError when the document is not of the specification or refers to what is not there."""
    from compose_spec import PyCompose  # pip install compose-spec

    PyCompose.from_json(json.dumps(document)).validate()


def test_the_file_is_of_the_schema_and_the_linter_has_nothing_to_say(tool: Run, tmp_path: Path) -> None:
    done = lint(tool, tmp_path, COMPOSE)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_linter_would_see_a_misspelled_key(tool: Run, tmp_path: Path) -> None:
    broken = tmp_path / "compose.yaml"
    broken.write_text(COMPOSE.read_text().replace("stop_grace_period:", "stop_grace_perio:"))
    assert lint(tool, tmp_path, broken).returncode != 0


def test_every_network_and_secret_that_is_used_is_there() -> None:
    validate(loaded())


def test_every_volume_that_is_used_is_there_and_none_is_there_for_nothing() -> None:
    document = loaded()
    used = {mount.split(":")[0] for service in document["services"].values() for mount in service.get("volumes", ())}
    assert {name for name in used if not name.startswith(".")} == set(document["volumes"])


@pytest.mark.parametrize("section", ["secrets", "networks"])
def test_a_missing_one_would_be_seen(section: str) -> None:
    document = loaded()
    document[section].popitem()
    with pytest.raises(ValueError, match="not defined"):
        validate(document)


def test_whoever_is_waited_for_is_there_and_can_become_what_is_waited_for() -> None:
    services = loaded()["services"]
    for service in services.values():
        for name, wanted in service.get("depends_on", {}).items():
            if wanted["condition"] == "service_healthy":
                assert services[name]["healthcheck"]["test"]
            else:
                assert wanted["condition"] == "service_completed_successfully"
                assert services[name]["restart"] == "no", f"{name} would never be complete"


@pytest.mark.parametrize("name", OURS)
def test_each_command_is_one_we_have(hookledger: Run, name: str) -> None:
    done = hookledger(*loaded()["services"][name]["command"], "--help")
    assert done.returncode == 0, done.stderr


def test_the_image_is_ours_of_this_version_and_never_looked_for_elsewhere() -> None:
    services = loaded()["services"]
    assert {services[name]["image"] for name in OURS} == {f"hookledger:{__version__}"}
    assert {services[name]["pull_policy"] for name in OURS} == {"never"}
    built = COMPOSE.parent / services["migrate"]["build"]["context"]
    assert (built / services["migrate"]["build"]["dockerfile"]).samefile(DEPLOY / "Dockerfile")


def test_there_is_one_reconciler_and_the_schema_comes_before_it() -> None:
    services = loaded()["services"]
    assert "--no-reconciler" in services["receiver"]["command"]
    assert services["reconciler"]["command"][:2] == ["reconcile", "--watch"]
    assert services["migrate"]["command"] == ["db", "upgrade"]
    for name in ("receiver", "reconciler"):
        assert services[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


def test_every_container_is_locked_down() -> None:
    for name, service in loaded()["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "privileged" not in service


def test_the_database_is_reached_from_inside_alone_and_the_receiver_from_this_machine() -> None:
    document = loaded()
    assert document["services"]["postgres"]["networks"] == ["database"]
    assert document["networks"]["database"] == {"internal": True}
    assert [name for name, service in document["services"].items() if service.get("ports")] == ["receiver"]
    assert all(port.startswith("127.0.0.1:") for port in document["services"]["receiver"]["ports"])


def test_draining_has_time_enough() -> None:
    for name in ("receiver", "reconciler"):
        assert int(loaded()["services"][name]["stop_grace_period"].removesuffix("s")) > GRACE


@pytest.mark.parametrize("name", OURS)
def test_its_secrets_and_the_example_make_a_configuration(tmp_path: Path, name: str) -> None:
    service = loaded()["services"][name]
    assert set(service["secrets"]) == set(SECRETS)
    assert service["environment"]["HOOKLEDGER_SECRETS_DIR"] == "/run/secrets"
    for secret in service["secrets"]:
        (tmp_path / secret).write_text(SECRETS[secret])
    (volume,) = service["volumes"]
    assert volume.split(":")[1] == service["environment"]["HOOKLEDGER_CONFIG"]
    config = load_config(DEPLOY / "hookledger.example.toml", {"HOOKLEDGER_SECRETS_DIR": str(tmp_path)})
    assert config.database.url == SECRETS["database__url"].strip()
    account = config.account("civitai")
    assert (account.api_key, account.hook_tokens) == ("made-up-key-0123456789", ("made-up-token-0123456789",))


def test_no_secret_stands_in_the_file_itself() -> None:
    document = loaded()
    for service in document["services"].values():
        for variable in service["environment"]:
            assert variable.endswith(("_FILE", "_DIR", "_CONFIG", "_DB", "_USER")), variable
    assert all(set(secret) == {"file"} for secret in document["secrets"].values())
