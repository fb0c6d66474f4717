"""Providers by name: our own, and those that other packages bring along (entry points of the group GROUP).

Installed packages are searched only when a name is asked for that is none of ours, or when all names are; a package's
code runs when its provider is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from receiver.providers.advice import ErrorTable
from receiver.providers.base import Habits, Provider

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "hookledger.providers"
_METHODS = tuple(name for name, value in vars(Provider).items() if callable(value) and not name.startswith("_"))


class BrokenProvider(ValueError):
    """A package offers a provider that cannot be used; the message names both and says what is wrong."""


class Registry(Mapping[str, Provider]):
    """Every provider there is. Ours come first: nobody takes their names.

    Looking up a provider of another package raises BrokenProvider when that cannot be loaded, is no provider, or when
    two packages offer the name.
    """

    def __init__(self, own: Iterable[Provider]) -> None:
        self._known: dict[str, Provider] = {provider.name: provider for provider in own}
        self._offered: dict[str, list[EntryPoint]] | None = None

    def __getitem__(self, name: str) -> Provider:
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = _loaded(name, self._offers()[name])
        return known

    def __contains__(self, name: object) -> bool:
        return name in self._known or name in self._offers()

    def __iter__(self) -> Iterator[str]:
        yield from dict.fromkeys((*self._known, *self._offers()))

    def __len__(self) -> int:
        return len({*self._known, *self._offers()})

    def _offers(self) -> dict[str, list[EntryPoint]]:
        if self._offered is None:
            from importlib.metadata import entry_points  # half as much to import as all of this package

            found: dict[str, list[EntryPoint]] = {}
            for point in entry_points(group=GROUP):
                found.setdefault(point.name, []).append(point)
            self._offered = found
        return self._offered


def _loaded(name: str, points: list[EntryPoint]) -> Provider:
    named = " and ".join(sorted({_described(point) for point in points}))
    if len(points) > 1:
        raise BrokenProvider(f"the provider {name!r} is offered more than once, by {named}; uninstall all but one")
    try:
        found = points[0].load()
        provider = found() if isinstance(found, type) else found
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        raise BrokenProvider(f"the provider {name!r} of {named} cannot be loaded: {said}") from error
    problem = _problem(name, provider)
    if problem is not None:
        raise BrokenProvider(f"the provider {name!r} of {named} cannot be used: {problem}")
    usable: Provider = provider
    return usable


def _described(point: EntryPoint) -> str:
    package = f"{point.dist.name} {point.dist.version}" if point.dist is not None else "a package without metadata"
    return f"{package} ({point.value})"


def _problem(name: str, provider: Any) -> str | None:
    """Say what a provider lacks, None when it has all that `base.Provider` asks for."""
    if getattr(provider, "name", None) != name:
        return f"its `name` is {getattr(provider, 'name', None)!r}, and must be that of its entry point"
    if not isinstance(getattr(provider, "habits", None), Habits):
        return "its `habits` must be a receiver.providers.base.Habits"
    if not isinstance(getattr(provider, "errors", None), ErrorTable):
        return "its `errors` must be a receiver.providers.advice.ErrorTable"
    missing = [method for method in _METHODS if not callable(getattr(provider, method, None))]
    return f"it has no method {', '.join(missing)}" if missing else None
