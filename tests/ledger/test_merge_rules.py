"""The rules of the merge one by one (R2-R9, R12), as short stories: what came, when, and what is true after it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime

from receiver.ledger.merge import merge, merge_gone, new_state
from receiver.ledger.nodes import Evidence, Merged
from receiver.ledger.records import BlobSeen, EvidenceKind, Level, Observation, Reading, Trust
from receiver.ledger.states import Status
from tests.ledger.histories import at


def workflow(status=None, upstream=None, **more):
    known = Status(status) if status in set(Status) else None
    return Observation(Level.WORKFLOW, status=known, word=status, upstream_at=_at(upstream), **more)


def step(name, status=None, upstream=None, **more):
    return Observation(Level.STEP, name, status=Status(status), word=status, upstream_at=_at(upstream), **more)


def job(name, status, step="$0", **more):
    return Observation(Level.JOB, name, step, Status(status), status, **more)


def _at(second) -> datetime | None:
    return None if second is None else at(second)


@dataclass
class Story:
    """A workflow under the merge; each call is one piece of evidence at that second of our clock."""

    trust: Trust = Trust.TOKEN
    count: int = 0
    happened: list[Merged] = field(default_factory=list)

    def __post_init__(self):
        self.state = new_state("civ", "wf", at(0), "delivery")

    def event(self, second, *seen, recorded=None, blobs=(), again=False, **more):
        reading = Reading("wf", seen, tuple(blobs), **more)
        facts = self._facts(EvidenceKind.DELIVERY, second, recorded, "delivery", self.trust, None)
        return self._done(merge(self.state, reading, replace(facts, fresh=not again)))

    def look(self, second, *seen, date="same", recorded=None, blobs=(), complete=True):
        reading = Reading("wf", seen, tuple(blobs), snapshot=True, complete=complete)
        instant = second if date == "same" else date
        facts = self._facts(EvidenceKind.FETCH, second, recorded, "look", None, _at(instant))
        return self._done(merge(self.state, reading, facts))

    def gone(self, second):
        facts = self._facts(EvidenceKind.FETCH, second, None, "look", None, at(second))
        return self._done(merge_gone(self.state, facts))

    def _facts(self, kind, second, recorded, via, trust, date):
        self.count += 1
        return Evidence(f"e{self.count}", kind, at(second), at(recorded or second), via, trust, date)

    def _done(self, merged):
        self.happened.append(merged)
        return merged

    @property
    def status(self):
        return self.state.node.status.value

    def kinds(self):
        return [(t.level.value, t.from_status, t.to_status, t.kind.value) for m in self.happened for t in m.transitions]


def test_an_event_moves_forward_and_a_late_one_moves_nothing():
    story = Story()
    story.event(1, workflow("processing"))
    story.event(2, workflow("scheduled"))
    assert story.status == "processing"
    assert story.kinds() == [("workflow", None, "processing", "applied")]


def test_of_preparing_and_scheduled_the_newer_wins_by_upstreams_clock_and_scheduled_without_one():
    story = Story()
    story.event(1, workflow("scheduled", 10))
    story.event(2, workflow("preparing", 9))
    assert story.status == "scheduled"
    story.event(3, workflow("preparing", 11))
    assert story.status == "preparing"
    unstamped = Story()
    unstamped.event(1, workflow("scheduled"))
    unstamped.event(2, workflow("preparing"))
    assert unstamped.status == "scheduled"
    unstamped.look(10, workflow("preparing"))
    assert unstamped.status == "preparing"


def test_a_look_corrects_a_status_backward_only_if_it_is_newer_by_more_than_two_seconds():
    story = Story()
    story.event(10, workflow("processing"))
    story.look(11, workflow("scheduled"), date=None)
    assert story.status == "processing"
    story.look(12.5, workflow("scheduled"), date=None)
    assert story.status == "scheduled"
    assert story.kinds()[-1] == ("workflow", "processing", "scheduled", "corrected")


def test_upstreams_clocks_compare_too_when_ours_cannot_tell():
    story = Story()
    story.event(10, workflow("processing", upstream=3))
    story.look(11, workflow("scheduled"), date=6)
    assert story.status == "scheduled"


def test_an_older_snapshot_that_comes_later_moves_nothing_backward():
    story = Story()
    story.look(20, workflow("processing"))
    story.look(10, workflow("scheduled"), recorded=21)
    assert story.status == "processing"


def test_an_event_provably_older_than_the_snapshot_fills_fields_but_moves_no_status():
    story = Story()
    story.look(20, workflow("scheduled"))
    story.event(21, workflow("processing", upstream=10, started_at=at(10)))
    assert story.status == "scheduled"
    assert story.state.node.started_at == at(10)
    disputed = story.event(22, workflow("succeeded", upstream=11))
    assert story.status == "scheduled", "an ending that the look should have shown"
    assert disputed.doubt, "makes a look due"


def test_an_instant_more_than_five_minutes_ahead_orders_nothing():
    story = Story()
    story.event(1, workflow("scheduled", upstream=1000))
    story.event(2, workflow("preparing", upstream=5))
    assert story.status == "scheduled"
    assert story.state.node.status_at is None


def test_a_token_ending_is_provisional_and_a_signed_one_is_confirmed_at_once():
    for trust, confirmed in ((Trust.TOKEN, None), (Trust.SIGNED, at(5))):
        story = Story(trust)
        story.event(5, workflow("succeeded"))
        assert (story.status, story.state.node.confirmed_at) == ("succeeded", confirmed)


def test_a_look_that_agrees_confirms_and_one_that_names_another_ending_retracts():
    story = Story()
    story.event(5, workflow("failed", facts={"reason": "forged", "error": {"code": "x"}}))
    story.look(10, workflow("succeeded"))
    node = story.state.node
    assert (node.status, node.confirmed_at, node.reason) == (Status.SUCCEEDED, at(10), None)
    assert story.state.about.get("error") is None
    assert story.kinds()[-1] == ("workflow", "failed", "succeeded", "retracted")


def test_two_looks_thirty_seconds_apart_that_show_it_alive_retract_a_provisional_ending():
    story = Story()
    story.event(5, workflow("succeeded"))
    story.look(6, workflow("processing"))
    assert story.state.node.alive_since is None, "concurrent with the ending: says nothing"
    story.look(10, workflow("processing"))
    story.look(39, workflow("processing"))
    assert story.status == "succeeded", "may still be one stale replica"
    story.look(40, workflow("processing"))
    assert story.status == "processing"
    assert story.kinds()[-1][3] == "retracted"
    story.event(50, workflow("succeeded"))
    assert story.status == "succeeded", "the true ending is welcome afterwards"


def test_nothing_moves_a_confirmed_ending_and_each_dispute_is_recorded_once():
    story = Story()
    story.look(5, workflow("succeeded"))
    for second in (10, 11):
        disputed = story.event(second, workflow("failed", facts={"reason": "forged"}))
    assert story.status == "succeeded"
    assert story.state.node.reason is None, "a disputed event's fields are not believed"
    assert [k[3] for k in story.kinds()].count("contradiction") == 1
    assert not disputed.doubt, "the repetition asks nobody"
    contested = story.look(60, workflow("failed"))
    assert contested.contested, "a look against a confirmed ending is a person's business"
    story.look(100, workflow("processing"))
    assert story.status == "succeeded"


def test_two_signed_endings_the_first_stays():
    story = Story(Trust.SIGNED)
    story.event(5, workflow("canceled"))
    assert story.event(6, workflow("succeeded")).contested
    assert story.status == "canceled"


def test_alive_after_its_end_by_upstreams_own_clock_is_a_dispute_and_merely_late_is_not():
    story = Story(Trust.SIGNED)
    story.event(5, workflow("succeeded", upstream=5))
    assert not story.event(6, workflow("processing", upstream=4)).doubt
    assert story.event(7, workflow("processing", upstream=60)).doubt


def test_an_unknown_word_keeps_the_status_shows_the_word_and_asks():
    story = Story()
    story.event(1, workflow("processing"))
    asked = story.event(2, workflow("daydreaming"))
    node = story.state.node
    assert (node.status, node.upstream_status, asked.doubt) == (Status.PROCESSING, "daydreaming", True)


def test_a_childs_event_makes_its_parents_and_lifts_nothing():
    story = Story()
    story.event(1, job("j1", "processing"))
    assert story.status == "unassigned"
    assert story.state.steps["$0"].status is Status.UNASSIGNED
    assert story.state.jobs["j1"].status is Status.PROCESSING
    story.event(2, job("j1", "failed"))
    assert story.state.steps["$0"].status is Status.UNASSIGNED, "upstream races providers"


def test_null_erases_nothing_and_the_newest_value_wins():
    story = Story()
    story.event(1, step("$0", "processing", facts={"output": {"n": 1}, "priority": "low"}))
    story.event(2, step("$0", "succeeded", facts={"output": {"n": 2}, "priority": None}))
    story.event(3, step("$0", "processing", facts={"output": {"n": 0}, "timeout": "x"}))
    facts = story.state.steps["$0"].facts
    assert facts == {"output": {"n": 2}, "priority": "low", "timeout": "x"}


def test_progress_only_grows_except_that_a_look_or_an_ending_sets_it():
    story = Story()
    story.event(1, workflow("processing", progress=0.5))
    story.event(2, workflow("processing", progress=0.3))
    assert story.state.node.progress == 0.5
    story.look(10, workflow("processing", progress=0.4))
    assert story.state.node.progress == 0.4
    story.event(11, workflow("failed", progress=0.2))
    assert story.state.node.progress == 0.2


def open_child_under(ending):
    story = Story()
    story.look(10, workflow(ending, completed_at=at(9)), step("$0", "processing"), job("j1", "scheduled"))
    return story


def test_open_children_are_inferred_only_by_a_look_made_thirty_seconds_after_the_end():
    story = open_child_under("failed")
    story.look(30, workflow("failed"), step("$0", "processing"))
    assert story.state.steps["$0"].status is Status.PROCESSING
    story.look(40, workflow("failed"), step("$0", "processing"))
    step_0, job_1 = story.state.steps["$0"], story.state.jobs["j1"]
    assert (step_0.status, step_0.inferred_from) == (Status.FAILED, Status.PROCESSING)
    assert (job_1.status, job_1.inferred_from, job_1.confirmed_at) == (Status.CANCELED, Status.SCHEDULED, None)
    assert story.kinds()[-1] == ("job", "scheduled", "canceled", "inferred")


def test_the_upstreams_clock_suffices_to_see_that_the_end_was_long_ago():
    story = Story()
    story.look(100, workflow("succeeded", completed_at=at(50)), step("$0", "processing"), job("j1", "processing"))
    assert story.state.steps["$0"].status is Status.SUCCEEDED
    assert story.state.jobs["j1"].status is Status.CANCELED


def test_evidence_that_names_an_inferred_child_replaces_the_inference():
    story = open_child_under("failed")
    story.look(45, workflow("failed"))
    story.event(50, job("j1", "processing"))
    assert story.state.jobs["j1"].status is Status.FAILED, "further along than known: drawn again"
    story.event(51, job("j1", "succeeded"))
    assert story.state.jobs["j1"].status is Status.SUCCEEDED
    assert story.state.jobs["j1"].inferred_from is None
    story.look(60, workflow("failed"), step("$0", "expired"))
    assert (story.state.steps["$0"].status, story.state.steps["$0"].confirmed_at) == (Status.EXPIRED, at(60))


def test_inferences_are_taken_back_with_the_ending_they_were_drawn_from():
    story = Story()
    story.event(5, workflow("canceled"), step("$0", "processing"))
    story.gone(40)
    assert story.state.steps["$0"].status is Status.CANCELED
    assert story.state.vanished_at == at(40)
    story.look(50, workflow("processing"))
    story.look(90, workflow("processing"))
    assert (story.status, story.state.steps["$0"].status) == ("processing", Status.PROCESSING)


def test_a_404_leaves_an_ending_unconfirmed_unless_the_workflow_was_ephemeral():
    story = Story()
    story.event(5, workflow("succeeded"))
    story.gone(7)
    assert (story.state.node.confirmed_at, story.state.vanished_at) == (None, at(7))
    ephemeral = Story()
    ephemeral.event(5, workflow("succeeded"), ephemeral=True)
    ephemeral.gone(7)
    assert (ephemeral.state.node.confirmed_at, ephemeral.state.vanished_at) == (at(7), None)


def test_a_404_changes_no_status_of_a_living_workflow():
    story = Story()
    story.event(5, workflow("processing"))
    story.gone(50)
    assert story.status == "processing"


def seen(url, second=600, available=True, **more):
    return BlobSeen("b1", "image", "$0", available=available, url=url, url_expires_at=at(second), **more)


def test_a_blobs_link_follows_the_newest_look_and_an_event_only_brings_what_the_look_had_not():
    story = Story()
    story.event(1, workflow("processing"), blobs=[seen("https://x.test/event")])
    assert story.state.blobs["b1"].url_confirmed is False, "never served (R17)"
    story.look(5, workflow("processing"), blobs=[seen(None, available=False)])
    assert story.state.blobs["b1"].url is None
    story.event(6, workflow("processing"), blobs=[seen("https://x.test/event")])
    assert story.state.blobs["b1"].url == "https://x.test/event"
    story.look(10, workflow("processing"), blobs=[seen("https://x.test/look")])
    story.event(11, workflow("processing"), blobs=[seen("https://x.test/forged", second=9000)])
    blob = story.state.blobs["b1"]
    assert (blob.url, blob.url_confirmed) == ("https://x.test/look", True)
    story.look(20, workflow("processing"), blobs=[seen(None, available=True, hidden=True)])
    assert story.state.blobs["b1"].url == "https://x.test/look", "a listing that hides content downgrades nothing"


def test_a_blob_that_only_a_forged_delivery_named_is_forgotten_by_the_whole_look():
    story = Story()
    story.event(1, workflow("succeeded"), blobs=[seen("https://evil.test/x")])
    story.look(5, workflow("succeeded"))
    assert story.state.blobs == {}
    assert story.state.dropped_blobs == ["b1"]


def test_a_late_event_under_a_vanished_workflow_is_concluded_at_once():
    story = Story()
    story.event(5, workflow("failed"))
    story.gone(40)
    story.event(50, job("late", "processing", step=None))
    child = story.state.jobs["late"]
    assert (child.status, child.inferred_from) == (Status.FAILED, Status.PROCESSING)
    story.event(51, job("late", "succeeded", step=None))
    assert (child.status, child.inferred_from) == (Status.SUCCEEDED, None)
