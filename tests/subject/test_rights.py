"""Access, portability and erasure: what a person gets, and what is left afterwards."""

import csv
import io
import json
import re
import sqlite3
from contextlib import closing
from datetime import date

import pytest

from gateway.clock import now_ms
from gateway.contacts.contact import Channel
from gateway.contacts.digest import KeyRing, subject_of
from gateway.contacts.parse import parse_contact
from gateway.custody.custody import KeyDestroyed
from gateway.decision.facts import Kind as MessageKind
from gateway.decision.facts import Outcome
from gateway.entry.entry import DeliveryReason, Scope
from gateway.entry.event import Event, EventKind
from gateway.held.message import HeldMessage, HeldRecipient
from gateway.held.message import State as HeldState
from gateway.held.store import HeldStore
from gateway.records.act import Act, Action
from gateway.records.archive import Archive
from gateway.records.content import ContentMissing, ContentStore
from gateway.records.database import Database
from gateway.records.events import EventArchive
from gateway.records.record import (
    MessageRecord,
    RecipientRecord,
    Result,
    RuleSetRecord,
    RuleText,
    new_id,
)
from gateway.records.unsealing import Unsealer
from gateway.register.importing import import_file
from gateway.subject.access import Access, Controller, Processor
from gateway.subject.directory import PersonStateError
from gateway.subject.erasure import Erasure, ErasureRefused, Ground
from gateway.subject.people import Who
from gateway.subject.person import Bond, Commitment, Hold, Language, Objection, Relationship
from gateway.subject.portability import to_csv
from gateway.subject.portability import to_json as portable
from gateway.subject.report import to_html, to_json
from gateway.subject.request import Kind, State
from gateway.subject.requests import Requests
from gateway.subject.spread import Spreader
from gateway.subject.store import PersonStore
from tests.subject.conftest import WHO, open_site

MAIJA, PHONE, MATTI = "maija.virtanen@example.com", "+358401234567", "matti@example.org"
RULES = RuleSetRecord(
    hash="ab12",
    name="finland",
    version="1",
    text="[R11]",
    rules=(
        RuleText(
            "R11",
            "art 21",
            "GDPR 21(2)-(3)",
            "Suoramarkkinointi kielletty",
            "Direktmarknadsföring förbjuden",
            "Direct marketing banned",
        ),
    ),
)
CONTROLLER = Controller(
    name="LamisNET",
    business_id="2701131-6",
    email="privacy@lamisnet.example",
    register="asiakasrekisteri",
    processors=(Processor("smarthost", "EEA", "DPA 2026-01-15"),),
)


@pytest.fixture
def requests(site):
    return Requests(site.database, site.custody, site.store, site.recorder)


@pytest.fixture
def access(site, requests):
    return Access(
        site.people,
        site.spreader,
        site.register,
        site.database,
        site.archive,
        site.contents,
        Unsealer(site.sealer, site.custody),
        requests,
        CONTROLLER,
    )


@pytest.fixture
def held(site):
    return HeldStore(site.database, site.sealer, site.contents)


@pytest.fixture
def erasure(site, requests, held):
    return Erasure(
        site.people,
        site.register,
        held,
        site.recorder,
        site.custody,
        requests,
        site.archiver.run_once,
    )


async def _maija(site, **members):
    stored = await site.people.add(
        WHO,
        name="Maija Virtanen",
        contacts=[parse_contact(MAIJA), parse_contact(PHONE)],
        source="order form 7",
        **members,
    )
    return stored.person.id


async def _message(site, *addresses, content=None, shown=True):
    """One recorded message to these addresses, suppressed for each."""
    await site.recorder.announce(RULES)
    message_id = new_id()
    if content is not None:

        async def pieces():
            yield content

        await site.contents.put(message_id, pieces())
    record = MessageRecord(
        id=message_id,
        received=now_ms(),
        decided=now_ms(),
        controller="LamisNET",
        client="newsletter",
        upstream="smarthost",
        kind=MessageKind.MARKETING,
        topic="news",
        sender="lamisnet.fi",
        rule_set="finland",
        rule_set_version="1",
        rule_set_hash="ab12",
        content=message_id if content is not None else None,
        size=len(content or b""),
        recipients=tuple(
            RecipientRecord(
                id=new_id(),
                digest=str(site.ring.digest(subject_of(parse_contact(each)))),
                outcome=Outcome.SUPPRESS,
                rule="R11",
                facts={"ban_all": True},
            )
            for each in addresses
        ),
    )
    to = ", ".join(addresses) if shown else "undisclosed-recipients:;"
    headers = f"Subject: Syysale\r\nTo: {to}\r\n\r\n".encode()
    await site.recorder.append(record, headers, addresses, "uutiset@lamisnet.fi")
    site.recorder.note_alike([each.id for each in record.recipients], now_ms(), Result.SUPPRESSED)
    return record


async def _full(site, requests):
    """Maija with everything that can be known of her, and Matti beside her."""
    maija = await _maija(site)
    matti = await site.people.add(
        WHO, name="Matti Meikäläinen", contacts=[parse_contact(MATTI)], source="matti's form"
    )
    await site.wishes.object(
        matti.person.id,
        Objection(words="Matin oma kielto", received=now_ms(), scope=Scope.ALL),
        WHO,
    )
    await site.people.set(
        maija,
        WHO,
        relationship=Relationship(start=date(2020, 1, 1), start_manner="verkkokauppa"),
        commitment=Commitment(bond=Bond.WARRANTY, reference="T-99", end=date(2031, 5, 1)),
    )
    consent = Event(
        kind=EventKind.CONSENT,
        at=now_ms() - 5000,
        actor="web",
        source="lomake",
        channel=Channel.EMAIL,
        proven=True,
        lifts=True,
        wording="Uutiskirjelomake v3 (fi)",
        evidence="lomake 8812",
    )
    await site.register.apply(consent, parse_contact(MAIJA))
    complaint = Event(
        kind=EventKind.UNDELIVERABLE,
        at=now_ms() - 1000,
        actor="gateway",
        source="complaint",
        delivery=DeliveryReason.COMPLAINT,
    )
    await site.register.apply(complaint, parse_contact(MAIJA))
    await site.wishes.object(
        maija,
        Objection(
            words="Älkää <b>enää</b> lähettäkö!", received=now_ms(), scope=Scope.ALL, how="puhelin"
        ),
        Who("sirpa", "puhelu 5"),
    )
    request = await requests.receive(Kind.ACCESS, WHO, person_id=maija, words="Mitä tiedätte?")
    mail = (
        f"From: uutiset@lamisnet.fi\r\nTo: {MAIJA}, {MATTI}\r\nSubject: Syysale\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n\r\nHei Maija, hehkulamppu!\r\n"
    )
    await _message(site, MAIJA, MATTI, content=mail.encode())
    await _message(site, MATTI, content=b"Subject: x\r\n\r\nVain Matille\r\n")
    await site.recorder.act(
        Act(action=Action.EXPORT, actor="vienti", detail={"mode": "authority", "to": "Traficom"})
    )
    await site.archived()
    return maija, request


@pytest.mark.parametrize(
    ("language", "words"),
    [
        (
            Language.FI,
            [
                "Teitä koskevat henkilötiedot",
                "Suoramarkkinointi kielletty",
                "takuu",
                "ilmoitettu roskapostiksi",
            ],
        ),
        (
            Language.SV,
            [
                "Personuppgifter om er",
                "Direktmarknadsföring förbjuden",
                "garanti",
                "anmält som skräppost",
            ],
        ),
        (
            Language.EN,
            ["Your personal data", "Direct marketing banned", "warranty", "reported as spam"],
        ),
    ],
)
async def test_the_access_report_tells_everything_and_nothing_of_anybody_else(
    site, requests, access, language, words
):
    maija, _ = await _full(site, requests)
    report = await access.report(maija, WHO, language=language, content=True)
    page, data = to_html(report), to_json(report).decode()
    for word in words:
        assert word in page
    for text in (page, data):
        for known in (
            "Maija Virtanen",
            MAIJA,
            PHONE,
            "order form 7",
            "Uutiskirjelomake v3 (fi)",
            "lomake 8812",
            "T-99",
            "verkkokauppa",
            "hehkulamppu",
            "Syysale",
            "smarthost",
            "Traficom",
            "Mitä tiedätte?",
            "sirpa",
        ):
            assert known in text, known
        for foreign in ("Matti", "matti", "Matin", MATTI, "Vain"):
            assert foreign not in text, foreign
    assert "tietosuoja(at)om.fi" in page
    # What the person wrote is text and never markup; the page needs nothing else.
    assert "&lt;b&gt;enää&lt;/b&gt;" in page
    assert not re.search(r"<(script|img|link|iframe)|(?:src|href)=|url\(|@import|http:", page)
    assert f'<html lang="{language}">' in page
    assert "@media print" in page
    # Every word of the register's own is in the person's language.
    if language is not Language.EN:
        cells = re.findall(r"<td>([^<]*)</td>", page)
        english = {"suppress", "suppressed", "ban", "access", "received", "email", "marketing"}
        english.add("undeliverable")
        assert english.isdisjoint(cells)


async def test_reading_is_on_record_and_the_next_report_shows_it(site, requests, access):
    maija, _ = await _full(site, requests)
    await access.report(maija, Who("tiina", "hänen pyynnöstään"))
    await site.archived()
    report = await access.report(maija, WHO, staff=False)
    assert "hänen pyynnöstään" in [each["reason"] for each in report.reads]
    assert "tiina" not in to_html(report) + to_json(report).decode()
    named = await access.report(maija, WHO)
    assert "tiina" in [each["who"] for each in named.reads]


async def test_what_a_person_provided_comes_in_json_and_csv(site, requests, access):
    maija, _ = await _full(site, requests)
    await site.people.rename(maija, "=cmd|' /C calc'!A0", WHO)
    report = await access.report(maija, WHO)
    data = json.loads(portable(report))
    assert [each["contact"] for each in data["contacts"]] == [MAIJA, PHONE]
    assert data["consents"][0]["wording"] == "Uutiskirjelomake v3 (fi)"
    assert data["objections"][0]["words"] == "Älkää <b>enää</b> lähettäkö!"
    assert "decisions" not in data
    rows = list(csv.DictReader(io.StringIO(to_csv(report).decode(), newline="")))
    assert {row["what"] for row in rows} == {"language", "name", "contact", "consent", "objection"}
    values = [row["value"] for row in rows]
    assert PHONE in values
    assert "'=cmd|' /C calc'!A0" in values


# -- erasure --------------------------------------------------------------------------


async def _holding(site, held, *addresses):
    """A held message to these addresses."""
    record = await _message(site, *addresses, content=b"Subject: x\r\n\r\nHei\r\n", shown=False)
    held_id = await held.prepare(
        HeldMessage(
            message_id=record.id,
            client="newsletter",
            upstream="smarthost",
            kind=MessageKind.MARKETING,
            content_id=record.id,
            sender="uutiset@lamisnet.fi",
            recipients=tuple(
                HeldRecipient(address=address, record_id=one.id, digest=one.digest, rule="R18")
                for address, one in zip(addresses, record.recipients, strict=True)
            ),
        )
    )
    await held.commit(held_id)
    return held_id


async def _told(site, database) -> set[str]:
    """Every text that can be read in an archive with the keys that there are now."""
    archive = Archive(database, site.sealer, site.custody)
    contents = ContentStore(database, site.sealer, custody=site.custody)
    told = set()
    for found in await archive.search():
        shown = await archive.show(found.record_id)
        told |= {shown.address or "", (shown.headers or b"").decode()}
        try:
            octets = b"".join([piece async for piece in contents.open(shown.message.content)])
            told.add(octets.decode().partition("\r\n\r\n")[2].strip())
        except ContentMissing:
            pass
    events = [Event.from_json(body) async for body in EventArchive(database).all()]
    unsealer = Unsealer(site.sealer, site.custody)
    told |= {each.evidence for each in await unsealer.with_evidence(events)}
    told |= {each or "" for each in await unsealer.addresses(events)}
    return told


async def test_an_erased_person_is_gone_and_stays_banned(site, requests, erasure, held, tmp_path):
    maija = await _maija(site)
    digest = site.store.digests(parse_contact(MAIJA))[0]
    sealed = await site.custody.seal(digest, b"mail", b"x")
    alone = await _holding(site, held, MAIJA, PHONE)
    shared = await _holding(site, held, MAIJA, MATTI)
    request = await requests.receive(Kind.ERASURE, WHO, person_id=maija, words="Poistakaa minut")
    await site.ban(MAIJA, Scope.DISCLOSURE, evidence="soitti Maija Virtanen")
    await site.archived()
    older = tmp_path / "older.sqlite"
    with closing(sqlite3.connect(tmp_path / "archive.sqlite")) as source:
        with closing(sqlite3.connect(older)) as copy:
            source.backup(copy)
    told = await _told(site, site.database)
    assert {"soitti Maija Virtanen", MAIJA, PHONE, MATTI, "Hei"} <= told

    check = await erasure.check(maija, WHO)
    assert (check.contacts, check.discarded, check.cut) == ([MAIJA, PHONE], [alone], [shared])
    assert (await held.get(alone)).state is HeldState.HELD
    assert await site.scopes(MAIJA) == {"disclosure"}

    done = await erasure.erase(maija, Who("anna", "pyynnöstä"), request_id=request.id)
    assert done.ended
    assert done.keys == 3
    with pytest.raises(KeyDestroyed):
        await site.custody.open(digest, sealed, b"x")
    with pytest.raises(PersonStateError, match="erased"):
        await site.people.read(maija, WHO)
    assert await site.store.of(parse_contact(MAIJA)) == []
    assert (await held.get(alone)).state is HeldState.DISCARDED
    rest = await held.get(shared)
    assert rest.state is HeldState.HELD
    assert [each.address for each in rest.message.recipients] == [MATTI]
    closed = await requests.get(request.id)
    assert (closed.state, closed.words) == (State.ANSWERED, "")

    # A tombstone stays: mail is suppressed, and no import brings the person back.
    assert await site.scopes(MAIJA) == {"ban_all", "disclosure"}
    assert (await site.register.show(parse_contact(PHONE))).tombstone
    again = tmp_path / "again.csv"
    again.write_text(
        "email,phone,consent_email,consent_proof,source,relationship_start\n"
        f"{MAIJA},{PHONE},granted,form,crm,2020-01-01\n"
    )
    assert (await import_file(again, site.register, actor="crm")).applied
    assert await site.scopes(MAIJA) == {"ban_all", "disclosure"}
    assert (await site.register.show(parse_contact(MAIJA))).relationship_start is None

    # Nothing opens in the archive, nor in an older copy of it; what is Matti's does.
    await site.archived()
    copy = await Database.open(older)
    try:
        for database in (site.database, copy):
            told = await _told(site, database)
            assert MATTI in told
            assert not [each for each in told if "aija" in each or PHONE in each]
            with pytest.raises((PersonStateError, KeyDestroyed)):
                await PersonStore(database, site.custody, site.ring).open(maija)
    finally:
        await copy.aclose()
    # Asked for again, there is nothing left to do.
    assert (await erasure.erase(maija, WHO)).ended


async def test_an_erased_person_may_come_back_as_somebody_new(site, erasure):
    maija = await _maija(site)
    await erasure.erase(maija, WHO)
    back = await _maija(site)
    assert back != maija
    assert (await site.people.read(back, WHO)).person.name == "Maija Virtanen"
    assert await site.scopes(MAIJA) == {"ban_all"}


@pytest.mark.parametrize("step", ["_bury", "_drop_held", "_catch_up", "_destroy", "end", "_close"])
async def test_an_erasure_that_was_cut_off_is_ended_by_asking_again(
    site, erasure, requests, monkeypatch, step
):
    maija = await _maija(site)
    request = await requests.receive(Kind.ERASURE, WHO, person_id=maija)

    async def cut(*_args, **_how):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if step == "end":
            patch.setattr(site.store, "end_erasure", cut)
        else:
            patch.setattr(erasure, step, cut)
        with pytest.raises(KeyboardInterrupt):
            await erasure.erase(maija, WHO)
    if step != "_close":
        with pytest.raises(PersonStateError):
            await site.people.rename(maija, "Somebody", WHO)
    done = await erasure.erase(maija, WHO)
    assert done.ended
    assert await site.scopes(MAIJA) == {"ban_all"}
    assert await site.scopes(PHONE) == {"ban_all"}
    for owner in (f"p:{maija}", *site.store.digests(parse_contact(MAIJA))):
        assert owner in await site.custody.destroyed([owner])
    assert not (await requests.get(request.id)).open


async def test_a_contact_that_is_linked_while_somebody_is_erased_is_erased_too(
    site, erasure, monkeypatch
):
    maija = await _maija(site)
    note = site.people.note

    async def meanwhile(action, *args, **details):
        await note(action, *args, **details)
        if action is Action.ERASE:
            monkeypatch.undo()
            await site.people.link(maija, parse_contact(MATTI), WHO, source="another officer")

    monkeypatch.setattr(site.people, "note", meanwhile)
    with pytest.raises(PersonStateError):
        await erasure.erase(maija, Who("anna", "asked"))
    done = await erasure.erase(maija, Who("anna", "asked"))
    assert MATTI in done.contacts
    entry = await site.register.show(parse_contact(MATTI))
    assert entry.tombstone


async def test_erasure_is_refused_in_the_persons_language_while_data_is_needed(
    site, erasure, requests
):
    maija = await _maija(site, language=Language.SV)
    await site.people.set(
        maija,
        WHO,
        relationship=Relationship(start=date(2020, 1, 1)),
        commitment=Commitment(bond=Bond.CONTRACT, reference="S-7", end=date(2099, 1, 1)),
        hold=Hold(since=now_ms(), reason="oikeusjuttu 12"),
    )
    request = await requests.receive(Kind.ERASURE, WHO, person_id=maija)
    with pytest.raises(ErasureRefused) as refused:
        await erasure.erase(maija, WHO, request_id=request.id)
    text = refused.value.text
    assert "avtalet gäller: S-7 (till och med 2099-01-01)" in text
    assert "Dataombudsmannen" in text
    assert "oikeusjuttu" not in text
    kept = await requests.get(request.id)
    assert (kept.state, kept.outcome) == (State.REFUSED, text)
    assert await site.scopes(MAIJA) == set()
    grounds = [Ground.RELATIONSHIP, Ground.CONTRACT]
    with pytest.raises(ErasureRefused):
        await erasure.erase(maija, WHO, excepted=grounds)
    assert (await erasure.erase(maija, WHO, excepted=[*grounds, Ground.HOLD])).ended


async def test_an_address_that_somebody_else_has_too_stays_theirs(site, erasure):
    maija = await _maija(site)
    bo = await site.people.add(WHO, name="Bo", contacts=[parse_contact(PHONE)], source="form")
    done = await erasure.erase(maija, WHO)
    assert (done.contacts, done.shared) == ([MAIJA], [PHONE])
    assert await site.scopes(PHONE) == set()
    person = (await site.people.read(bo.person.id, WHO)).person
    assert [each.address for each in person.contacts] == [PHONE]


async def test_erasure_reaches_every_live_digest_key(site, tmp_path, register_url):
    await _maija(site)
    keys = {"k1": bytes(range(32)), "k2": bytes(32)}
    async with open_site(tmp_path, register_url, KeyRing(keys, "k2")) as later:
        requests = Requests(later.database, later.custody, later.store, later.recorder)
        held = HeldStore(later.database, later.sealer, later.contents)
        erasure = Erasure(
            later.people,
            later.register,
            held,
            later.recorder,
            later.custody,
            requests,
            later.archiver.run_once,
        )
        (maija,) = await later.store.of(parse_contact(MAIJA))
        await erasure.erase(maija, WHO)
        owners = later.store.digests(parse_contact(MAIJA))
        assert len(owners) == 2
        assert set(await later.custody.destroyed(owners)) == set(owners)
    assert await site.scopes(MAIJA) == {"ban_all"}


async def test_an_archive_from_before_an_erasure_hears_of_it_when_people_are_healed(
    site, erasure, tmp_path
):
    maija = await _maija(site)
    older = tmp_path / "older.sqlite"
    with closing(sqlite3.connect(tmp_path / "archive.sqlite")) as source:
        with closing(sqlite3.connect(older)) as copy:
            source.backup(copy)
    await erasure.erase(maija, WHO)
    copy = await Database.open(older)
    try:
        store = PersonStore(copy, site.custody, site.ring)
        assert (await store.row(maija)).state == "active"
        healed = await Spreader(store, site.register, EventArchive(copy), site.ring).heal()
        assert (healed.erased, healed.failed) == (1, 0)
        assert (await store.row(maija)).state == "erased"
        assert await store.of(parse_contact(MAIJA)) == []
    finally:
        await copy.aclose()
