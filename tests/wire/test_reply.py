from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.ehlo import Capabilities
from gateway.wire.reply import MAX_REPLY_LINE, MAX_REPLY_LINES, ProtocolError, Reply, ReplyParser


def parse(chunks):
    """The replies, and whether the stream failed."""
    parser, replies = ReplyParser(), []
    for chunk in chunks:
        try:
            replies += parser.feed(chunk)
        except ProtocolError as error:
            return replies + list(error.replies), True
    return replies, False


@pytest.mark.parametrize(
    ("data", "replies"),
    [
        (b"250 2.1.5 Ok\r\n", [Reply(250, (b"2.1.5 Ok",))]),
        (b"250\r\n", [Reply(250, (b"",))]),
        (b"250 ok\n354 go\n", [Reply(250, (b"ok",)), Reply(354, (b"go",))]),
        (b"250-a\r\n250-b\r\n250 c\r\n", [Reply(250, (b"a", b"b", b"c"))]),
        (b"250-a\r\n250\r\n", [Reply(250, (b"a", b""))]),
        (b"250-\r\n250 b\r\n", [Reply(250, (b"", b"b"))]),
        (b"550 a\rb\0c\r\n", [Reply(550, (b"a b c",))]),
        (b"250 unfinish", []),
    ],
)
def test_replies_are_read(data, replies):
    assert parse([data]) == (replies, False)


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n",
        b"\r\n",
        b"199 x\r\n",
        b"600 x\r\n",
        b"25 x\r\n",
        b"2500 x\r\n",
        b"250_x\r\n",
        b"250-a\r\n251 b\r\n",
        b"HTTP/1.1 400 Bad Request\r\n",
        b"250 " + b"x" * MAX_REPLY_LINE + b"\r\n",
        b"250 " + b"x" * MAX_REPLY_LINE,
        b"250-x\r\n" * MAX_REPLY_LINES,
    ],
)
def test_what_is_no_reply_fails_after_the_replies_before_it(data):
    replies, failed = parse([b"220 hi\r\n" + data])
    assert failed
    assert replies == [Reply(220, (b"hi",))]
    assert parse([bytes([byte]) for byte in b"220 hi\r\n" + data]) == (replies, True)


def test_a_failed_parser_stays_failed():
    parser = ReplyParser()
    for _ in range(2):
        with pytest.raises(ProtocolError):
            parser.feed(b"nonsense\r\n")


LINES = st.binary(max_size=30).map(lambda text: text.replace(b"\n", b"").removesuffix(b"\r"))
REPLIES = st.builds(
    Reply, st.integers(200, 599), st.lists(LINES, min_size=1, max_size=4).map(tuple)
)
STREAMS = st.one_of(
    st.lists(REPLIES, max_size=5).map(lambda replies: b"".join(r.wire() for r in replies)),
    st.lists(
        st.sampled_from([b"250", b"-", b" ", b"ok", b"\r\n", b"\n", b"\r", b"354", b"x", b"\0"]),
        max_size=20,
    ).map(b"".join),
    st.binary(max_size=60),
)


@given(STREAMS, st.lists(st.integers(0, 200), max_size=6))
def test_any_split_gives_the_same_replies(data, cuts):
    """Fed whole, byte by byte or cut anywhere, the same bytes give the same replies."""
    whole = parse([data])
    assert parse([bytes([byte]) for byte in data]) == whole
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    assert parse([data[a:b] for a, b in pairwise(edges)]) == whole


@given(st.lists(REPLIES, max_size=4))
def test_what_is_handed_on_is_one_reply_each(replies):
    """A reply read and written again reads as itself: its text cannot break out."""
    read, failed = parse([b"".join(reply.wire() for reply in replies)])
    assert not failed
    assert len(read) == len(replies)
    assert parse([b"".join(reply.wire() for reply in read)]) == (read, False)


def test_kinds():
    assert Reply(250).positive and not Reply(250).temporary and not Reply(250).permanent
    assert Reply(451).temporary
    assert Reply(550).permanent
    assert Reply.of(250, "a\r\nb", "c").wire() == b"250-a  b\r\n250 c\r\n"
    assert Reply(250, (b"a", b"b")).text == "a b"


CAPABILITIES = st.builds(
    Capabilities,
    st.one_of(st.none(), st.integers(0, 10**12)),
    *[st.booleans()] * 6,
    st.frozensets(st.sampled_from(["PLAIN", "LOGIN", "XOAUTH2"])),
    st.booleans(),
)


@given(CAPABILITIES)
def test_capabilities_read_what_they_write(capabilities):
    """Written as an EHLO answer and read again, capabilities are the same."""
    ((reply,), _) = parse([capabilities.reply("mx.example").wire()])
    assert Capabilities.parse(reply) == capabilities


@given(CAPABILITIES, CAPABILITIES)
def test_an_intersection_claims_nothing_that_one_lacks(one, other):
    """The intersection is the same both ways and never more than either."""
    both = one.intersect(other)
    assert both == other.intersect(one)
    assert both.intersect(one) == both
    assert one.intersect(one) == one


def test_old_and_odd_ehlo_lines():
    reply = Reply(250, (b"PIPELINING", b"size", b"AUTH=LOGIN PLAIN", b"AUTH cram-md5", b"", b"XX"))
    capabilities = Capabilities.parse(reply)
    assert not capabilities.pipelining  # the first line is the host's name
    assert capabilities.size == 0
    assert capabilities.auth == {"LOGIN", "PLAIN", "CRAM-MD5"}
    assert Capabilities.parse(Reply(250, (b"", b"SIZE many"))).size == 0
    assert Capabilities(size=10).intersect(Capabilities(size=0)).size == 10
    assert Capabilities(size=10).intersect(Capabilities()).size is None


@pytest.mark.parametrize(
    "line", [b"250 2.0.0 Ok\r\n", b"250 Ok\r\n", b"354 End data with <CR><LF>.<CR><LF>\r\n"]
)
def test_a_burst_in_the_same_words_is_one_reply_over_and_over(line):
    replies = ReplyParser().feed(line * 100) + ReplyParser().feed(line)
    assert len(replies) == 101
    assert all(reply is replies[0] for reply in replies)
    assert replies[0].wire() == line


@pytest.mark.parametrize(
    "line",
    [
        b"250 2.1.5 <someone@example.test> Ok\r\n",
        b"250 2.0.0 Ok: queued as 4ABC12\r\n",
        b"550 5.1.1 +44 7700 900000 is no customer\r\n",
        b"250 " + b"x" * 100 + b"\r\n",
    ],
)
def test_a_line_that_may_name_somebody_is_not_remembered(line):
    (one,), (other,) = ReplyParser().feed(line), ReplyParser().feed(line)
    assert one == other
    assert one is not other


def test_a_server_of_many_words_does_not_fill_our_memory():
    """The first words of many are forgotten, and all are read as they were said."""
    words = [bytes([a, b]) for a in range(97, 123) for b in range(97, 123)]
    replies = ReplyParser().feed(b"".join(b"250 %b\r\n" % word for word in words))
    assert [reply.lines for reply in replies] == [(word,) for word in words]
    (again,) = ReplyParser().feed(b"250 aa\r\n")
    assert again == replies[0]
    assert again is not replies[0]
