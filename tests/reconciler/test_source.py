"""A source at work takes over what its provider knows of its upstream."""

from __future__ import annotations

from pathlib import Path

import pytest

from receiver.config import load_config
from reconciler.clock import LedgerClock
from reconciler.source import Source


@pytest.mark.parametrize(
    ("setting", "budget"), [("", "5/min"), ('budget = "2/min"', "2/min"), ('budget = "5/3s"', "5/3s")]
)
def test_beeble_is_asked_five_times_a_minute_unless_the_source_says_otherwise(
    tmp_path: Path, setting: str, budget: str
) -> None:
    file = tmp_path / "hookledger.toml"
    file.write_text(f'[sources.b]\nprovider = "beeble"\ntrust = "hint"\n{setting}\n', encoding="utf-8")
    source = Source.of(load_config(file, {}), "b", LedgerClock())
    assert str(source.budget) == budget
