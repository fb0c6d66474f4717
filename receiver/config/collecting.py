"""Where copies of outputs are kept, and how they are made."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, ClassVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, Field, SecretStr, field_validator, model_validator

from receiver.config.sections import Section
from receiver.config.units import Count, Size
from receiver.config.urls import is_loopback, web_url


def _key(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[!-~]{8,1024}", value.get_secret_value()):
        raise ValueError("must be the key as its store shows it: at least 8 printable characters without spaces")
    return value


StoreKey = Annotated[SecretStr, AfterValidator(_key)]


class BucketConfig(Section):
    """A bucket of a store that speaks S3."""

    FROM_FILES: ClassVar[dict[str, tuple[str, str]]] = {
        "access_key_file": ("access_key", "A file that holds `access_key`."),
        "secret_key_file": ("secret_key", "A file that holds `secret_key`."),
    }

    bucket: str = Field(description="The bucket's name; it must exist.")
    endpoint: str | None = Field(
        default=None,
        description="Where the store is, when it is not Amazon's, such as `https://s3.eu-central-003.backblazeb2.com`.",
    )
    region: str = Field(default="us-east-1", min_length=1, description="The bucket's region; many stores take any.")
    prefix: str = Field(default="", description="What the copies' names begin with, such as `hookledger/`.")
    access_key: StoreKey | None = Field(default=None, description="The key's public half.")
    secret_key: StoreKey | None = Field(default=None, description="The key's secret half.")

    @field_validator("bucket")
    @classmethod
    def _a_bucket(cls, value: str) -> str:
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", value):
            raise ValueError("must be a bucket's name: 3 to 63 of a-z, 0-9, - and .")
        return value

    @field_validator("prefix")
    @classmethod
    def _a_prefix(cls, value: str) -> str:
        parts = value.strip("/").split("/")
        if value and (len(value) > 200 or not all(re.fullmatch(r"[A-Za-z0-9_.-]+", part) for part in parts)):
            raise ValueError("must be made of letters, digits, - _ . and / between them, 200 at most")
        if any(part in (".", "..") for part in parts):
            raise ValueError("must not hold . or .. between slashes")
        return value.strip("/")

    @field_validator("endpoint")
    @classmethod
    def _an_endpoint(cls, value: str | None) -> str | None:
        return None if value is None else web_url(value, what="the store's address,")

    @model_validator(mode="after")
    def _can_be_used(self) -> BucketConfig:
        if (self.access_key is None) != (self.secret_key is None):
            raise ValueError("access_key and secret_key belong together; set both")
        if self.access_key is None and self.endpoint is not None:
            raise ValueError("needs access_key and secret_key, which your store shows when you make a key")
        host = urlsplit(self.endpoint or "").hostname or ""
        if (self.endpoint or "").startswith("http:") and not is_loopback(host):
            # Signed requests are safe to overhear; the outputs in them are not.
            raise ValueError("its endpoint must be https:// : outputs would cross the network in the clear")
        if find_spec("obstore") is None:
            raise ValueError("needs one more package: pip install 'hookledger[s3]'")
        return self


class CollectConfig(Section):
    """Where the outputs of sources with `collect = true` are copied to."""

    TABLES: ClassVar[dict[str, type[BaseModel]]] = {"s3": BucketConfig}

    folder: Path | None = Field(
        default=None,
        description="The folder to copy outputs to. With `s3`: where unfinished copies lie until they are whole.",
    )
    largest: Size = Field(default=2 * 2**30, description="The largest output that is copied.")
    concurrency: Count = Field(default=4, ge=1, le=64, description="How many outputs of one source are copied at once.")
    s3: BucketConfig | None = Field(default=None, description="The bucket to copy outputs to, instead of a folder.")

    @property
    def anywhere(self) -> bool:
        """Whether there is a place for copies."""
        return self.folder is not None or self.s3 is not None
