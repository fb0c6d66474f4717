"""The readers' bench in a tiny form: every list, filter and page is answered, and every delivery beside them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.asking import EVERYTHING

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.bench
@pytest.mark.timeout(200)
@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_readers_are_answered_beside_deliveries(store: str, tmp_path: Path) -> None:
    out = tmp_path / "readers.json"
    sizes = ["--workflows", "2000", "--seconds", "6", "--rate", "60", "--deliveries", "50"]
    command = [sys.executable, "-m", "tests.bench.readers", "--store", store, *sizes, "--json", str(out)]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(out.read_text())
    assert told["statuses"].keys() == {"200"}
    assert told["wrong"] == {}
    assert len(told["took"]) > len(EVERYTHING) / 2, "hardly any question was asked"
    assert "deliveries: p99, ms" in done.stdout
