"""R7: the newest that evidence says of a field stands; an answer that an ending has overtaken disputes nothing."""

from __future__ import annotations

import pytest

from receiver.ledger.records import BlobSeen, Level, Trust
from receiver.ledger.states import Status
from tests.ledger.applying import answer, claim_named, delivery, loaded, put, saw
from tests.ledger.histories import at
from tests.ledger.test_merge_rules import Story, job, step, workflow


def said(what):
    return {"facts": {"output": what}}


def output(story):
    return story.state.steps["$0"].facts["output"]


def test_a_delivery_that_comes_again_takes_back_nothing_that_was_told_since():
    story = Story()
    story.event(1, step("$0", "processing", **said("first")))
    story.event(2, step("$0", "processing", **said("second")))
    story.event(1, step("$0", "processing", facts={"output": "first", "priority": "low"}), recorded=30, again=True)
    assert story.state.steps["$0"].facts == {"output": "second", "priority": "low"}, "it only fills what is missing"


def test_a_delivery_nobody_could_read_before_says_all_it_has_to_say_when_it_comes_again():
    story = Story()
    story.event(1, step("$0", "processing", **said("half")))
    story.event(2, step("$0", "succeeded", **said("whole")), recorded=30, again=True)
    assert (story.state.steps["$0"].status, output(story)) == (Status.SUCCEEDED, "whole")


def test_of_two_events_of_one_status_the_newer_by_upstreams_clock_is_believed_in_either_order():
    for arrived in (("old", "new"), ("new", "old")):
        story = Story()
        for second, what in enumerate(arrived):
            story.event(second, step("$0", "processing", {"old": 5, "new": 9}[what], **said(what)))
        assert output(story) == "new"


def test_without_upstreams_clock_what_was_received_first_is_older_whenever_it_is_applied():
    story = Story()
    story.event(5, step("$0", "processing", **said("new")))
    story.event(3, step("$0", "processing", **said("old")), recorded=30)
    assert output(story) == "new"


def test_an_event_older_than_the_look_does_not_raise_the_progress_that_the_look_has_set():
    story = Story()
    story.look(20, workflow("processing", progress=0.2))
    story.event(10, workflow("processing", progress=0.7), recorded=21)
    assert story.state.node.progress == 0.2


def test_what_an_older_event_tells_of_a_file_fills_gaps_and_replaces_nothing():
    story = Story()
    story.look(20, workflow("succeeded"), blobs=[BlobSeen("b", "video", "$0", media_expires_at=at(900))])
    story.event(10, workflow("succeeded"), recorded=21, blobs=[BlobSeen("b", "image", "$1", "j1")])
    blob = story.state.blobs["b"]
    assert (blob.type, blob.step, blob.job, blob.media_expires_at) == ("video", "$0", "j1", at(900))


@pytest.mark.parametrize("sent", [3, 5, 7])
def test_a_look_that_was_under_way_when_a_signed_ending_came_disputes_nothing(sent):
    story = Story(Trust.SIGNED)
    story.event(5, workflow("succeeded", **said("whole")))
    asked = story.look(sent, workflow("processing", **said("half")), date=None, recorded=8)
    assert (asked.transitions, asked.doubt, asked.contested) == ([], False, False)
    assert story.state.node.facts["output"] == "whole", "and what it shows is older than the ending"


def test_a_look_sent_well_after_a_confirmed_ending_that_shows_it_alive_is_a_dispute():
    story = Story(Trust.SIGNED)
    story.event(5, workflow("succeeded"))
    assert story.look(7.5, workflow("processing"), date=None).contested


def test_a_look_that_shows_a_child_less_far_along_than_a_concurrent_event_replaces_nothing_of_it():
    story = Story()
    story.event(10, job("j1", "processing", facts={"cost": 2}))
    story.look(11, job("j1", "scheduled", facts={"cost": 1, "queue_position": 4}), date=None)
    assert story.state.jobs["j1"].facts == {"cost": 2, "queue_position": 4}


def test_an_event_that_repeats_the_status_is_news_of_it_and_a_look_sent_before_does_not_move_it_back():
    for look_first in (False, True):
        story = Story()
        story.event(1, workflow("processing"))
        for turn in (0, 1):
            if look_first == (turn == 0):
                story.look(10, workflow("scheduled"), date=None, recorded=13)
            else:
                story.event(12, workflow("processing"))
        assert story.status == "processing", "received after the look was sent"


def test_of_looks_a_moment_apart_the_one_sent_last_is_believed():
    story = Story()
    story.event(9.5, workflow("processing"))
    story.look(10, workflow("processing"), date=None)
    story.look(11, workflow("scheduled"), date=None)
    assert story.status == "scheduled"


async def test_an_answers_date_far_ahead_of_every_clock_orders_nothing(database):
    """An upstream whose clock is a day ahead: neither later news is older than its answer, nor any end long ago."""
    await put(database, delivery(1, saw("processing"), saw("processing", Level.STEP, "$0")))
    claimed = await claim_named(database, "wf", 10)
    seen = answer(10, claimed, saw("processing"), saw("processing", Level.STEP, "$0"))
    seen.http_date = at(86_400)
    await put(database, seen, now=10)
    await put(database, delivery(20, saw("succeeded", upstream_at=at(19))), now=20)
    state = await loaded(database)
    assert (state.node.status, state.node.look_date) == (Status.SUCCEEDED, None)
