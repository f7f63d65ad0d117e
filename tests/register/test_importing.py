"""Files into the register: nothing half-applied, nothing lifted, nothing twice."""

import json
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.contacts.contact import Channel
from gateway.contacts.parse import parse_email, parse_phone
from gateway.decision.facts import Age, Collected, ConsentState, PersonClass, Relationship
from gateway.entry.entry import Scope
from gateway.entry.event import Event, EventKind
from gateway.failure import InputError
from gateway.register.importing import BAD_ROWS_KEPT, import_file
from gateway.register.register import Register

NOW = 1_795_379_602_872


@pytest.fixture
async def register(register_url, ring):
    async with await Register.open(register_url, ring) as register:
        yield register


@pytest.fixture
def load(register, tmp_path):
    async def load(content, *, name="list.csv", now=NOW, **options):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return await import_file(path, register, actor="test", clock=lambda: now, **options)

    return load


async def facts(register, text, topic=None, product=None):
    contact = parse_email(text) if "@" in text else parse_phone(text)
    (standing,) = await register.look_up([contact])
    return standing.facts(contact.channel, topic, product, NOW + 1000)


async def test_every_column_is_understood(register, load):
    columns = {
        "email": "anna@example.com",
        "phone": "+358401234567",
        "ban": "sms; disclosure",
        "ban_topics": "News",
        "ban_at": "2024-05-01T12:00:00+03:00",
        "consent_email": "granted",
        "consent_sms": "withdrawn",
        "consent_topics": "offers",
        "consent_at": "2024-06-01",
        "consent_expires": "2030-01-01",
        "consent_proof": "form 7",
        "person_class": "Natural",
        "age": "minor",
        "guardian_consent": "yes",
        "relationship_start": "2020-01-01",
        "relationship_end": "",
        "collected": "sale",
        "opt_out_offered": "1",
        "product_groups": "heating;solar",
        "restricted": "yes",
        "source": "web shop",
    }
    quoted = ",".join(f'"{cell}"' for cell in columns.values())
    result = await load(",".join(columns) + "\n" + quoted + "\n")
    assert (result.rows, result.contacts, result.changed, result.applied) == (1, 2, 2, True)
    assert not result.warnings
    found = await facts(register, "anna@example.com", "offers", "Solar")
    assert found.consent is ConsentState.GRANTED
    assert found.consent_proven
    assert found.age is Age.MINOR
    assert found.guardian_consent
    assert found.relationship is Relationship.ACTIVE
    assert found.collected is Collected.SALE
    assert found.opt_out_offered
    assert found.restricted
    assert found.source_known
    assert found.person_class is PersonClass.NATURAL
    assert found.product.value == "same"
    assert not found.ban_channel
    assert (await facts(register, "anna@example.com", "news")).ban_topic
    phone = await facts(register, "+358401234567", "offers")
    assert phone.ban_channel
    assert phone.ban_topic
    (standing,) = await register.look_up([parse_email("anna@example.com")])
    assert standing.disclosure_banned
    assert {ban.at for ban in standing.exact.bans} == {1_714_554_000_000}


async def test_a_reimport_changes_nothing_and_writes_no_event(register, load):
    content = (
        "email,ban,ban_topics,ban_at,consent_email,product_groups,restricted\n"
        "anna@example.com,all,,,,x,yes\n"
        "bo+x@example.com,,news,2024-01-01,granted,y,\n"
        "eva@example.com,,,,withdrawn,,\n"
    )
    first = await load(content)
    assert (first.changed, first.unchanged) == (3, 0)
    position = await register.position()
    again = await load(content, now=NOW + 5000)
    assert (again.changed, again.unchanged, again.events) == (0, 3, 0)
    assert await register.position() == position


async def test_an_import_lifts_nothing(register, load):
    contact = parse_email("anna@example.com")
    await register.apply(Event(kind=EventKind.BAN, at=5, actor="a"), contact)
    withdrawal = Event(kind=EventKind.WITHDRAW, at=5, actor="a", channel=Channel.EMAIL)
    await register.apply(withdrawal, contact)
    await load(
        "email,consent_email,consent_at,consent_proof,person_class,restricted\n"
        "anna@example.com,granted,2025-01-01,form,legal,no\n"
    )
    found = await facts(register, "anna@example.com")
    assert found.ban_all
    assert found.ban_channel


async def test_a_person_who_consented_after_the_list_stays_free(register, load):
    content = "email,ban\nanna@example.com,all\n"
    await load(content)
    grant = Event(kind=EventKind.CONSENT, at=NOW + 10, actor="a", channel=Channel.EMAIL,
                  proven=True, lifts=True)  # fmt: skip
    await register.apply(grant, parse_email("anna@example.com"))
    await load(content, now=NOW + 500)
    assert not (await facts(register, "anna@example.com")).ban_all


async def test_one_bad_row_keeps_everything_out(register, load):
    content = "email,ban\nanna@example.com,all\nnot-an-address,all\nbo@example.com,maybe\n"
    result = await load(content)
    assert not result.applied
    assert (result.rows, result.bad_count, result.changed) == (1, 2, 0)
    assert [(bad.line, bad.column) for bad in result.bad] == [(3, "email"), (4, "ban")]
    assert "not-an-address" not in repr(result)
    assert await register.position() == "0-0"
    skipped = await load(content, skip_bad=True)
    assert skipped.applied
    assert (skipped.changed, skipped.bad_count) == (1, 2)
    assert (await facts(register, "anna@example.com")).ban_all


@pytest.mark.parametrize("end", ["", '"b@example.com",all\n', 'b@example.com",all\n', '",all,x\n'])
async def test_a_quote_that_is_not_closed_loses_no_row_behind_it(register, load, end):
    """Left out as one bad row it would take every ban along that it swallowed."""
    swallowed = "".join(f"c{number}@example.com,all\n" for number in range(20))
    content = 'email,ban\na@example.com,all\n"x@example.com,all\n' + swallowed + end
    for skip_bad in (False, True):
        with pytest.raises(InputError, match=r"line 3: a quote is not closed.*up to line 2[34]"):
            await load(content, skip_bad=skip_bad)
    assert not (await facts(register, "a@example.com")).known


async def test_a_text_of_several_lines_is_a_cell_like_any(register, load):
    result = await load(
        'email,ban,source\na@example.com,all,"from\nthe fair"\nb@example.com,all,\n'
    )
    assert (result.changed, result.bad_count) == (2, 0)


@pytest.mark.parametrize(
    ("header", "row", "column"),
    [
        ("email,ban_at", "a@example.com,yesterday", "ban_at"),
        ("email,ban,ban_at", "a@example.com,all,2099-01-01", "ban_at"),
        ("email,consent_email", "a@example.com,perhaps", "consent_email"),
        ("email,age", "a@example.com,17", "age"),
        ("email,guardian_consent", "a@example.com,perhaps", "guardian_consent"),
        ("email,relationship_start", "a@example.com,1.1.2020", "relationship_start"),
        ("email,phone", "a@example.com,12", "phone"),
        ("email,phone", ",", None),
        ("email,phone", "a@example.com", "row"),
        ("email,ban", "a@example.com,all,x", "row"),
        ("email,ban", '"a@example.com,all', "row"),
        ("phone,source", ",web", "email"),
        ("email,ban", "a@example.com,organisation", "ban"),
        ("organisation", "no domain", "organisation"),
    ],
)
async def test_a_bad_cell_is_named_by_line_and_column(load, header, row, column):
    result = await load(f"{header}\n\n{row}\n")
    if column is None:
        assert (result.rows, result.bad_count) == (0, 0)
    else:
        assert [(bad.line, bad.column) for bad in result.bad] == [(3, column)]
        assert "a@example.com" not in repr(result.bad)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
async def test_a_byte_order_mark_and_any_delimiter(register, load, delimiter):
    lines = [["E-mail", "Kielto", "Extra"], ["anna@example.com", "all", "x"]]
    content = b"\xef\xbb\xbf" + "\r\n".join(map(delimiter.join, lines)).encode()
    result = await load(content, mapping={"email": "e-MAIL", "ban": "kielto"})
    assert result.changed == 1
    assert result.warnings == ["the column 'Extra' is not known and is left out"]
    assert (await facts(register, "anna@example.com")).ban_all


async def test_json_lines(register, load):
    rows = [
        {"Email": "anna@example.com", "ban": ["email", "disclosure"], "restricted": True},
        {"phone": "+358401234567", "ban_topics": "news", "age": None},
        {"domain": "example.org"},
    ]
    content = "\n".join(map(json.dumps, rows)) + "\n\n"
    result = await load(content, name="list.ndjson")
    assert (result.rows, result.contacts, result.changed, result.bad_count) == (3, 3, 3, 0)
    found = await facts(register, "anna@example.com")
    assert found.ban_channel
    assert found.restricted
    assert (await facts(register, "+358401234567", "news")).ban_topic
    assert (await facts(register, "x@mail.example.org")).ban_organisation
    assert (await load(content, name="list.ndjson")).events == 0
    bad = await load('{"email": "a@example.com"}\n[1]\n{"email": \n', name="x.ndjson")
    assert [row.line for row in bad.bad] == [2, 3]


async def test_a_domain_beside_a_contact_is_banned_only_by_name(register, load):
    content = "email,domain,ban\na@example.com,example.com,{}\n"
    await load(content.format("email"))
    assert not (await facts(register, "b@example.com")).ban_organisation
    await load(content.format('"organisation;email"'))
    assert (await facts(register, "b@example.com")).ban_organisation


@pytest.mark.parametrize(
    ("content", "options", "cause"),
    [
        (b"email,ban\na@example.com,all\nb\xe4@example.com,all\n", {}, "line 3: not UTF-8"),
        (b"name,ban\nx,all\n", {}, "no contact column"),
        (b"", {}, "empty"),
        (b"email,EMAIL\nx,y\n", {}, "twice"),
        (b"email\nx\n", {"mapping": {"ban": "Kielto"}}, "'Kielto'"),
        (b"email\nx\n", {"mapping": {"bann": "email"}}, "unknown column: bann"),
    ],
)
async def test_an_unusable_file_is_refused_with_its_cause(load, content, options, cause):
    with pytest.raises(InputError, match=cause):
        await load(content, **options)


async def test_a_missing_file_is_refused(register, tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        await import_file(tmp_path / "none.csv", register, actor="test")


async def test_a_large_file_reports_its_progress_and_bounds_its_errors(register, load):
    rows = [f"p{number}@example.com,{'all' if number % 10 else 'bad'}" for number in range(3000)]
    content = "email,ban\n" + "\n".join(rows) + "\n"
    heard = []
    result = await load(content, skip_bad=True, progress=heard.append)
    assert (result.bad_count, len(result.bad)) == (300, BAD_ROWS_KEPT)
    assert (result.changed, result.unchanged) == (2700, 0)
    assert heard == sorted(heard)
    assert heard[-1] == 2 * len(content)
    checked = await load(content, check_only=True)
    assert (checked.rows, checked.applied) == (2700, False)
    people = [parse_email(f"p{number}@example.com") for number in range(3000)]
    for number, standing in enumerate(await register.look_up(people)):
        banned = any(ban.scope is Scope.ALL for ban in standing.exact.bans)
        assert banned == (number % 10 != 0)


@settings(max_examples=30, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(st.binary(max_size=60))
async def test_any_file_is_imported_or_refused(load, noise):
    with suppress(InputError):
        await load(b"email,ban\n" + noise, skip_bad=True)
