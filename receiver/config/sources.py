"""One source: an account at a provider, the proofs its deliveries carry (R9), what overrides the provider's habits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.config import JsonDict

from receiver.config.sections import Section, several
from receiver.config.units import Budget, Count, Duration, PositiveDuration, RequestBudget, Share, budget
from receiver.config.urls import is_loopback, web_url
from receiver.ledger.durations import Learned
from receiver.ledger.policy import Policy
from receiver.ledger.records import Trust
from receiver.providers import PROVIDERS
from receiver.providers.base import Account, Habits, Particular, Provider

MAKE_ONE = 'python3 -c "import secrets; print(secrets.token_urlsafe(32))"'


def _hook_token(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not re.fullmatch(r"[A-Za-z0-9._~-]{16,256}", text) or text.isdigit():
        # Short or numeric ones are guessable, and taking their value out of every output would eat ordinary text.
        raise ValueError(
            "must be 16 to 256 letters, digits, - . _ or ~ (not digits alone), because it travels in a URL; "
            f"make one with: {MAKE_ONE}"
        )
    return value


def _api_key(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not re.fullmatch(r"[!-~]{8,4096}", text) or text.isdigit():
        raise ValueError(
            "must be the key as upstream shows it: at least 8 printable characters without spaces, not digits alone; "
            "make one in upstream's account settings"
        )
    return value


def _signing_secret(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not re.fullmatch(r"[!-~]{16,4096}", text) or text.isdigit():
        raise ValueError(
            "must be the secret as upstream shows it: at least 16 printable characters, no spaces, not digits alone;"
            " make one in upstream's webhook settings"
        )
    return value


HookToken = Annotated[SecretStr, AfterValidator(_hook_token)]
ApiKey = Annotated[SecretStr, AfterValidator(_api_key)]
SigningSecret = Annotated[SecretStr, AfterValidator(_signing_secret)]

_PER_PROVIDER: JsonDict = {"default_text": "per provider"}


class SourceConfig(Section):
    """One configured account at a provider."""

    FROM_FILES: ClassVar[dict[str, tuple[str, str]]] = {
        "api_key_file": ("api_key", "A file that holds `api_key`."),
        "hook_token_file": ("hook_token", "A file that holds `hook_token`, one per line."),
        "signing_secrets_file": ("signing_secrets", "A file that holds `signing_secrets`, one per line."),
    }

    provider: str = Field(description="Which upstream this is, such as `civitai`.")
    api_key: ApiKey | None = Field(default=None, description="The key for asking upstream.")
    hook_token: Annotated[tuple[HookToken, ...], BeforeValidator(several)] = Field(
        default=(),
        description="The secret in the registered URL, `?token=…`; a list allows rotation. Trust `token`.",
    )
    signing_secrets: Annotated[tuple[SigningSecret, ...], BeforeValidator(several)] = Field(
        default=(), description="What upstream signs deliveries with; a list, newest first. Trust `signed`."
    )
    declared_trust: Trust | None = Field(
        default=None,
        alias="trust",
        description="What deliveries prove: `signed`, `token`, `hint` (nothing: each only makes us ask) or `none`"
        " (poll only: deliveries are answered 404).",
        json_schema_extra={"default_text": "from the secrets"},
    )
    base_url: str | None = Field(default=None, description="Where upstream is.", json_schema_extra=_PER_PROVIDER)
    deadline: PositiveDuration | None = Field(
        default=None,
        description="Attention `overdue` after this long without an end.",
        json_schema_extra=_PER_PROVIDER,
    )
    silence: PositiveDuration | None = Field(
        default=None, description="How long without news before we ask.", json_schema_extra=_PER_PROVIDER
    )
    on_gone: Literal["flag", "expire"] = Field(
        default="flag",
        description="What becomes of a workflow that upstream does not know, asked three times: `flag` tells a person,"
        " `expire` ends it as `expired`, provisionally, once upstream has shown another one since.",
    )
    keep_fresh: Duration = Field(
        default=timedelta(hours=1),
        description='Blobs of workflows that ended within this time keep a live URL; "0" renews on demand only.',
    )
    budget: RequestBudget | None = Field(
        default=None,
        description='How many requests upstream may be sent by all reconcilers together, such as "5/min".',
        json_schema_extra=_PER_PROVIDER,
    )
    concurrency: Count = Field(
        default=8,
        ge=1,
        le=1000,
        description="How many requests of all reconcilers at once; looks on demand, backfill and audit add one each.",
    )
    tolerance: PositiveDuration = Field(
        default=timedelta(minutes=5), description="How far a signature's time may be off, either way."
    )
    retention: PositiveDuration = Field(
        default=timedelta(days=90), description="How long evidence of ended workflows is kept; `prune` removes older."
    )
    brake: Share = Field(
        default=0.5,
        description="Stop asking when more than this share of workflows is suddenly unknown or refused; 1 never stops.",
    )
    hint_quota: Count = Field(
        default=1000, ge=1, description="How many unproven deliveries are kept in an hour; more are answered 429."
    )
    backfill: Duration = Field(
        default=timedelta(hours=1),
        description='How far back the daemon lists what was submitted, four times in that time; "0" never. Where'
        " upstream has a listing.",
    )
    audit: Count = Field(
        default=20, ge=0, le=10_000, description="How many settled workflows the daemon asks about again each day."
    )
    allow_private: bool = Field(
        default=False, description="Whether upstream may be at a private address, and spoken to without TLS."
    )
    collect: bool = Field(default=False, description="Whether outputs are copied to where `collect` says.")
    warn_deletion: bool = Field(
        default=True,
        description="Whether a person is told (attention `uncollected`) before upstream deletes outputs that were not"
        " copied; `false` where your own programs fetch them in time.",
    )
    options: dict[str, Any] = Field(default_factory=dict, repr=False, description="What one provider alone needs.")

    _habits: Habits = PrivateAttr()
    _learned: Learned = PrivateAttr(default_factory=Learned)

    @field_validator("provider")
    @classmethod
    def _one_we_know(cls, value: str, info: ValidationInfo) -> str:
        known = _providers_of(info)
        if value not in known:
            raise ValueError(f"no such provider; known: {', '.join(sorted(known)) or 'none'}")
        return value

    @field_validator("base_url")
    @classmethod
    def _an_address(cls, value: str | None) -> str | None:
        return None if value is None else web_url(value, what="upstream's address,")

    @model_validator(mode="after")
    def _agrees_with_itself(self, info: ValidationInfo) -> SourceConfig:
        provider = _providers_of(info)[self.provider]
        self._habits = provider.habits
        problem = _trust_problem(self, provider.habits) or _transport_problem(self)
        if not problem and isinstance(provider, Particular):
            problem = provider.account_problem(self.account(""))
        if not problem and self.on_gone == "expire" and self.brake >= 1:
            problem = 'on_gone = "expire" needs a brake below 1: an expired key could end every workflow there is'
        if problem:
            raise ValueError(problem)
        return self

    @property
    def habits(self) -> Habits:
        """What is known of this source's upstream."""
        return self._habits

    @property
    def trust(self) -> Trust:
        """What this source's deliveries prove: as declared, else by the strongest secret (R9)."""
        if self.declared_trust is not None:
            return self.declared_trust
        return Trust.SIGNED if self.signing_secrets else Trust.TOKEN

    @property
    def request_budget(self) -> Budget | None:
        """How many requests upstream may be sent: as set here, else as its provider knows; None for no limit."""
        known = self._habits.budget
        return self.budget or (budget(known) if known else None)

    def account(self, name: str) -> Account:
        """Return what the provider may know about this source, secrets included (hidden from its repr)."""
        return Account(
            source=name,
            base_url=self.base_url or self._habits.default_base_url,
            trust=self.trust,
            api_key=self.api_key.get_secret_value() if self.api_key else None,
            hook_tokens=tuple(token.get_secret_value() for token in self.hook_token),
            signing_secrets=tuple(secret.get_secret_value() for secret in self.signing_secrets),
            tolerance=self.tolerance,
            options=dict(self.options),
        )

    def policy(self, lease: timedelta) -> Policy:
        """Return what this source means for the ledger: the provider's habits, overridden by what is set here."""
        return Policy(
            trust=self.trust,
            poll=self._habits.poll,
            silence=self.silence or self._habits.silence,
            deadline=self.deadline or self._habits.deadline,
            keep_fresh=self.keep_fresh,
            restartable=self._habits.restartable,
            outputs_live=self._habits.outputs_live,
            hint_quota=self.hint_quota,
            lease=lease,
            collect=self.collect,
            warn_deletion=self.warn_deletion,
            expire_gone=self.on_gone == "expire",
            retry_horizon=self._habits.retry_horizon,
            bulk=self._habits.bulk_size,
            learned=self._learned,
        )


def _providers_of(info: ValidationInfo) -> Mapping[str, Provider]:
    providers: Mapping[str, Provider] | None = (info.context or {}).get("providers")
    return PROVIDERS if providers is None else providers


def _trust_problem(source: SourceConfig, habits: Habits) -> str | None:
    """Say what is wrong with what a source declares of its deliveries, None when all is well (R9)."""
    possible = ", ".join(f'"{trust}"' for trust in habits.trusts)
    if source.declared_trust is None and not source.hook_token and not source.signing_secrets:
        ways = {
            Trust.SIGNED: "signing_secrets (upstream's webhook secret)",
            Trust.TOKEN: f"hook_token (make one with: {MAKE_ONE})",
            Trust.HINT: 'trust = "hint" (nothing is proven; each delivery only makes us ask)',
            Trust.NONE: 'trust = "none" (no deliveries: poll only)',
        }
        return f"does not say what its deliveries prove; add {', or '.join(ways[trust] for trust in habits.trusts)}"
    if source.trust not in habits.trusts:
        return f'trust = "{source.trust}" is nothing {source.provider} can offer; it offers {possible}'
    if source.declared_trust is Trust.TOKEN and not source.hook_token:
        return f'trust = "token" needs hook_token; make one with: {MAKE_ONE}'
    if source.declared_trust is Trust.SIGNED and not source.signing_secrets and not habits.publishes_keys:
        return 'trust = "signed" needs signing_secrets; upstream shows the secret in its webhook settings'
    if source.declared_trust is Trust.NONE and (source.hook_token or source.signing_secrets):
        return 'trust = "none" takes no deliveries, so leave out hook_token and signing_secrets, or trust'
    return None


def _transport_problem(source: SourceConfig) -> str | None:
    url = source.base_url or ""
    if url.startswith("http:") and not source.allow_private and not is_loopback(urlsplit(url).hostname or ""):
        return (
            f'base_url = "{url}" would send credentials in the clear; write https://, or set allow_private = true '
            "when it is in a network of your own"
        )
    return None
