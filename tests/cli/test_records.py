"""`records …` and `held …`: what went, what did not, what waits for a person."""

import pytest

from tests.cli.conftest import BY, place_in
from tests.peers.house import INVOICE, MAILING
from tests.peers.port import free_port
from tests.peers.postgresql import sql

YES, NO = "reader@example.com", "banned@example.com"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def place(request, tmp_path_factory):
    """A gateway that has carried some mail and runs."""
    folder = tmp_path_factory.mktemp("place")
    if request.param == "sqlite":
        place = place_in(folder)
    else:
        url = request.getfixturevalue("postgresql").database()
        place = place_in(folder, records={"url": url})
    place.run_gateway()
    try:
        proof = ("--wording", "Yes, please", "--evidence", "form 1", "--source", "web")
        for who in (YES, NO):
            place.good("register", "relationship", who, *BY, "--collected", "sale")
            place.good("register", "consent", who, *BY, *proof)
        place.good("register", "ban", NO, *BY)
        assert place.mail(YES, NO).endswith("1 forwarded, 1 suppressed")
        assert place.mail(YES).endswith("1 forwarded")
        place.archived(3)
        yield place
        if place.running:
            place.stop_gateway()
    finally:
        place.clean_up()


def searches(place) -> list:
    """The same questions, whether the gateway runs or not."""
    told = []
    for query, count in (
        ((), 3),
        (("--address", YES), 2),
        (("--address", NO.upper(), "--client", "tool"), 1),
        (("--rule", "R11", "--outcome", "suppress"), 1),
        (("--result", "forwarded", "--since", "2020-01-01", "--until", "2099-01-01"), 2),
        (("--limit", "1"), 1),
    ):
        found = place.good("records", "search", *query, "--json").rows
        assert len(found) == count, query
        told.append(found)
    assert place.good("records", "search", "--client", "nobody", status=1).out == (
        "no such records\n"
    )
    place.good("records", "search", "--until", "2020-01-01", "--json", status=1)
    table = place.good("records", "search").out
    assert told[0][0]["record_id"] in table
    assert "example.com" not in table
    return told


@pytest.mark.slow
def test_search_and_show_while_it_runs_and_while_it_does_not(place):
    running = searches(place)
    record = running[2][0]["record_id"]
    shown = place.good("records", "show", record, "--json").rows
    [row] = shown
    assert row["recipient"] == NO
    assert (row["decision"], row["rule"]) == ("suppress", "R11")
    assert row["facts"]["ban_all"] is True
    assert row["reasons"]["sv"]
    assert row["legal_source"]
    assert row["register_position"]
    assert row["outcomes"][0]["result"] == "suppressed"
    assert "Subject: Marraskuun uutiset" in row["headers"]
    assert row["content_kept"] is False
    told = place.good("records", "show", record).out
    assert NO in told
    said = place.refused("records", "show", record, "--content")
    assert "no content is kept" in said
    place.refused("records", "show", "01HZZZZZZZZZZZZZZZZZZZZZZZ")
    assert "not a time" in place.refused("records", "search", "--since", "yesterday")

    place.stop_gateway()
    assert searches(place) == running
    assert place.good("records", "show", record, "--json").rows == shown
    place.run_gateway()


def test_a_campaign_is_counted(place):
    [sums] = place.good("records", "count", "--client", "tool", "--json").rows
    assert (sums["messages"], sums["recipients"]) == (2, 3)
    told = [
        (one["outcome"], one["rule"], one["result"], one["recipients"]) for one in sums["shares"]
    ]
    assert told == [("forward", "R40", "forwarded", 2), ("suppress", "R11", "suppressed", 1)]
    for language, words in (("en", "banned"), ("fi", "kieltänyt"), ("sv", "förbjudit")):
        table = place.good("records", "count", "--language", language).out
        assert words in " ".join(table.split())
        assert "3 recipients of 2 messages" in table
        assert "example.com" not in table
    narrow = ("--campaign", "autumn"), ("--topic", "offers"), ("--since", "2099-01-01")
    for query in narrow:
        assert place.good("records", "count", *query, status=1).out == "no such messages\n"


@pytest.mark.slow
def test_held_messages_wait_for_a_person(place):
    assert place.good("held", "list").out == "nothing is held\n"
    for number in range(4):
        message = INVOICE.replace(b"Lasku 1", b"Lasku %d" % number)
        assert place.mail(YES, NO, message=message, login="unclear").endswith("2 held")
    held = place.good("held", "list", "--json", status=1).rows
    assert len(held) == 4
    assert {one["state"] for one in held} == {"held"}
    first, second, third, fourth = (one["held"] for one in reversed(held))

    [row] = place.good("held", "show", first, *BY, "--json").rows
    assert [one["address"] for one in row["recipients"]] == [YES, NO]
    assert row["recipients"][0]["rule"] == "R01"
    out = place.folder / "message.eml"
    assert YES in place.good("held", "show", first, *BY, "--content", out).out
    assert out.read_bytes() == INVOICE.replace(b"Lasku 1", b"Lasku 0")

    reason = ("--reason", "it is an invoice")
    assert "--kind" in place.refused("held", "release", first, *BY, *reason)
    assert "--reason: say why" in place.refused("held", "release", first, *BY, "--reason", " ")
    # As marketing the ban stops it for one, and it must not go to the other unproven.
    done = place.good(
        *("held", "release", first, *BY, "--reason", "an offer", "--kind", "marketing"), status=1
    )
    assert f"{NO}: not sent, R" in done.out
    # Where nothing was sent it stays held, and a person says why it goes.
    assert "it stays held" in done.out
    place.good("held", "discard", first, *BY, "--reason", "nobody may have it")
    done = place.good("held", "release", second, *BY, *reason, "--kind", "transactional")
    assert done.out == f"{YES}: sent\n{NO}: sent\n"
    assert "not held" in place.refused("held", "release", second, *BY, *reason)

    # The same with nothing running: the register and the sandbox run for the command.
    place.stop_gateway()
    assert len(place.good("held", "list", "--json", status=1).rows) == 2
    done = place.good("held", "release", third, *BY, *reason, "--kind", "notice")
    assert done.out == f"{YES}: sent\n{NO}: sent\n"
    assert place.good("held", "discard", fourth, *BY, "--reason", "spam").out == (
        f"{fourth}: discarded\n"
    )
    assert "discarded" in place.refused("held", "discard", fourth, *BY, "--reason", "again")
    assert place.good("held", "list").out == "nothing is held\n"
    states = {one["held"]: one for one in place.good("held", "list", "--all", "--json").rows}
    assert states[third]["state"] == "released"
    assert (states[fourth]["person"], states[fourth]["reason"]) == ("tester", "spam")

    # The original records tell what became of them, and by whom.
    [record] = [one["record"] for one in states[fourth]["recipients"] if one["address"] == YES]
    [row] = place.good("records", "show", record, "--json").rows
    assert [one["result"] for one in row["outcomes"]] == ["held", "discarded"]
    assert row["outcomes"][1]["person"] == "tester"
    assert row["outcomes"][1]["reason"] == "spam"
    [record] = [one["record"] for one in states[third]["recipients"] if one["address"] == NO]
    [row] = place.good("records", "show", record, "--json").rows
    assert [one["result"] for one in row["outcomes"]] == ["held", "released"]
    sent = [path.read_bytes() for path in (place.folder / "data" / "sandbox").rglob("new/*")]
    assert sum(b"Lasku 2" in message for message in sent) >= 1
    assert not any(b"Lasku 3" in message for message in sent)
    assert any(MAILING.split(b"\r\n\r\n")[1].strip() in message for message in sent)


@pytest.mark.slow
def test_what_nobody_decides_about_expires_and_the_contact_hears_of_it(stopped):
    place = stopped
    place.run_gateway()
    for _ in range(2):
        assert place.mail(YES, message=INVOICE, login="unclear").endswith("1 held")
    place.archived(2)
    place.stop_gateway()
    young, old = (row["held"] for row in place.good("held", "list", "--json", status=1).rows)
    day = 86_400_000
    archive = place.folder / "data" / "archive.sqlite"
    sql(archive, f"UPDATE held SET created = created - {40 * day} WHERE id = '{old}'")
    sql(archive, f"UPDATE held SET created = created - {9 * day} WHERE id = '{young}'")
    place.run_gateway()
    place.archived(3)
    [notice] = [path.read_text() for path in place.folder.rglob("sandbox/new/*")]
    assert "Subject: Held messages: 1 waiting, 1 expired" in notice
    assert young in notice
    assert old in notice
    assert YES not in notice
    [row] = place.good("held", "show", young, *BY, "--json").rows
    assert row["expires"]
    states = {
        row["held"]: row["state"] for row in place.good("held", "list", "--all", "--json").rows
    }
    assert states == {young: "held", old: "expired"}
    reason = ("--reason", "an invoice", "--kind", "transactional")
    assert "expired" in place.refused("held", "release", old, *BY, *reason)
    [record] = place.good("records", "search", "--result", "expired", "--json").rows
    assert record["rule"] == "R01"
    place.stop_gateway()
    acts = sql(archive, "SELECT action, actor, subject FROM act ORDER BY at")
    assert ("expire", "gateway", old) in acts
    assert ("read", "tester", young) in acts


def test_a_ban_set_meanwhile_stops_a_release(stopped):
    place = stopped
    place.run_gateway()
    proof = ("--evidence", "form 1", "--source", "web")
    place.good("register", "consent", YES, *BY, *proof)
    place.good("register", "relationship", YES, *BY, "--collected", "otherwise")
    assert place.mail(YES).endswith("1 held")
    [held] = place.good("held", "list", "--json", status=1).rows
    place.good("register", "ban", YES, *BY)
    done = place.good("held", "release", held["held"], *BY, "--reason", "consent found", status=1)
    assert done.out.startswith(f"{YES}: not sent, R11: ")
    place.archived(1, "--result", "suppressed")
    assert not list((place.folder / "data" / "sandbox").rglob("new/*"))
    place.stop_gateway()


def test_a_release_that_the_upstream_does_not_take_stays_held(stopped):
    place = stopped
    place.run_gateway()
    assert place.mail(YES, message=INVOICE, login="unclear").endswith("1 held")
    place.stop_gateway()
    place.configure(upstream=free_port())
    [held] = place.good("held", "list", "--json", status=1).rows
    release = ("held", "release", held["held"], *BY, "--reason", "an invoice")
    said = place.refused(*release, "--kind", "transactional")
    assert "upstream" in said
    [again] = place.good("held", "list", "--json", status=1).rows
    assert (again["held"], again["state"]) == (held["held"], "held")
    place.configure(upstream=None)
    place.good(*release, "--kind", "transactional")
    assert len(list((place.folder / "data" / "sandbox").rglob("new/*"))) == 1
