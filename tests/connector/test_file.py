"""CSV files: what is read of them, what is complained of, and what is written."""

import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.connector.connector import Put, ToolUnreadable
from gateway.connector.file import COMPLAINTS, Complaint, complaints_of, rows_in, sheet_of
from gateway.connector.registry import connector_of
from gateway.connector.row import change_of, row_of
from gateway.connector.suppression import Reason, Said, Suppression
from gateway.connector.topics import Topics
from gateway.contacts.contact import Channel
from gateway.contacts.parse import parse_contact
from gateway.entry.entry import Scope
from gateway.provider.request import Answer
from tests.connector.dialogue import answered, place
from tests.connector.test_http import entries

TOPICS = Topics(place(topics=(("newsletter", "News"), ("shoes", "42"))))
NUMBER = "+358401234567"


def lines(text):
    return io.StringIO(text, newline="")


def read(text):
    return [change_of(row, TOPICS) for _, row in rows_in(lines(text))]


def complaints(text):
    told, count = complaints_of(lines(text), TOPICS)
    assert count == len(told)
    return [str(one) for one in told]


ALL = [
    Suppression(parse_contact("a@example.com"), Scope.ALL, Reason.OBJECTION),
    Suppression(parse_contact(NUMBER), Scope.ALL, Reason.OBJECTION),
]


@pytest.mark.parametrize(
    "text",
    [
        f"a@example.com\n{NUMBER}\n",
        f"a@example.com\r\n{NUMBER}",
        f"\ufeffA@Example.com\r\n\r\n {NUMBER} \r\n",
        f'"a@example.com"\n"{NUMBER}"\n',
        f"contact\na@example.com\n{NUMBER}\n",
        f"\ufeffEmail\na@example.com\n{NUMBER}\n",
        f"a@example.com;\n{NUMBER};\n",
        f"scope,contact,reason\nall,a@example.com,\n,{NUMBER},objection\n",
        f"\ufeffcontact;scope;at\r\na@example.com;all;\r\n{NUMBER};;\r\n",
        f'contact\tremoved\n"a@example.com"\t"false"\n{NUMBER}\t\n',
        f"contact,,\na@example.com,,\n{NUMBER}\n",
    ],
)
def test_the_same_two_entries(text):
    assert [(change.said, change.suppression) for change in read(text)] == [
        (Said.ADDED, entry) for entry in ALL
    ]


def test_all_columns():
    [one, two] = read(
        "contact,scope,channel,topic,reason,at,removed\n"
        "a@example.com,topic,email,news,complaint,2026-01-02T03:04:05Z,\n"
        f"{NUMBER},CHANNEL,SMS,,blocked,2026-01-02,yes\n"
    )
    assert one.suppression == Suppression(
        parse_contact("a@example.com"),
        Scope.TOPIC,
        Reason.COMPLAINT,
        Channel.EMAIL,
        "newsletter",
        1_767_323_045_000,
    )
    assert two.said is Said.REMOVED
    assert two.suppression == Suppression(
        parse_contact(NUMBER), Scope.CHANNEL, Reason.BLOCKED, Channel.SMS, at=1_767_312_000_000
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a@example.com\nnobody\n", ["line 2: contact is no e-mail address or number"]),
        ("name,mail\nx,a@example.com\n", ["line 1: the first line does not name"]),
        ("contact,nickname\na@example.com,x\n", ["line 1: column 2 is none of contact, scope"]),
        ("contact,email\na@example.com,b@example.com\n", ["line 1: column 2 is there twice"]),
        ("contact,scope\na@example.com\n", ["line 2: 1 columns, and 2 are expected"]),
        ("contact\na@example.com,x\n", ["line 2: 2 columns, and 1 are expected"]),
        ('contact\n"a@example.com"x\n', ["line 2: the quotes"]),
        ('contact\n"a@example.com\nb@example.com\n', ["line 3: the quotes"]),
        (
            "contact,scope,topic\na@example.com,contact,\nb@example.com,topic,Shoes\n"
            "c@example.com,all,\nd@example.com,topic,\n",
            ["line 2: scope is none of", "line 3: topic is none", "line 5: topic is none"],
        ),
        ("contact,at\na@example.com,1.2.2026\n", ["line 2: at is no time"]),
        ("contact,channel\na@example.com,sms\n", ["line 2: channel is not"]),
    ],
)
def test_complaints_name_lines_and_never_values(text, told):
    found = complaints(text)
    assert len(found) == len(told)
    for one, begin in zip(found, told, strict=True):
        assert one.startswith(begin)
        assert not re.search(r"@|nobody|nickname|Shoes|1\.2\.2026|\+358", one)


def test_complaints_are_told_up_to_a_number():
    told, count = complaints_of(lines("contact\n" + "x\n" * 1000), TOPICS)
    assert len(told) == COMPLAINTS
    assert count == 1000


def test_other_encodings_are_complained_of():
    octets = "contact\na@example.com\nsähkö@example.com\n".encode("latin-1")
    text = io.TextIOWrapper(io.BytesIO(octets), encoding="utf-8", newline="")
    [told], count = complaints_of(text, TOPICS)
    assert count == 1
    assert "UTF-8" in told.text


def test_an_empty_file_has_nothing():
    assert read("") == read("contact\n") == read("\n\n") == []


@settings(deadline=None)
@given(st.lists(entries(), max_size=30))
def test_a_file_is_read_as_it_was_written(found):
    text = sheet_of(row_of(entry, TOPICS) for entry in found)
    assert [change.suppression for change in read(text)] == found
    assert not complaints(text)


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "contact",
                "a@example.com",
                ",",
                ";",
                '"',
                "\n",
                "\r\n",
                "\r",
                "\t",
                "topic",
                "\ufeff",
                "\x00",
                "all",
            ]
        )
        | st.text(max_size=5)
    ).map("".join)
)
def test_any_text_is_read_or_complained_of(text):
    told, count = complaints_of(lines(text), TOPICS)
    assert bool(told) == bool(count)
    assert all(isinstance(one, Complaint) and one.line >= 1 for one in told)
    if not count:
        read(text)


# -- the connector ----------------------------------------------------------------------


def connector():
    return connector_of("file", place(url="", username="", secret="", topics=(("News", "n"),)))


def test_it_asks_for_rows_and_gives_rows():
    body = b'{"rows": [{"contact": "a@example.com"}, {"contact": "x"}], "cursor": "1"}'
    page, [request] = answered(connector().changes("0"), Answer(200, body))
    assert (request.method, request.path, request.query) == ("GET", "/in", "after=0")
    assert [change.suppression for change in page.changes] == ALL[:1]
    assert (page.cursor, page.more, page.bad) == ("1", True, 1)
    page, _ = answered(connector().changes("1"), Answer(204))
    assert (page.changes, page.cursor, page.more) == ((), "", False)
    with pytest.raises(ToolUnreadable):
        answered(connector().changes(""), Answer(200, b"{}"))


def test_it_puts_what_it_can_name():
    found = [*ALL, Suppression(ALL[0].contact, Scope.TOPIC, Reason.OBJECTION, topic="shoes")]
    results, [request] = answered(connector().put(found), Answer(201, b"{}"))
    assert [result.done for result in results] == [True, True, False]
    assert results[2].final
    assert request.path == "/out"
    results, asked = answered(connector().put(found[2:]))
    assert results == [Put(False, "topic has no name there", final=True)]
    assert not asked


def test_it_has_no_whole_list():
    page, asked = answered(connector().listing(""))
    assert not asked
    assert not page.more
    assert not connector().holds.lists
    assert connector().holds.topics == {"news"}
