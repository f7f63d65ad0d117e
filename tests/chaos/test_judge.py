"""The judge must complain: each test shows it one broken promise."""

from dataclasses import replace

import pytest

from tests.chaos.archive import Row
from tests.chaos.judge import judge
from tests.chaos.letter import Letter
from tests.chaos.sink import Arrival

pytestmark = pytest.mark.chaos

YES, OTHER, NO = "yes@example.com", "other@example.com", "no@example.org"
FIRST, SECOND = "01" + "A" * 24, "01" + "B" * 24


class Case:
    """One letter to two who may get it and one who may not; all as it should be."""

    def __init__(self):
        self.letter = Letter("letter-1", (YES, OTHER, NO), b"Hei\r\n", attempts=1)
        self.letter.note([YES, OTHER, NO], f"250 2.0.0 Ok {FIRST}: 2 forwarded, 1 suppressed")
        self.arrivals = [self.arrival(FIRST)]
        self.rows = self.records(FIRST)

    def arrival(self, id_, recipients=(YES, OTHER)):
        return Arrival(id_, "letter-1", recipients, b"X: y\r\n\r\nHei\r\n", True, 0)

    def records(self, id_, result="forwarded"):
        return [
            Row(id_, "letter-1", YES, "forward", result),
            Row(id_, "letter-1", OTHER, "forward", result),
            Row(id_, "letter-1", NO, "suppress", "suppressed" if result else None),
        ]

    def judge(self, **how):
        return judge([self.letter], self.arrivals, self.rows, banned={NO}, **how)

    def complains(self, words, **how):
        findings = self.judge(**how)
        assert any(words in fault for fault in findings.faults), findings.faults
        with pytest.raises(AssertionError):
            findings.check()


@pytest.fixture
def case():
    return Case()


def test_nothing_is_wrong(case):
    assert case.judge().faults == []


def test_a_lost_message(case):
    case.arrivals.clear()
    case.complains("LOST")
    case.complains("UNTRUE")


def test_a_message_lost_for_one_of_two(case):
    case.arrivals[0] = case.arrival(FIRST, (YES,))
    case.complains(f"LOST: letter-1 to {OTHER}")


def test_an_earlier_arrival_does_not_stand_for_the_one_that_was_answered(case):
    case.arrivals[0] = case.arrival(SECOND)
    case.rows += case.records(SECOND, "unknown")
    case.letter.unclear = 1
    case.complains("LOST")


def test_a_banned_arrival(case):
    case.arrivals[0] = case.arrival(FIRST, (YES, OTHER, NO))
    case.complains("LEAK")


def test_a_decision_for_one_who_has_a_ban(case):
    case.rows[2] = replace(case.rows[2], outcome="forward", result="failed")
    case.complains("forward was decided")


def test_an_arrival_nobody_asked_for(case):
    case.arrivals[0] = case.arrival(FIRST, (YES, OTHER, "stranger@example.com"))
    case.complains("whom nobody named")


def test_an_arrival_of_nobodys_letter(case):
    case.arrivals.append(replace(case.arrivals[0], letter="smuggled"))
    case.complains("no letter that was sent")


def test_an_arrival_without_a_record(case):
    del case.rows[0]
    case.complains("without a record")


@pytest.mark.parametrize("result", ["failed", "deferred", "refused", "suppressed", "rejected"])
def test_an_arrival_with_a_false_outcome(case, result):
    case.rows[0] = replace(case.rows[0], result=result)
    case.complains(f"the record says {result}")


def test_an_arrival_by_a_decision_that_was_no_leave(case):
    case.rows[0] = replace(case.rows[0], outcome="hold")
    case.complains("decided was hold")


def test_something_called_forwarded_that_is_not_there(case):
    case.rows += case.records(SECOND)
    case.complains("UNTRUE")


def test_a_body_that_was_altered(case):
    case.arrivals[0] = replace(case.arrivals[0], content=b"X: y\r\n\r\nHej\r\n")
    case.complains("altered")


def test_a_record_without_its_result(case):
    case.rows[0] = replace(case.rows[0], result=None)
    case.complains("no result")
    assert case.judge(crashed=True).faults == []


def test_a_second_copy_that_the_client_had_no_reason_to_ask_for(case):
    case.arrivals.append(case.arrival(SECOND))
    case.rows += case.records(SECOND)
    case.complains("forwarded 2 times")
    case.letter.unclear = 1
    findings = case.judge()
    assert findings.faults == []
    assert findings.counts["duplicates"] == 2


def test_a_second_copy_that_the_gateway_could_not_know_of(case):
    case.arrivals.append(case.arrival(SECOND))
    case.rows += case.records(SECOND, "unknown")
    assert case.judge().faults == []


def test_one_message_handed_over_twice(case):
    case.arrivals.append(case.arrival(FIRST))
    case.letter.unclear = 1
    case.complains("TWICE")


def test_a_reader_refused_for_good(case):
    case.letter.refused[YES] = "550 5.7.1 No"
    case.complains("refused for good")


def test_a_letter_that_is_never_settled(case):
    del case.letter.taken[YES]
    case.complains("nothing final")


def test_records_of_a_stranger(case):
    case.rows.append(Row(FIRST, "", "", "suppress", "suppressed"))
    case.complains("nobody's message")
