"""A few hundred stalled connections beside traffic, as `python -m tests.bench.stalled` has them. Nothing is timed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COUNT = int(os.environ.get("HOOKLEDGER_TEST_STALLED", "300"))


@pytest.mark.bench
def test_stalled_connections_are_all_closed_cost_little_and_spoil_no_delivery(tmp_path: Path) -> None:
    out = tmp_path / "stalled.json"
    words = ["--connections", str(COUNT), "--rounds", "1", "--seconds", "1", "--deadline", "3", "--store", "sqlite"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.stalled", *words, "--json", str(out)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text())
    (held,) = found["held"]
    assert (held["opened"], held["closed"], held["failed"]) == (COUNT, COUNT, 0)
    told = {"silent": "", "slow header": "408", "slow body": "408"}
    assert held["told"] == {shape: {status: COUNT // 3} for shape, status in told.items()}
    assert found["kib"][0] < 16
    assert min(found["beside"]) > 0
    assert found["kept"]["missing"] == found["kept"]["doubled"] == 0
    assert found["kept"]["acknowledged"] > 0
