import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.command import MailCommand, RcptCommand
from gateway.wire.ehlo import Capabilities
from gateway.wire.path import PathError, parse_mail, parse_rcpt, parse_rcpt_run

FULL = Capabilities(size=0, eight_bit=True, smtputf8=True, dsn=True, auth=frozenset({"PLAIN"}))


@pytest.mark.parametrize(
    ("argument", "address"),
    [
        (b"TO:<a@b.example>", "a@b.example"),
        (b"to:<a@b.example>", "a@b.example"),
        (b"TO: <a@b.example>", "a@b.example"),
        (b"TO:<a.b+c=d@b-c.example> ", "a.b+c=d@b-c.example"),
        (b"TO:<a@localhost>", "a@localhost"),
        (b'TO:<"a b"@b.example>', '"a b"@b.example'),
        (b'TO:<"a>b\\"c"@b.example>', '"a>b\\"c"@b.example'),
        (b"TO:<a@[192.0.2.1]>", "a@[192.0.2.1]"),
        (b"TO:<a@[IPv6:2001:db8::1]>", "a@[IPv6:2001:db8::1]"),
        (b"TO:<@one.example,@two.example:a@b.example>", "a@b.example"),
        (b"TO:<Postmaster>", "Postmaster"),
        ("TO:<jörgen@åäö.example>".encode(), "jörgen@åäö.example"),
        (b"TO:<" + b"a" * 80 + b"@b.example>", "a" * 80 + "@b.example"),
    ],
)
def test_a_recipient_is_read(argument, address):
    read = parse_rcpt(argument)
    assert read.address == address
    assert read.raw_path == f"<{address}>".encode()
    assert read.params == {}
    assert read.international == (not address.isascii())


def test_a_return_path_may_be_empty_and_a_recipient_may_not():
    assert parse_mail(b"FROM:<>").address == ""
    assert parse_mail(b"FROM:<> SIZE=5").params == {"SIZE": "5"}
    with pytest.raises(PathError) as refused:
        parse_rcpt(b"TO:<>")
    assert refused.value.reply.startswith("501 5.1.3 ")


@pytest.mark.parametrize(
    ("argument", "status"),
    [
        (b"", "5.5.4"),
        (b"FROM:", "5.5.4"),
        (b"FROM:a@b.example", "5.5.4"),
        (b"FROM <a@b.example>", "5.5.4"),
        (b"TO:<a@b.example>", "5.5.4"),
        (b"FROM:<a@b.example", "5.1.7"),
        (b"FROM:<a>", "5.1.7"),
        (b"FROM:<postmaster>", "5.1.7"),
        (b"FROM:<a@>", "5.1.7"),
        (b"FROM:<@b.example>", "5.1.7"),
        (b"FROM:<a..b@b.example>", "5.1.7"),
        (b"FROM:<.a@b.example>", "5.1.7"),
        (b"FROM:<a b@b.example>", "5.1.7"),
        (b"FROM:<a@b..example>", "5.1.7"),
        (b"FROM:<a@-b.example>", "5.1.7"),
        (b"FROM:<a@b.example>x", "5.1.7"),
        (b"FROM:<a@[192.0.2.256]>", "5.1.7"),
        (b"FROM:<a@[IPv6:2001:zz::1]>", "5.1.7"),
        (b'FROM:<"a"b@b.example>', "5.1.7"),
        (b"FROM:<a@b.example>\r\nRCPT TO:<c@d.example>", "5.1.7"),
        (b"FROM:<a@b.example>\n", "5.1.7"),
        (b"FROM:<a\0@b.example>", "5.1.7"),
        (b'FROM:<"a\tb"@b.example>', "5.1.7"),
        ("FROM:<a\u0085b@b.example>".encode(), "5.1.7"),
        ("FROM:<a\u2028b@b.example>".encode(), "5.1.7"),
        (b"FROM:<\xff@b.example>", "5.1.7"),
        (b"FROM:<a@" + b"b" * 64 + b".example>", "5.1.7"),
        (b"FROM:<" + b"a" * 250 + b"@b.example>", "5.1.7"),
        (b"FROM:<a@b.example> SIZE", "5.5.4"),
        (b"FROM:<a@b.example> SIZE=x", "5.5.4"),
        (b"FROM:<a@b.example> SIZE=1 size=2", "5.5.4"),
        (b"FROM:<a@b.example> BODY=9BIT", "5.5.4"),
        (b"FROM:<a@b.example> SMTPUTF8=1", "5.5.4"),
        (b"FROM:<a@b.example> ENVID=a+zz", "5.5.4"),
        (b"FROM:<a@b.example> ENVID=a+0D+0A", "5.5.4"),
        (b"FROM:<a@b.example> RET=HALF", "5.5.4"),
        (b"FROM:<a@b.example> X=a=b", "5.5.4"),
        (b"FROM:<a@b.example> X=\r\n", "5.5.4"),
        (b"FROM:<a@b.example> X=\x7f", "5.5.4"),
        ("FROM:<a@b.example> X=\u0085".encode(), "5.5.4"),
        (b"FROM:<a@b.example> =1", "5.5.4"),
    ],
)
def test_what_is_no_return_path_is_refused_with_its_status(argument, status):
    with pytest.raises(PathError) as refused:
        parse_mail(argument)
    assert (refused.value.code, refused.value.status) == (501, status)


def test_parameters_keep_order_and_value():
    read = parse_mail(b"FROM:<a@b.example> size=10 BODY=8BITMIME SMTPUTF8 AUTH=<> ENVID=a+2Bb")
    assert list(read.params.items()) == [
        ("SIZE", "10"),
        ("BODY", "8BITMIME"),
        ("SMTPUTF8", None),
        ("AUTH", "<>"),
        ("ENVID", "a+2Bb"),
    ]
    read = parse_rcpt(b"TO:<a@b.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+2Bc@b.example")
    assert read.params == {"NOTIFY": "SUCCESS,DELAY", "ORCPT": "rfc822;a+2Bc@b.example"}


@pytest.mark.parametrize("value", ["NEVER,SUCCESS", "", "SOMETIMES"])
def test_a_bad_notify_is_refused(value):
    with pytest.raises(PathError):
        parse_rcpt(b"TO:<a@b.example> NOTIFY=" + value.encode())


@pytest.mark.parametrize("value", ["rfc822", "rfc822;", "rfc822;a+b@c", "rfc822;a+0Ab", ";x"])
def test_a_bad_orcpt_is_refused(value):
    with pytest.raises(PathError):
        parse_rcpt(b"TO:<a@b.example> ORCPT=" + value.encode())


PIECES = st.sampled_from(
    [
        *'<>@,:[]\\"aä \r\n\0\x7f\x85\u2028',
        *("FROM:", "b.example", "IPv6:", "::1", "SIZE=1", "X=", "ENVID=", "ORCPT=rfc822;"),
    ]
)
TEXTS = st.one_of(
    st.lists(PIECES, max_size=14).map("".join),
    st.builds(
        "FROM:<{}@{}>{}".format,
        st.text(max_size=12),
        st.text(max_size=12),
        st.text(max_size=12).map(" X={}".format),
    ),
).map(lambda text: text.encode(errors="ignore"))
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@given(TEXTS)
def test_no_control_character_gets_into_an_address_a_parameter_or_a_command(argument):
    """Whatever is accepted holds no CR, LF, NUL or other control character."""
    for parse, data in (
        (parse_mail, argument),
        (parse_rcpt, argument.replace(b"FROM:", b"TO:", 1)),
    ):
        try:
            read = parse(data)
        except PathError:
            continue
        words = [read.address, read.raw_path.decode(), *read.params, *read.params.values()]
        assert not any(CONTROL.search(word or "") for word in words)
        assert len(read.raw_path) <= 256
        line = (
            MailCommand(read.raw_path, read.params).line(FULL)
            if parse is parse_mail
            else RcptCommand(read.raw_path, read.params).line()
        )
        assert line.index(b"\r\n") == len(line) - 2
        assert line.count(b"\n") == line.count(b"\r") == 1


LOCAL = st.from_regex(r"[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]{1,10}(\.[a-z]{1,5})?", fullmatch=True)
DOMAIN = st.from_regex(r"[a-z0-9]{1,5}(-[a-z0-9]{1,5})?(\.[a-z0-9]{1,8}){0,3}", fullmatch=True)


@given(LOCAL, DOMAIN)
def test_the_short_way_and_the_whole_grammar_agree(local, domain):
    """A plain address reads the same as the same address behind a source route."""
    plain = parse_rcpt(f"TO:<{local}@{domain}>".encode())
    routed = parse_rcpt(f"TO:<@r.example:{local}@{domain}>".encode())
    assert plain == routed
    assert plain.address == f"{local}@{domain}"


@given(LOCAL, DOMAIN, st.booleans())
def test_what_was_read_is_written_and_read_again(local, domain, never):
    """Reading, writing as a command and reading again changes nothing."""
    tail = " NOTIFY=NEVER" if never else ""
    read = parse_rcpt(f"TO:<{local}@{domain}>{tail}".encode())
    line = RcptCommand.of(read).line()
    assert line.startswith(b"RCPT ")
    assert parse_rcpt(line[5:-2]) == read


@pytest.mark.parametrize("path", [b"<a@b>\r\nX", b"<a\r@b>", b"a@b", b"<a\n@b>", b"<\0>"])
def test_a_command_refuses_a_path_that_breaks_its_line(path):
    with pytest.raises(PathError):
        MailCommand(path)
    with pytest.raises(PathError):
        RcptCommand(path)


def test_a_command_refuses_a_parameter_that_breaks_its_line():
    with pytest.raises(PathError):
        MailCommand(b"<>", {"X": "a\r\nDATA"}).line(FULL)
    with pytest.raises(PathError):
        RcptCommand(b"<a@b>", {"X": "a b"}).line()


def test_a_command_says_what_it_lacks():
    mail = MailCommand(b"<>", {"SIZE": "5", "BODY": "8BITMIME"})
    assert mail.lacking(Capabilities()) == "8BITMIME"
    assert mail.lacking(Capabilities(eight_bit=True)) is None
    assert mail.line(Capabilities(eight_bit=True)) == b"MAIL FROM:<> BODY=8BITMIME\r\n"
    assert MailCommand(b"<>", {"BODY": "binarymime"}).lacking(FULL) == "BINARYMIME"
    assert MailCommand(b"<>", {"SMTPUTF8": None}).lacking(Capabilities()) == "SMTPUTF8"
    assert MailCommand(b"<>", {"RET": "FULL"}).lacking(Capabilities()) == "DSN"
    assert RcptCommand(b"<a@b>", {"NOTIFY": "NEVER"}).lacking(Capabilities()) == "DSN"
    assert RcptCommand(b"<a@b>", {"NOTIFY": "NEVER"}).lacking(FULL) is None
    assert mail.line(FULL) == b"MAIL FROM:<> SIZE=5 BODY=8BITMIME\r\n"


_RCPT_LINES = st.lists(
    st.sampled_from(
        [
            b"RCPT TO:<a@b.example>",
            b"rcpt to:<A.b+c@D-e.example>",
            b"RCPT TO: <a@b.example>",
            b"RCPT TO:<a@b.example> ",
            b"RCPT TO:<a@b.example> NOTIFY=NEVER",
            b"RCPT TO:<>",
            b"RCPT TO:<a@b.example",
            b"RCPT TO:<a@b.example>RCPT TO:<c@d.example>",
            b"RCPT TO:<" + b"a" * 70 + b"@b.example>",
            b"RCPT TO:<a@" + b"b" * 70 + b".example>",
            "RCPT TO:<å@b.example>".encode(),
        ]
    ),
    min_size=1,
    max_size=6,
)


@given(_RCPT_LINES)
def test_a_run_of_recipients_is_read_as_each_of_them_alone(lines):
    """Read at once or one by one, the same lines give the same recipients."""
    read = parse_rcpt_run(b"".join(line + b"\r\n" for line in lines))
    if read is not None:
        assert read == [parse_rcpt(line[5:].strip(b" \t")) for line in lines]


def test_a_run_of_plain_recipients_is_read_at_once():
    run = b"".join(b"RCPT TO:<r%d@b.example>\r\n" % number for number in range(50))
    read = parse_rcpt_run(run)
    assert read is not None
    assert [one.raw_path for one in read] == [b"<r%d@b.example>" % n for n in range(50)]
