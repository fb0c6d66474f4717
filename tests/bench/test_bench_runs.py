"""The bench's quick form, as a person would run it. It asserts nothing about time: that is for people to read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bench.contenders import CONTENDERS

ROOT = Path(__file__).resolve().parents[2]
TITLES = (
    "Deliveries", "What a delivery costs", "Memory of the server", "Latency at fixed rates", "Growth", "Reconcile",
    "Bounds",
)  # fmt: skip
# One of each sort: the others differ from these by an option.
CHOSEN = ("bare", "no-store", "sqlite", "sqlite-single", "postgresql", "postgresql-2", "replays", "pgbench", "orm")
STORED = [name for name in CHOSEN if CONTENDERS[name].keeps in ("ledger", "peer")]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """What the quick form printed, and what it wrote."""
    out = tmp_path_factory.mktemp("bench") / "bench.json"
    command = [sys.executable, "-m", "tests.bench", "--quick", "--only", *CHOSEN, "--json", str(out)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        printed, errors = process.communicate(timeout=500)
    except BaseException:
        process.terminate()  # killed, it would leave all its programs behind
        process.wait(60)
        raise
    assert process.returncode == 0, printed + errors
    return printed, json.loads(out.read_text())


@pytest.mark.bench
@pytest.mark.timeout(600)
def test_the_bench_measures_every_contender_in_every_round(told: tuple[str, dict[str, Any]]) -> None:
    printed, found = told
    assert set(found["contenders"]) == set(CHOSEN)
    assert {len(one["rounds"]) for one in found["contenders"].values()} == {found["plan"]["rounds"]}
    assert set(found["reconcile"]) == {"sqlite", "postgresql"}
    assert all(one["sound"] for one in found["reconcile"].values())
    for title in TITLES:
        assert title in printed
    assert "Burst on hookledger serve, PostgreSQL" in printed
    assert "WRONG" not in printed
    assert all(len(one["ratios"]) == found["plan"]["rounds"] for one in found["bounds"])


@pytest.mark.bench
@pytest.mark.timeout(600)
def test_every_delivery_the_bench_got_a_200_for_is_stored_once(told: tuple[str, dict[str, Any]]) -> None:
    _, found = told
    for name in STORED:
        kept = found["contenders"][name]["kept"]
        statuses = [one["load"]["statuses"] for one in found["contenders"][name]["rounds"]]
        assert kept["sound"], kept
        assert kept["acknowledged"] == sum(each.get("200", 0) for each in statuses) > 0
        copies = CONTENDERS[name].copies
        assert (kept["bodies"] < kept["acknowledged"]) is (copies > 0), "the traffic must hold its share of copies"


@pytest.mark.bench
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("bench", "says"),
    [("turning", "deliveries of 300 jobs at once"), ("rejecting", "wrong signature")],
)
def test_the_smaller_benches_run(bench: str, says: str) -> None:
    command = [sys.executable, "-m", f"tests.bench.{bench}", "--rounds", "1"]
    command += ["--requests", "400"] if bench == "rejecting" else []
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        printed, errors = process.communicate(timeout=250)
    except BaseException:
        process.terminate()
        process.wait(60)
        raise
    assert process.returncode in (0, 1), printed + errors  # 1: slower than its bound, which is for people to read
    assert says in printed
