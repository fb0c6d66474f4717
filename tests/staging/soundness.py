"""What must hold of any ledger at any time, whatever was killed while writing it; read from the tables as they are."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from hashlib import sha256
from typing import Any

from sqlalchemy import select

from receiver.ledger.database import Database
from receiver.ledger.tables import checks, delivery_keys, evidence, jobs, steps, transitions, workflows
from tests.staging.traffic import Sent


async def rows(database: Database, table: Any) -> list[Any]:
    """Return every row of a table."""
    async with database.read() as connection:
        return list(await connection.execute(select(table)))


async def unsound(database: Database) -> list[str]:
    """Return a sentence for everything that is half done or done twice; none when all is well.

    Evidence and transitions are numbered without a gap, and as far as their workflow says; each transition has its
    evidence; the transitions of a node lead from one status to the next and end where it is; each delivery has one key.
    """
    flows = {row.pk: row for row in await rows(database, workflows)}
    proof = await rows(database, evidence)
    moves = sorted(await rows(database, transitions), key=lambda row: (row.workflow, row.seq))
    return [
        *_gaps("evidence", flows, [row for row in proof if row.workflow is not None], "evidence_seq"),
        *_gaps("transition", flows, moves, "transition_seq"),
        *_unproven(proof, moves),
        *_broken_chains(moves, await _nodes(database, flows)),
        *_keyless(proof, await rows(database, delivery_keys)),
        *(f"check {row.id} is of no workflow" for row in await rows(database, checks) if row.workflow not in flows),
    ]


def _gaps(what: str, flows: dict[int, Any], numbered: Iterable[Any], counter: str) -> list[str]:
    numbers: dict[int, list[int]] = defaultdict(list)
    for row in numbered:
        numbers[row.workflow].append(row.seq)
    wrong = [f"{what} of unknown workflow {pk}" for pk in numbers.keys() - flows.keys()]
    for pk, flow in flows.items():
        last = getattr(flow, counter)
        if sorted(numbers[pk]) != list(range(1, last + 1)):
            wrong.append(f"{what} of {flow.id}: numbers {sorted(numbers[pk])}, the last should be {last}")
    return wrong


def _unproven(proof: list[Any], moves: list[Any]) -> list[str]:
    places = {row.id: row.workflow for row in proof}
    wrong = [f"evidence {name} stands twice" for name, n in Counter(row.id for row in proof).items() if n > 1]
    wrong += [
        f"transition {move.workflow}/{move.seq}: its evidence {move.evidence} is not there"
        for move in moves
        if places.get(move.evidence) != move.workflow
    ]
    wrong += [
        f"evidence {row.id}: its body is not what its hash says"
        for row in proof
        if row.body is not None and row.body_sha256 and sha256(bytes(row.body)).hexdigest() != row.body_sha256
    ]
    return wrong


async def _nodes(database: Database, flows: dict[int, Any]) -> dict[tuple[Any, ...], str]:
    found = {(pk, row.run, "workflow", ""): row.status for pk, row in flows.items()}
    for level, table in (("step", steps), ("job", jobs)):
        found |= {(row.workflow, row.run, level, row.key): row.status for row in await rows(database, table)}
    return found


def _broken_chains(moves: list[Any], nodes: dict[tuple[Any, ...], str]) -> list[str]:
    at: dict[tuple[Any, ...], str] = {}
    wrong = []
    for move in moves:
        if move.kind == "contradiction":
            continue
        node = (move.workflow, move.run, move.level, move.key)
        if move.from_status != at.get(node) and (node in at or move.from_status != "unassigned"):
            wrong.append(f"transition {move.seq} of {node} leads from {move.from_status}, but it was {at.get(node)}")
        if move.to_status == at.get(node):
            wrong.append(f"transition {move.seq} of {node} is there twice: {move.to_status}")
        at[node] = move.to_status
    wrong += [f"{node} is {status}, its transitions end at {at[node]}" for node, status in nodes.items()
              if node in at and at[node] != status]  # fmt: skip
    wrong += [f"{node} is {status} without any transition" for node, status in nodes.items()
              if node not in at and status != "unassigned"]  # fmt: skip
    return wrong


def _keyless(proof: list[Any], keys: list[Any]) -> list[str]:
    deliveries = {row.id for row in proof if row.kind == "delivery"}
    held = [row.evidence for row in keys]
    wrong = [f"delivery {name} has no key" for name in deliveries - set(held)]
    wrong += [f"a key refers to {name}, which is no delivery" for name in set(held) - deliveries]
    return wrong + [f"delivery {name} has {n} keys" for name, n in Counter(held).items() if n > 1]


async def lost_or_doubled(database: Database, sent: list[Sent]) -> list[str]:
    """Return a sentence for every delivery answered 200 that is not stored exactly once under the name it was given."""
    by_hash: dict[str, list[Any]] = defaultdict(list)
    for row in await rows(database, evidence):
        if row.kind == "delivery":
            by_hash[row.body_sha256].append(row)
    counts = {row.evidence: row.count for row in await rows(database, delivery_keys)}
    wrong = []
    for one in sent:
        found = by_hash[sha256(one.body).hexdigest()]
        if one.names and len(found) != 1:
            wrong.append(f"{one.body!r} was answered {one.names} and is stored {len(found)} times")
        elif len(found) > 1:
            wrong.append(f"{one.body!r} was never answered and is stored {len(found)} times")
        for row in found:
            if {row.id, *one.names} != {row.id} or (bytes(row.body), row.workflow_id) != (one.body, one.workflow_id):
                wrong.append(f"{one.body!r} was answered {one.names} and is stored as {row.id}: {row.body!r}")
            if not len(one.names) <= counts.get(row.id, 0) <= one.tries:
                wrong.append(
                    f"{one.body!r} is counted {counts.get(row.id)} times, answered {len(one.names)}, sent {one.tries}"
                )
    return wrong
