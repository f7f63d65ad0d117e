"""A form writes what the record itself writes, octet for octet."""

from collections import defaultdict
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from gateway.contacts.contact import Tier
from gateway.decision.facts import Kind, Outcome
from gateway.records.form import Form, Written, grounds_text
from gateway.records.record import MessageRecord, RecipientRecord

text = st.text(max_size=20)
plain = st.text(alphabet="0123456789ABCXYZ:", max_size=30)
moment = st.integers(0, 2**53)
facts = st.sampled_from([{}, {"b": True, "a": 'x"%'}, {"kind": "marketing", "known": False}])
recipients = st.builds(
    RecipientRecord,
    id=text,
    digest=text,
    outcome=st.sampled_from(Outcome),
    rule=st.sampled_from(["R1", "R%2"]),
    address_class=st.sampled_from(["natural", "legal: 100 %d"]),
    tier=st.none() | st.sampled_from(Tier),
    facts=facts,
    register_position=text,
    retain_until=st.just(7),
)
messages = st.builds(
    MessageRecord,
    id=plain,
    received=moment,
    decided=moment,
    controller=text,
    register=text,
    client=text,
    campaign=st.none() | text,
    upstream=text,
    kind_declared=st.just("%b % %%") | text,
    kind=st.sampled_from(Kind),
    topic=st.none() | text,
    body_hash=plain,
    size=moment,
    sender=text,
    sender_digest=plain,
    rule_set_hash=text,
    content=st.none() | text,
    recipients=st.lists(recipients, min_size=1, max_size=4).map(tuple),
)


def filled(form: Form, message: MessageRecord) -> Written:
    numbers: defaultdict[bytes, int] = defaultdict(count().__next__)
    numbered = [
        numbers[grounds_text(r.outcome, r.rule, r.address_class, r.tier, r.facts)]
        for r in message.recipients
    ]
    return form.write(
        message.id,
        message.received,
        message.decided,
        message.campaign,
        message.body_hash,
        message.size,
        message.sender_digest,
        message.content,
        list(numbers),
        7,
        [recipient.id for recipient in message.recipients],
        [recipient.digest for recipient in message.recipients],
        numbered,
        [recipient.register_position for recipient in message.recipients],
    )


@given(messages)
def test_a_form_writes_what_the_record_writes(message: MessageRecord):
    blank = message._replace(
        id="", received=0, decided=0, campaign="c", size=1, sender_digest="", recipients=()
    )
    written = filled(Form(blank), message)
    # Facts that are equal need not be one object: the record says them once for each.
    shared = {str(one.facts): one.facts for one in message.recipients}
    alike = tuple([one._replace(facts=shared[str(one.facts)]) for one in message.recipients])
    assert written.text == message._replace(recipients=alike).to_json()
    assert MessageRecord.from_json(written.text) == message
    assert written == Written.of(message)._replace(text=written.text)
