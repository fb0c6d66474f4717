"""The sections that are there once: the database, the server, the folder of secrets."""

from __future__ import annotations

import json
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from receiver.config.units import Count, PositiveDuration, Size
from receiver.config.urls import database_url, is_private, web_url


def several(value: object) -> object:
    """Read a list, or a text that holds one: `["a", "b"]` as JSON, or `a, b` (the environment knows only texts)."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except ValueError:
            raise ValueError('must be a list, ["…", "…"], or values with commas between them') from None
    return [part.strip() for part in value.split(",") if part.strip()]


class Section(BaseModel):
    """A table of the file. Unknown names are errors, values are fixed once read, and messages never quote input."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, arbitrary_types_allowed=True)

    # Settings that name a file which holds another setting's value: name -> (the other, meaning). Read by `layers`.
    FROM_FILES: ClassVar[dict[str, tuple[str, str]]] = {}


class DatabaseConfig(Section):
    """Where the ledger is."""

    FROM_FILES: ClassVar[dict[str, tuple[str, str]]] = {"url_file": ("url", "A file that holds `url`.")}

    url: str = Field(
        default="sqlite:///hookledger.db",
        repr=False,  # it may hold a password
        description="The ledger's database: `sqlite:///file` (relative) or `sqlite:////file` (absolute),"
        " or `postgresql://user@host/db`.",
    )

    @field_validator("url")
    @classmethod
    def _one_we_serve(cls, value: str) -> str:
        return database_url(value)


class ServerConfig(Section):
    """How the receiver listens and answers, and how the reconciler takes its turns."""

    host: str = Field(default="127.0.0.1", min_length=1, description="The address to listen on.")
    port: Count = Field(default=8080, ge=0, le=65535, description="The port to listen on; 0 takes any free one.")
    public_url: str | None = Field(
        default=None,
        description=(
            "What upstreams reach this receiver by; `hookledger url` builds on it. A path in it is for a proxy that"
            " takes it away again before deliveries; the dashboard needs a host of its own."
        ),
    )
    max_body: Size = Field(default=10 * 2**20, description="The largest delivery taken; a larger one is answered 413.")
    body_timeout: PositiveDuration = Field(
        default=timedelta(seconds=10),
        description="How long a request's head may take to arrive, and then its body; after it, 408.",
    )
    max_connections: Count = Field(
        default=10_000,
        ge=1,
        le=1_000_000,
        description="How many connections each process keeps open; a further one is answered 503.",
    )
    max_connections_per_client: Count = Field(
        default=1000,
        ge=1,
        le=1_000_000,
        description="How many of them one address (of IPv6, one /64) may have, and behind a trusted proxy how many"
        " requests under way; beyond that 503.",
    )
    trusted_proxies: Annotated[tuple[str, ...], BeforeValidator(several)] = Field(
        default=(), description="Addresses or networks whose `X-Forwarded-*` headers are believed."
    )
    answer_within: PositiveDuration = Field(
        default=timedelta(seconds=2.5), description="How long a delivery may wait for its commit; after it, 503."
    )
    metrics_public: bool = Field(default=False, description="Whether `/metrics` answers without a token.")
    log_level: Literal["info", "warning", "error"] = Field(
        default="info",
        description="What is logged: `info` has a line for each delivery and each look, `warning` what may need"
        " somebody, `error` what does.",
    )
    lease: PositiveDuration = Field(
        default=timedelta(seconds=90), description="How long a reconciler owns a check it took; then another may."
    )
    item: PositiveDuration = Field(
        default=timedelta(seconds=60), description="The longest one look at upstream may take; less than `lease`."
    )
    pass_budget: PositiveDuration = Field(
        default=timedelta(seconds=55),
        alias="pass",
        description="How long one `hookledger reconcile` works before it leaves the rest to the next.",
    )

    @field_validator("host")
    @classmethod
    def _a_host(cls, value: str) -> str:
        if any(c.isspace() or c in "/?#@" for c in value) or ("." in value and ":" in value):
            raise ValueError('must be an address or a host name such as "127.0.0.1"; the port goes to `port`')
        return value

    @field_validator("public_url")
    @classmethod
    def _reachable(cls, value: str | None) -> str | None:
        if value is None:
            return None
        url = web_url(value, what="the address upstreams call,")
        if url.startswith("http:") and not is_private(urlsplit(url).hostname or ""):
            raise ValueError("must be https:// : tokens and payloads would cross the internet in the clear")
        return url

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            try:
                ip_network(network)
            except ValueError:
                raise ValueError(
                    f'"{network}" must be an address or a network such as "10.0.0.7" or "10.0.0.0/8"'
                ) from None
        return value

    @model_validator(mode="after")
    def _an_item_ends_within_its_lease(self) -> ServerConfig:
        if self.item >= self.lease:
            raise ValueError("`item` must be shorter than `lease`, or two reconcilers would look at one workflow")
        return self


class SecretsConfig(Section):
    """Secrets that lie in files of their own."""

    dir: Path | None = Field(
        default=None,
        description="A folder with one file per secret, named like the environment variable without its prefix:"
        " `sources__civitai__api_key`. Also `HOOKLEDGER_SECRETS_DIR`.",
    )
