"""A written record says what each verdict says, whatever was written before it."""

from gateway.contacts.email import parse_email
from gateway.decision.facts import Kind
from gateway.evidence import scribe
from gateway.evidence.scribe import Scribe
from gateway.message.traits import favourable
from gateway.records.record import MessageRecord
from gateway.smtp.draft import Draft, Peer
from gateway.wire.path import MailArguments

PEER = Peer("192.0.2.1", "tool.example", extended=True, secure=False, login=False)
SENDER = MailArguments("Ässä@lamisnet.fi", "<Ässä@lamisnet.fi>".encode())
EVERYBODY = ["yes@example.com", "no@example.com", "nobody@example.com", "other@example.com"]


async def judged(house, traits, addresses=EVERYBODY):
    site = house.parts.site
    contacts = [parse_email(address) for address in addresses]
    return await site.gate.judge(traits, contacts, site.rules)


def parts_of(house):
    site = house.parts.site
    writer = Scribe(site.settings, site.rules, house.parts.ring)
    return writer, Draft(site.settings.smtp.clients[0], PEER, SENDER)


def said_of(writer, draft, decided, traits, verdicts, content):
    """The record as it is built to be read here."""
    return writer.record(
        draft.client,
        draft.mail.address,
        draft.id,
        draft.received,
        decided,
        traits,
        verdicts,
        content,
    )


def without_ids(record: MessageRecord) -> MessageRecord:
    """The record as it is but for the recipients' ids, and all facts as they read."""
    alike = [one._replace(id="", facts=dict(one.facts)) for one in record.recipients]
    return record._replace(recipients=tuple(alike))


async def test_what_is_written_is_the_record(house):
    await house.allow("yes@example.com", "no@example.com")
    await house.ban("no@example.com")
    writer, draft = parts_of(house)
    for turned_by in ("", "Precedence: bulk", 'a "mark" of 100 %'):
        traits = favourable(Kind.MARKETING, "uutiset", None)._replace(
            turned_marketing_by=turned_by, sender_domains=("a.example", 'b"%s.example')
        )
        verdicts = await judged(house, traits)
        style = writer.style(draft.client, traits)
        for order in (verdicts, verdicts[::-1], verdicts[:1], [*verdicts, *verdicts]):
            written = writer.write(
                style.form,
                draft.mail.address,
                draft.id,
                draft.received,
                77,
                turned_by,
                order,
                content=draft.id,
            )
            read = MessageRecord.from_json(written.text)
            expected = said_of(writer, draft, 77, traits, order, draft.id)
            assert without_ids(read) == without_ids(expected)
            assert [one.id for one in read.recipients] == written.ids
            assert [one.digest for one in read.recipients] == written.digests
            assert len(set(written.ids)) == len(order)


async def test_what_is_kept_of_earlier_messages_is_bounded_and_never_another_ones(
    house, monkeypatch
):
    monkeypatch.setattr(scribe, "_FORMS", 3)
    monkeypatch.setattr(scribe, "_GROUNDS", 3)
    await house.allow("yes@example.com")
    writer, draft = parts_of(house)
    for topic in [f"topic{n % 5}" for n in range(20)]:
        traits = favourable(Kind.MARKETING, topic, None)._replace(turned_marketing_by=topic)
        verdicts = await judged(house, traits)
        style = writer.style(draft.client, traits)
        written = writer.write(
            style.form, draft.mail.address, draft.id, draft.received, 5, topic, verdicts
        )
        read = MessageRecord.from_json(written.text)
        assert without_ids(read) == without_ids(said_of(writer, draft, 5, traits, verdicts, None))
        assert len(writer._styles) <= 3
        assert len(writer._words) <= 3


async def test_many_recipients_are_written_as_few_are(house, monkeypatch):
    """Sorted by the objects they share or one by one: the record's octets are the same."""
    monkeypatch.setattr(scribe, "new_ids", lambda count: [f"{n:026}" for n in range(count)])
    await house.allow("yes@example.com", "no@example.com")
    await house.ban("no@example.com")
    writer, draft = parts_of(house)
    traits = favourable(Kind.MARKETING, "uutiset", None)
    verdicts = await judged(house, traits)
    # Equal, and not the same objects.
    copies = [one._replace(facts=type(one.facts)(*one.facts)) for one in verdicts]
    form = writer.style(draft.client, traits).form
    texts = set()
    for many in (1, 1000):
        monkeypatch.setattr(scribe, "_MANY", many)
        everybody = [*verdicts[1:], *copies, *verdicts]
        texts.add(writer.write(form, "", draft.id, draft.received, 7, "", everybody).text)
    assert len(texts) == 1
