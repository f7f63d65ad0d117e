"""`check` and `wash` for text messages: sender, text, quiet hours, numbers as people write them."""

import pytest

from tests.cli.conftest import BY, Place

YES, NO, NEW = "+358401234561", "+358401234562", "+358401234563"
NOON, NIGHT = "2030-11-27T12:00+02:00", "2030-11-27T23:30+02:00"
PROOF = ("--wording", "Text me", "--evidence", "form 1")


def with_route(folder):
    """A place with a route of text messages and quiet hours, its gateway running."""
    route = {
        "name": "campaigns",
        "provider": "twilio",
        "prefix": "/twilio",
        "networks": ["127.0.0.0/8"],
        "kind": "marketing",
        "topic": "newsletter",
        "senders": ["LamisNET", "+358 40 100 0000"],
        "sandbox": "sms.jsonl",
    }
    urgent = {**route, "name": "alarms", "prefix": "/alarms", "urgent": True}
    quiet = {"begins": "21:00", "ends": "08:00"}
    sms = {"listen": ["127.0.0.1:0"], "routes": [route, urgent], "quiet": quiet}
    return Place(folder, sms=sms)


@pytest.mark.slow
def test_check_and_wash_decide_as_the_route_would(tmp_path):
    place = with_route(tmp_path)
    place.run_gateway()
    try:
        place.good("register", "consent", YES, *BY, *PROOF)
        place.good("register", "ban", NO, *BY)
        _check(place)
        _wash(place)
        place.stop_gateway()
    finally:
        place.clean_up()


def _check(place: Place) -> None:
    day = ("--route", "campaigns", "--at", NOON)
    assert place.outcome(YES, *day) == (0, "forward", "R40")
    assert place.outcome(NO, *day, "--channel", "sms") == (1, "suppress", "R11")
    assert place.outcome(NEW, *day) == (1, "suppress", "R49")
    # The sender, in any letter case or notation; nothing was named: `default` is not ours.
    assert place.outcome(YES, *day, "--sender", "lamisnet") == (0, "forward", "R40")
    assert place.outcome(YES, *day, "--sender", "+358401000000") == (0, "forward", "R40")
    assert place.outcome(YES, *day, "--sender", "Postilaatikko") == (1, "suppress", "R02")
    assert place.outcome(YES, *day, "--sender", "") == (1, "suppress", "R02")
    service = ("--kind", "service", "--sender", "Postilaatikko")
    assert place.outcome(YES, *day, *service) == (1, "hold", "R03")
    # The text.
    assert place.outcome(YES, *day, "--text", "Ale! Lopeta: STOP") == (0, "forward", "R40")
    assert place.outcome(YES, *day, "--text", "Ale!") == (1, "suppress", "R16")
    # Quiet hours, by the clock of the number's country.
    night = ("--route", "campaigns", "--at", NIGHT)
    done = place("check", YES, *night, "--json")
    assert (done.rows[0]["outcome"], done.rows[0]["rule"]) == ("defer", "Q1")
    assert done.rows[0]["quiet_until"] == "2030-11-28T06:00:00+00:00"
    assert "quiet there until 2030-11-28T06:00:00" in place("check", YES, *night).out
    assert place.outcome(YES, "--at", NIGHT) == (1, "defer", "Q1")
    assert place.outcome(NO, *night) == (1, "suppress", "R11")
    assert place.outcome(YES, "--route", "alarms", "--at", NIGHT) == (0, "forward", "R40")
    # What cannot be asked.
    assert "--route nobody: not among" in place.refused("check", YES, "--route", "nobody")
    assert "--sender" in place.refused("check", YES, "--sender", "LamisNET")
    assert "text messages only" in place.refused("check", "a@example.com", "--at", NOON)
    assert "not a time" in place.refused("check", YES, "--route", "campaigns", "--at", "noon")


def _wash(place: Place) -> None:
    source = place.folder / "numbers.csv"
    source.write_text(
        "name,puhelin\n"
        "One,+358 40 123 4561\n"
        "Two,040 1234562\n"
        "Three,(040) 123-4563\n"
        "Four,+358401234561\n"
        "Five,040 1234561\n"
        "Six,12345\n"
        "Seven,yes@example.com\n"
    )
    told = ("wash", source, "--route", "campaigns", "--region", "FI", "--json")
    [row] = place.good(*told, "--at", NOON, status=1).rows
    assert (row["may_go"], row["may_not_go"], row["unreadable"]) == (3, 2, 2)
    assert row["rules"] == {"R40": 3, "R11": 1, "R49": 1}
    go = (place.folder / "numbers.may-go.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in go] == ["name", "One", "Four", "Five"]
    [row] = place.good(*told, "--at", NIGHT, status=1).rows
    assert row["rules"] == {"Q1": 3, "R11": 1, "R49": 1}
    assert row["may_go"] == 0
    [row] = place.good(*told, "--at", NOON, "--sender", "Muu", status=1).rows
    assert row["rules"] == {"R02": 5}
    # Without a route the message is taken as faultless, as before.
    sms = ("wash", source, "--channel", "sms", "--region", "FI", "--json")
    [row] = place.good(*sms, status=1).rows
    assert row["may_go"] == 3


def test_an_imported_list_of_numbers_in_many_notations_is_one_register(running):
    file = running.folder / "import.csv"
    file.write_text("phone,ban\n+358 40 999 0001,all\n040 9990002,sms\n00358 40 999 0003,all\n")
    running.good("register", "import", file, *BY, "--region", "FI")
    for number, rule in (("1", "R11"), ("2", "R12"), ("3", "R11")):
        assert running.outcome(f"+35840999000{number}") == (1, "suppress", rule)
