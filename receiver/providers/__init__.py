"""Every upstream we can read, by name. One entry and one file (or a few with its name) for each.

Other packages add theirs without touching this one: see README.md here.
"""

from __future__ import annotations

from receiver.providers.base import Provider
from receiver.providers.beeble import Beeble
from receiver.providers.civitai import Civitai
from receiver.providers.evolink import EvoLink
from receiver.providers.fal import Fal
from receiver.providers.kie import Kie
from receiver.providers.kling import Kling
from receiver.providers.luma import Luma
from receiver.providers.openai import OpenAI
from receiver.providers.openrouter import OpenRouter
from receiver.providers.registry import Registry
from receiver.providers.removebgvideo import RemoveBGVideo
from receiver.providers.replicate import Replicate
from receiver.providers.runpod import RunPod
from receiver.providers.runway import Runway
from receiver.providers.standard_webhooks import StandardWebhooks

_ALL: tuple[Provider, ...] = (
    Civitai(),
    Beeble(),
    EvoLink(),
    RemoveBGVideo(),
    Replicate(),
    Fal(),
    OpenAI(),
    RunPod(),
    Luma(),
    Kling(),
    Kie(),
    OpenRouter(),
    Runway(),
    StandardWebhooks(),
)
PROVIDERS = Registry(_ALL)


def provider_named(name: str) -> Provider:
    """Return the provider a source's configuration names.

    Raises ValueError with the names there are, or one that says what is wrong with another package's provider.
    """
    provider = PROVIDERS.get(name)
    if provider is None:
        known = ", ".join(sorted(PROVIDERS))
        raise ValueError(f"there is no provider {name!r}; known providers: {known}")
    return provider
