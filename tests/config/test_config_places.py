"""Where settings come from: the file, the environment, files of secrets; and which of them wins."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from receiver.config import Config, ConfigError, load_config

from .conftest import API_KEY, PROVIDERS, TOKEN, Load

SOURCE = f'[sources.civitai]\nprovider = "civitai"\nhook_token = "{TOKEN}"\n'
Problem = Callable[..., str]


def test_no_file_at_all_means_sqlite_here_no_sources_and_a_line_that_says_what_to_add(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = load_config(None, {})
    assert config.database.url == "sqlite:///hookledger.db"
    assert config.sources == {}
    assert config.file is None
    assert "[sources.civitai]" in config.advice()
    assert "hookledger.toml" in config.advice()


def test_the_file_in_the_working_directory_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("hookledger.toml").write_text("[server]\nport = 1234\n", encoding="utf-8")
    assert load_config(None, {}).server.port == 1234
    Path("hookledger.toml").write_text("[server]\nport = 0.5\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"^hookledger\.toml: server\.port = 0\.5: must be a whole number$"):
        load_config(None, {})


def test_an_explicit_file_must_exist_however_it_was_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing.toml"
    for path, env in ((missing, {}), (None, {"HOOKLEDGER_CONFIG": str(missing)})):
        with pytest.raises(ConfigError, match=r"missing\.toml: no such file"):
            load_config(path, env)


def test_the_environment_may_name_the_file(tmp_path: Path) -> None:
    file = tmp_path / "other.toml"
    file.write_text("[server]\nport = 1234\n", encoding="utf-8")
    config = load_config(None, {"HOOKLEDGER_CONFIG": str(file)})
    assert (config.server.port, config.file) == (1234, file)


def test_the_environment_overrides_the_file_setting_by_setting(load: Load) -> None:
    config = load('[server]\nport = 1\nhost = "::1"\n', SERVER__PORT="2")
    assert (config.server.port, config.server.host) == (2, "::1")


def test_names_in_the_environment_may_be_lower_case(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text("", encoding="utf-8")
    assert load_config(file, {"hookledger_server__port": "2"}).server.port == 2


def test_a_source_can_live_in_the_environment_alone(load: Load) -> None:
    config = load(
        SOURCES__CIVITAI__PROVIDER="civitai", SOURCES__CIVITAI__API_KEY=API_KEY, SOURCES__CIVITAI__HOOK_TOKEN=TOKEN,
        SOURCES__CIVITAI__SILENCE="1h30m", SOURCES__CIVITAI__ALLOW_PRIVATE="true",
    )  # fmt: skip
    assert config.account("civitai").api_key == API_KEY
    assert config.policy("civitai").silence == timedelta(minutes=90)
    assert config.sources["civitai"].allow_private


def test_the_environment_reaches_a_source_with_a_dash_in_its_name(load: Load) -> None:
    config = load(SOURCE.replace("civitai]", "my-lab]"), SOURCES__MY_LAB__API_KEY=API_KEY)
    assert config.account("my-lab").api_key == API_KEY


@pytest.mark.parametrize("written", [f"{TOKEN},{TOKEN}2", f"{TOKEN} , {TOKEN}2", f'["{TOKEN}", "{TOKEN}2"]'])
def test_a_list_in_the_environment_is_json_or_has_commas(load: Load, written: str) -> None:
    assert load(SOURCE, SOURCES__CIVITAI__HOOK_TOKEN=written).account("civitai").hook_tokens == (TOKEN, TOKEN + "2")


def test_an_empty_variable_is_an_unset_one(load: Load) -> None:
    assert load("[server]\nport = 5\n", SERVER__PORT="").server.port == 5


def test_a_misspelled_variable_is_an_error_with_the_nearest_name(problem: Problem) -> None:
    assert problem(SERVER__PROT="1") == (
        "environment HOOKLEDGER_SERVER__PROT: server.prot: no such setting; did you mean port?"
    )
    assert "HOOKLEDGER_SERVER__PORT" in problem(SERVER_PORT="1")
    assert "names look like" in problem(PORT="8080")


def test_what_kubernetes_sets_for_a_service_of_our_name_is_passed_over(load: Load) -> None:
    load(
        PORT="tcp://10.0.0.1:80", SERVICE_HOST="10.0.0.1", SERVICE_PORT="80", SERVICE_PORT_HTTP="80",
        PORT_80_TCP="tcp://10.0.0.1:80", PORT_80_TCP_PROTO="tcp", PORT_80_TCP_PORT="80", PORT_80_TCP_ADDR="10.0.0.1",
        DB_SERVICE_HOST="10.0.0.2", DB_PORT_5432_TCP_ADDR="10.0.0.2", DB_PORT="tcp://10.0.0.2:5432",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("setting", "content", "seen"),
    [
        ("api_key_file", f"{API_KEY}\n", {API_KEY}),
        ("hook_token_file", f"{TOKEN}2\n\n{TOKEN}3\n", {TOKEN + "2", TOKEN + "3"}),
        ("signing_secrets_file", "a-signing-secret-of-ours\n", {"a-signing-secret-of-ours"}),
    ],
)
def test_a_secret_can_be_in_a_file_beside_the_configuration(
    load: Load, tmp_path: Path, setting: str, content: str, seen: set[str]
) -> None:
    (tmp_path / "secret.txt").write_text(content, encoding="utf-8")
    config = load(f'[sources.it]\nprovider = "signer"\ntrust = "hint"\n{setting} = "secret.txt"\n')
    assert config.secret_values() == seen


def test_the_databases_url_can_be_in_a_file(load: Load, tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgresql://u:pass-of-the-database@h/d\n", encoding="utf-8")
    assert load('[database]\nurl_file = "url"\n').database.url == "postgresql://u:pass-of-the-database@h/d"


def test_a_secret_and_its_file_together_are_an_error(problem: Problem, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(API_KEY, encoding="utf-8")
    text = SOURCE + f'api_key = "{API_KEY}"\napi_key_file = "key"\n'
    assert problem(text) == ("hookledger.toml: sources.civitai.api_key_file: api_key is set too; keep one of the two")


def test_a_secret_in_the_environment_overrides_a_secret_file_of_the_configuration(load: Load, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("key-from-a-file", encoding="utf-8")
    config = load(SOURCE + 'api_key_file = "key"\n', SOURCES__CIVITAI__API_KEY=API_KEY)
    assert config.account("civitai").api_key == API_KEY


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot read"),
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"\xff\xfe", "not UTF-8"),
        (b"x" * 70000, "over 64 KiB"),
    ],
)
def test_a_secret_file_that_holds_no_secret_is_an_error(
    problem: Problem, tmp_path: Path, content: bytes | None, words: str
) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    said = problem(SOURCE + 'api_key_file = "key"\n')
    assert said.startswith("hookledger.toml: sources.civitai.api_key_file")
    assert words in said


@pytest.mark.parametrize("by", ["variable", "file"])
def test_a_folder_of_secrets_gives_one_setting_per_file(load: Load, tmp_path: Path, by: str) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "sources__civitai__api_key").write_text(API_KEY + "\n", encoding="utf-8")
    (folder / "..data").mkdir()
    (folder / "somebody-elses").write_text("x", encoding="utf-8")
    config = (
        load(SOURCE, SECRETS_DIR=str(folder)) if by == "variable" else load(SOURCE + '[secrets]\ndir = "secrets"\n')
    )
    assert config.account("civitai").api_key == API_KEY


def test_the_folder_of_secrets_lies_between_the_file_and_the_environment(load: Load, tmp_path: Path) -> None:
    (tmp_path / "sources__civitai__api_key").write_text("key-from-the-folder", encoding="utf-8")
    text = SOURCE + 'api_key = "key-from-the-file"\n'
    assert load(text, SECRETS_DIR=str(tmp_path)).account("civitai").api_key == "key-from-the-folder"
    both = load(text, SECRETS_DIR=str(tmp_path), SOURCES__CIVITAI__API_KEY="key-from-environment")
    assert both.account("civitai").api_key == "key-from-environment"


def test_a_folder_of_secrets_that_is_not_there_is_an_error(problem: Problem, tmp_path: Path) -> None:
    said = problem(SECRETS_DIR=str(tmp_path / "nowhere"))
    assert said.startswith('environment HOOKLEDGER_SECRETS_DIR: secrets.dir = "nowhere": cannot be read')


def test_a_file_that_is_not_toml_or_not_text_is_an_error_with_its_name(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    for content, words in ((b"a = [", "is not TOML"), (b"\xff", "is not UTF-8"), (b"a=" + b"[" * 9999, "is not TOML")):
        file.write_bytes(content)
        with pytest.raises(ConfigError, match=words):
            load_config(file, {})
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path, {})


def test_the_process_environment_is_what_is_read_when_none_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOOKLEDGER_SERVER__PORT", "4321")
    assert load_config(providers=PROVIDERS).server.port == 4321
    assert Config().server.port == 8080
