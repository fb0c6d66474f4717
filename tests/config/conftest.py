"""Configurations written to real files, for providers made up here so that every kind of trust can be tried."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from receiver.config import Config, ConfigError, load_config
from receiver.ledger.records import Trust
from receiver.providers.base import Habits, Provider

TOKEN = "hook-token-of-civitai-0001"
API_KEY = "key-of-civitai-0001"
SIGNING = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLNIK"


class Upstream:
    """As much of a provider as a configuration asks about."""

    def __init__(self, name: str, *trusts: Trust, publishes_keys: bool = False, budget: str | None = None) -> None:
        self.name = name
        self.habits = Habits(
            poll=(1, 2, 3),
            silence=timedelta(minutes=7),
            deadline=timedelta(minutes=70),
            retry_horizon=timedelta(hours=1),
            default_base_url="https://api.upstream.example",
            trusts=trusts,
            publishes_keys=publishes_keys,
            budget=budget,
        )


PROVIDERS = cast(
    Mapping[str, Provider],
    {
        "civitai": Upstream("civitai", Trust.TOKEN, Trust.HINT, Trust.NONE),
        "signer": Upstream("signer", *Trust),
        "publisher": Upstream("publisher", *Trust, publishes_keys=True, budget="5/min"),
    },
)

Load = Callable[..., Config]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load a configuration from a text; keyword arguments are environment variables without their prefix."""

    def loaded(text: str = "", **env: str) -> Config:
        file = tmp_path / "hookledger.toml"
        file.write_text(text, encoding="utf-8")
        return load_config(file, {f"HOOKLEDGER_{name}": value for name, value in env.items()}, providers=PROVIDERS)

    return loaded


@pytest.fixture
def problem(load: Load, tmp_path: Path) -> Callable[..., str]:
    """Load a wrong configuration and return what it says, the file's folder taken out."""

    def said(text: str = "", **env: str) -> str:
        with pytest.raises(ConfigError) as caught:
            load(text, **env)
        assert caught.value.__cause__ is None
        return str(caught.value).replace(f"{tmp_path}/", "")

    return said


@pytest.fixture
def source(load: Load) -> Callable[..., Any]:
    """Load one source called `it` from lines of TOML, for the provider `civitai` with a token unless told otherwise."""

    def one(*lines: str, provider: str = "civitai", token: bool = True) -> Any:
        start = ["[sources.it]", f'provider = "{provider}"'] + ([f'hook_token = "{TOKEN}"'] if token else [])
        return load("\n".join([*start, *lines]))

    return one
