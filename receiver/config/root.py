"""The whole configuration, and how it is put together."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, Field, PrivateAttr, ValidationError, model_validator

from receiver.config.collecting import CollectConfig
from receiver.config.errors import ConfigError, Origins, lines_of
from receiver.config.layers import (
    DEFAULT_FILE,
    Layer,
    from_environment,
    from_file,
    from_secrets_folder,
    merged,
    read_named_files,
)
from receiver.config.sections import DatabaseConfig, SecretsConfig, Section, ServerConfig
from receiver.config.sources import MAKE_ONE, SourceConfig
from receiver.config.urls import database_passwords, database_url_public
from receiver.ledger.policy import Policy
from receiver.providers.base import Account, Provider

_SHORTEST_HIDDEN = 8  # characters; replacing shorter values in every output would eat ordinary text


def _source_name(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", value):
        raise ValueError(
            "a source's name must be 1 to 64 of a-z, 0-9, - and _, starting with a letter or digit; "
            "it is part of the URL"
        )
    return value


class Config(Section):
    """Everything hookledger is told. Built by `load_config`; `Config()` is what no configuration at all means."""

    TABLES: ClassVar[dict[str, type[BaseModel]]] = {
        "database": DatabaseConfig,
        "server": ServerConfig,
        "secrets": SecretsConfig,
        "collect": CollectConfig,
        "sources": SourceConfig,
    }

    database: DatabaseConfig = Field(default_factory=DatabaseConfig)
    server: ServerConfig = Field(default_factory=ServerConfig)
    secrets: SecretsConfig = Field(default_factory=SecretsConfig)
    collect: CollectConfig = Field(default_factory=CollectConfig)
    sources: dict[Annotated[str, AfterValidator(_source_name)], SourceConfig] = Field(default_factory=dict)

    _file: Path | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _copies_have_a_place(self) -> Config:
        for name, source in self.sources.items():
            if source.collect and not self.collect.anywhere:
                raise ValueError(
                    f'source {name} has collect = true, but nothing says where to; add [collect] with folder = "…", or '
                    "[collect.s3] with a bucket"
                )
        return self

    @property
    def file(self) -> Path | None:
        """The file that was read, None when there was none."""
        return self._file

    def source(self, name: str) -> SourceConfig:
        """Return one source's configuration. Raises ConfigError that names the known ones."""
        try:
            return self.sources[name]
        except KeyError:
            known = ", ".join(sorted(self.sources)) or "none; " + self.advice()
            raise ConfigError([f"no source is named {name!r}; configured: {known}"]) from None

    def account(self, source: str) -> Account:
        """Return what the source's provider may know about it. Raises ConfigError for an unknown source."""
        return self.source(source).account(source)

    def policy(self, source: str) -> Policy:
        """Return what the source means for the ledger. Raises ConfigError for an unknown source."""
        return self.source(source).policy(self.server.lease)

    def secret_values(self) -> frozenset[str]:
        """Return every secret known here, for a `Redactor`: keys, tokens, signing secrets, the database's password."""
        return frozenset(secret for secret in self._secrets() if len(secret) >= _SHORTEST_HIDDEN)

    def _secrets(self) -> Iterator[str]:
        # A database password that is one ordinary word ("postgres") would be replaced inside every sentence; upstreams
        # never see it and no output of ours holds it.
        yield from (word for word in database_passwords(self.database.url) if not re.fullmatch(r"[a-z]{1,15}", word))
        for source in self.sources.values():
            account = source.account("")
            yield from (account.api_key,) if account.api_key else ()
            yield from account.hook_tokens
            for secret in account.signing_secrets:
                yield secret
                yield secret.removeprefix("whsec_")
            yield from _secret_options(source.options)
        for key in (self.collect.s3.access_key, self.collect.s3.secret_key) if self.collect.s3 else ():
            yield from (key.get_secret_value(),) if key else ()

    def database_url_public(self) -> str:
        """Return the database's URL without its password."""
        return database_url_public(self.database.url)

    def advice(self) -> str:
        """Return one line that says what to add when there are no sources, '' when there are."""
        if self.sources:
            return ""
        return (
            f"no sources yet: add [sources.civitai] to {self._file or DEFAULT_FILE} with "
            f'provider = "civitai", api_key = "…" and hook_token = "…" (make one with: {MAKE_ONE})'
        )


def _secret_options(options: Mapping[str, Any]) -> Iterator[str]:
    for name, value in options.items():
        if isinstance(value, str) and re.search(r"secret|token|password|key$", name):
            yield value


def load_config(
    path: Path | None = None,
    env: Mapping[str, str] | None = None,
    *,
    providers: Mapping[str, Provider] | None = None,
) -> Config:
    """Read the configuration: defaults, then the file, then the folder of secrets, then the environment on top.

    `path` is an explicit file, which must exist; otherwise `HOOKLEDGER_CONFIG` names one, otherwise `hookledger.toml`
    in the working directory is read if it is there. `env` is the environment (default: this process's), `providers`
    the upstreams we speak for (default: all). Raises ConfigError with one line per problem.
    """
    env = os.environ if env is None else env
    if path is None and env.get("HOOKLEDGER_CONFIG"):
        path = Path(env["HOOKLEDGER_CONFIG"])
    file = path or Path(DEFAULT_FILE)
    if path is not None and not path.exists():
        do = f"see --config and HOOKLEDGER_CONFIG, or leave both out to use {DEFAULT_FILE} or defaults"
        raise ConfigError([f"{path}: no such file; {do}"])
    in_file = from_file(file) if file.exists() else Layer(Path())
    everything = merged(_layers(in_file, env))
    origins = Origins(str(file) if file.exists() else "configuration", everything.places)
    try:
        config = Config.model_validate(everything.values, context={"providers": providers})
    except ValidationError as error:
        # `from None`: pydantic's account holds the input, secrets included.
        raise ConfigError(lines_of(error, Config, origins)) from None
    config._file = file if file.exists() else None
    return config


def _layers(in_file: Layer, env: Mapping[str, str]) -> list[Layer]:
    sources = in_file.values.get("sources")
    known = frozenset(sources) if isinstance(sources, dict) else frozenset()
    in_environment = from_environment(env, known)
    layers = [in_file, in_environment]
    for layer in (in_environment, in_file):
        table = layer.values.get("secrets")
        folder = table.get("dir") if isinstance(table, dict) else None
        if isinstance(folder, str) and folder:
            place = layer.places.get(("secrets", "dir"), "configuration")
            layers.insert(1, from_secrets_folder(layer.folder / Path(folder).expanduser(), place, known))
            break
    for layer in layers:
        read_named_files(layer)
    return layers
