"""Where settings come from: the file, the environment, a folder of secrets, and files that hold one secret each.

pydantic-settings' own sources are not used: they read the process's environment alone, guess numbers out of tokens,
pass over misspelled variables, and do not remember which place a wrong value came from.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from receiver.config.collecting import BucketConfig
from receiver.config.errors import ConfigError, line
from receiver.config.sections import DatabaseConfig
from receiver.config.sources import SourceConfig

PREFIX = "HOOKLEDGER_"
DEFAULT_FILE = "hookledger.toml"

_NOT_SETTINGS = frozenset({PREFIX + "CONFIG"})  # names the file itself
_OF_TESTS = PREFIX + "TEST_"  # the test suite's own, inherited by the processes it starts

_LARGEST_SECRET = 64 * 1024  # bytes; anything larger is some other file

# Kubernetes sets these for every Service whose name starts with ours, in every pod of the namespace.
_OF_KUBERNETES = re.compile(r"(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)")
_KUBERNETES_ADDRESS = re.compile(r"(tcp|udp|sctp)://")


@dataclass(slots=True)
class Layer:
    """Settings of one place: nested `values`, and for each path that was set there the name of the place.

    `folder` is what relative file names in it are relative to.
    """

    folder: Path
    values: dict[str, Any] = field(default_factory=dict)
    places: dict[tuple[str, ...], str] = field(default_factory=dict)

    def put(self, path: tuple[str, ...], value: object, place: str) -> None:
        """Set one value; raises ConfigError when a value stands where a table is needed."""
        table = self.values
        for part in path[:-1]:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise ConfigError([line(place, path, "is both a value and a table")])
        table[path[-1]] = value
        self.places[path] = place


def from_file(path: Path) -> Layer:
    """Read a TOML file. Raises ConfigError when it cannot be read or is not TOML."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise ConfigError([f"{path}: is not UTF-8 text; save it as UTF-8"]) from None
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read ({error.strerror}); check the path and its permissions"]) from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError([f"{path}: is not TOML: {error}"]) from None
    return Layer(path.parent, values, {leaf: str(path) for leaf in _leaves(values)})


def _leaves(values: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, value in values.items():
        yield (*above, name)
        if isinstance(value, dict):
            yield from _leaves(value, (*above, name))


def from_environment(env: Mapping[str, str], known_sources: frozenset[str]) -> Layer:
    """Read `HOOKLEDGER_…` variables, `__` between the parts of a name, upper or lower case; empty ones are unset.

    `known_sources` are those of the file: a variable's name cannot hold a dash, so `MY_LAB` also finds `my-lab`.
    Raises ConfigError for variables that name nothing.
    """
    layer = Layer(Path())
    for variable, value in sorted(env.items()):
        name = variable.upper()
        if not name.startswith(PREFIX) or not value or name in _NOT_SETTINGS or name.startswith(_OF_TESTS):
            continue
        rest = name.removeprefix(PREFIX)
        if rest == "SECRETS_DIR":
            rest = "SECRETS__DIR"
        if "__" not in rest:
            if _OF_KUBERNETES.fullmatch(rest) or (rest.endswith("PORT") and _KUBERNETES_ADDRESS.match(value)):
                continue
            raise ConfigError([f"environment {variable}: no such setting; {_with_two_underscores(rest)}"])
        layer.put(setting_path(rest, known_sources), value, f"environment {variable}")
    return layer


def _with_two_underscores(rest: str) -> str:
    section, _, name = rest.partition("_")
    if section in ("DATABASE", "SERVER", "SOURCES", "COLLECT") and name:
        return f"put two underscores between section and name, {PREFIX}{section}__{name}"
    return f"names look like {PREFIX}SERVER__PORT or {PREFIX}SOURCES__CIVITAI__API_KEY"


def setting_path(name: str, known_sources: frozenset[str]) -> tuple[str, ...]:
    """Return the path of `SOURCES__CIVITAI__API_KEY`, the source spelled as the file spells it."""
    parts = tuple(name.lower().split("__"))
    if parts[0] != "sources" or len(parts) < 2 or parts[1] in known_sources:
        return parts
    same = [source for source in known_sources if source.replace("-", "_") == parts[1]]
    return (parts[0], same[0], *parts[2:]) if len(same) == 1 else parts


def from_secrets_folder(folder: Path, place: str, known_sources: frozenset[str]) -> Layer:
    """Read a folder with one file per setting, such as `sources__civitai__api_key`.

    Names that start with a dot are passed over (Kubernetes keeps its own there), and so are names without `__`
    (other programs' secrets). Raises ConfigError when the folder cannot be read.
    """
    layer = Layer(folder)
    try:
        files = sorted(file for file in folder.iterdir() if not file.name.startswith(".") and "__" in file.name)
    except OSError as error:
        wrong = f"cannot be read ({error.strerror}); it must be a folder with files such as sources__civitai__api_key"
        raise ConfigError([line(place, ("secrets", "dir"), wrong, str(folder))]) from None
    for file in files:
        path = setting_path(file.name, known_sources)
        layer.put(path, _read_secret(file, str(file), path), str(file))
    return layer


def read_named_files(layer: Layer) -> None:
    """Replace every `…_file` setting of a layer by the content of the file, in place.

    Raises ConfigError when a file cannot be read or when both the setting and its `…_file` are there.
    """
    database = layer.values.get("database")
    sources = layer.values.get("sources")
    tables: list[tuple[tuple[str, ...], Any, Mapping[str, tuple[str, str]]]] = [
        (("database",), database, DatabaseConfig.FROM_FILES)
    ]
    collect = layer.values.get("collect")
    if isinstance(collect, dict):
        tables.append((("collect", "s3"), collect.get("s3"), BucketConfig.FROM_FILES))
    if isinstance(sources, dict):
        tables += [(("sources", name), table, SourceConfig.FROM_FILES) for name, table in sources.items()]
    for above, table, from_files in tables:
        if not isinstance(table, dict):
            continue
        for name, (setting, _) in from_files.items():
            if name in table:
                _read_named_file(layer, above, table, name, setting)


def _read_named_file(layer: Layer, above: tuple[str, ...], table: dict[str, Any], name: str, setting: str) -> None:
    path = (*above, name)
    place = layer.places.get(path, "configuration")
    if setting in table:
        raise ConfigError([line(place, path, f"{setting} is set too; keep one of the two")])
    if not isinstance(table[name], str):
        raise ConfigError([line(place, path, "must be the name of a file, in quotes")])
    file = layer.folder / Path(table.pop(name)).expanduser()
    text = _read_secret(file, place, path)
    lines = [entry.strip() for entry in text.splitlines() if entry.strip()]
    # One per line where several may be; elsewhere the whole file, so that a second line is noticed.
    table[setting] = lines if setting in ("hook_token", "signing_secrets") else text
    layer.places[(*above, setting)] = f"{place} ({name})"


def _read_secret(file: Path, place: str, path: tuple[str, ...]) -> str:
    try:
        with file.open("rb") as opened:
            content = opened.read(_LARGEST_SECRET + 1)
        text = content.decode("utf-8").strip()
    except UnicodeDecodeError:
        raise ConfigError([line(place, path, "names a file that is not UTF-8 text", str(file))]) from None
    except OSError as error:
        raise ConfigError([line(place, path, f"cannot read {file} ({error.strerror})")]) from None
    if len(content) > _LARGEST_SECRET:
        raise ConfigError([line(place, path, f"{file} is over 64 KiB, too large for a secret")])
    if not text:
        raise ConfigError([line(place, path, f"{file} is empty; put the secret in it")])
    return text


def merged(layers: list[Layer]) -> Layer:
    """Lay one layer over another, the last on top; tables are joined, everything else replaced."""
    result = Layer(Path())
    for layer in layers:
        _lay_over(result.values, layer.values)
        result.places.update(layer.places)
    return result


def _lay_over(below: dict[str, Any], above: Mapping[str, Any]) -> None:
    for name, value in above.items():
        under = below.get(name)
        if isinstance(value, dict) and isinstance(under, dict):
            _lay_over(under, value)
        else:
            below[name] = value
