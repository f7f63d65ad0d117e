"""Bounces and complaints in the shapes of many mail servers, written for these tests.

Each sample is a message and, by recipient, what must be read of it: the code of a hard
failure.  Recipients that are told of and must be spared stand in ``spared``.
"""

from dataclasses import dataclass, field

_ORIGINAL = """\
Received: from tool.example (tool.example [192.0.2.1]) by mx.example; Mon, 5 Oct 2026 10:00:00 +0300
From: LamisNET <uutiset@lamisnet.example>
To: {to}
Subject: Uutiset 5.1.1 user unknown
Message-ID: <uutiset.1@lamisnet.example>
List-Unsubscribe: <https://preferences.example/u/AbCdEfGhIjKlMnOpQrStUvWxYz0123456789>,
 <mailto:unsubscribe@lamisnet.example?subject=AbCdEfGhIjKlMnOpQrStUvWxYz0123456789>
List-Unsubscribe-Post: List-Unsubscribe=One-Click

Hei! (5.1.1 does not exist)
"""


@dataclass(frozen=True)
class Sample:
    name: str
    text: str
    hard: dict[str, str] = field(default_factory=dict)
    spared: int = 0
    message_id: str = "uutiset.1@lamisnet.example"
    written_to: dict[str, str] = field(default_factory=dict)
    """By recipient, whom the message is said to have been written to, where it is another."""

    @property
    def octets(self) -> bytes:
        return self.text.replace("\n", "\r\n").encode()


def report(
    words: str,
    *blocks: str,
    to: str = "matti@asiakas.example",
    about: str = "Reporting-MTA: dns; mx.example\nArrival-Date: Mon, 5 Oct 2026 10:00:00 +0300",
    kind: str = "delivery-status",
    returned: str = "message/rfc822",
    sender: str = "MAILER-DAEMON@mx.example (Mail Delivery System)",
) -> str:
    """A multipart/report with these groups of recipient fields."""
    groups = "\n\n".join([about, *blocks])
    return f"""\
Return-Path: <>
From: {sender}
To: bounces@lamisnet.example
Subject: Undelivered Mail Returned to Sender
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type={kind};
\tboundary="A1B2C3.1791190800/mx.example"

This is a MIME-encapsulated message.

--A1B2C3.1791190800/mx.example
Content-Description: Notification
Content-Type: text/plain; charset=us-ascii

{words}

--A1B2C3.1791190800/mx.example
Content-Description: Delivery report
Content-Type: message/{kind}

{groups}

--A1B2C3.1791190800/mx.example
Content-Description: Undelivered Message
Content-Type: {returned}

{_ORIGINAL.format(to=to)}
--A1B2C3.1791190800/mx.example--
"""


def recipient(
    address: str, status: str, diagnostic: str = "", action: str = "failed", **more: str
) -> str:
    lines = [f"Final-Recipient: rfc822; {address}", f"Action: {action}", f"Status: {status}"]
    if diagnostic:
        lines.append(f"Diagnostic-Code: smtp; {diagnostic}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in more.items()]
    return "\n".join(lines)


def plain(words: str, *, sender: str, to: str = "matti@asiakas.example", headers: str = "") -> str:
    """A bounce of one text part, the message that came back below it."""
    return f"""\
Return-Path: <>
From: {sender}
To: bounces@lamisnet.example
Subject: Mail delivery failed: returning message to sender
{headers}Message-Id: <bounce.7@mx.example>

{words}
{_ORIGINAL.format(to=to)}"""


M = "matti@asiakas.example"

NOTIFICATIONS = [
    Sample(
        "postfix unknown user",
        report(
            f"<{M}>: host mx.asiakas.example[192.0.2.9] said: 550 5.1.1 <{M}>: Recipient\n"
            "    address rejected: User unknown in virtual mailbox table (in reply to RCPT\n"
            "    TO command)",
            recipient(
                M,
                "5.1.1",
                f"550 5.1.1 <{M}>: Recipient address\n    rejected: User unknown in relay table",
                Original_Recipient=f"rfc822;{M}",
                Remote_MTA="dns; mx.asiakas.example",
            ),
        ),
        {M: "5.1.1"},
    ),
    Sample(
        "postfix no such domain",
        report(
            f"<{M}>: Host or domain name not found. Name service error for\n"
            "    name=asiakas.example type=AAAA: Host not found",
            recipient(M, "5.4.4").replace(
                "Status: 5.4.4",
                "Status: 5.4.4\nDiagnostic-Code: X-Postfix; Host or domain name not found.\n"
                "    Name service error for name=asiakas.example type=AAAA: Host not found",
            ),
        ),
        {M: "5.4.4"},
    ),
    Sample(
        "postfix null mx",
        report(
            "x",
            recipient(M, "5.1.0").replace(
                "Status: 5.1.0",
                "Status: 5.1.10\nDiagnostic-Code: X-Postfix; Domain asiakas.example takes no mail\n"
                "    (nullMX)",
            ),
        ),
        {M: "5.1.10"},
    ),
    Sample(
        "postfix gave up after five days",
        report("x", recipient(M, "4.4.1", action="failed").replace("smtp;", "X-Postfix;")),
        spared=1,
    ),
    Sample("postfix delayed", report("x", recipient(M, "4.4.1", "timed out", "delayed")), spared=1),
    Sample("relayed", report("x", recipient(M, "2.0.0", "250 Ok", "relayed")), spared=1),
    Sample("expanded", report("x", recipient(M, "2.0.0", "", "expanded")), spared=1),
    Sample("delivered", report("x", recipient(M, "2.0.0", "250 Ok", "delivered")), spared=1),
    Sample(
        "full mailbox",
        report(
            "x",
            recipient(M, "5.2.2", f"552 5.2.2 <{M}>: Quota exceeded (mailbox for user is full)"),
        ),
        spared=1,
    ),
    Sample(
        "full mailbox told as 5.1.1",
        report("x", recipient(M, "5.1.1", "550 5.1.1 Mailbox quota exceeded")),
        spared=1,
    ),
    Sample(
        "policy",
        report(
            "x",
            recipient(
                M, "5.7.1", "550 5.7.1 Service unavailable; client host blocked using a list"
            ),
        ),
        spared=1,
    ),
    Sample(
        "sendmail makes 5.1.1 of a spam refusal",
        report("x", recipient(M, "5.1.1", "550 Message rejected as spam by content filtering.")),
        spared=1,
    ),
    Sample(
        "sendmail",
        report(
            "   ----- The following addresses had permanent fatal errors -----\n"
            f"<{M}>\n    (reason: 550 5.1.1 <{M}>... User unknown)",
            recipient(
                M, "5.1.1", f"550 5.1.1 <{M}>... User unknown", Remote_MTA="DNS; mx.asiakas.example"
            ),
            about="Reporting-MTA: dns; sendmail.example\nReceived-From-MTA: DNS; tool.example",
            returned="text/rfc822-headers",
        ),
        {M: "5.1.1"},
    ),
    Sample(
        "a table of sendmail's",
        report("x", recipient(M, "5.3.0", f"553 5.3.0 <{M}>... Addressee unknown")),
        {M: "5.3.0"},
    ),
    Sample("sendmail in trouble", report("x", recipient(M, "5.3.0", "unknown error")), spared=1),
    Sample(
        "gmail no such user",
        report(
            "** Address not found **",
            recipient(
                M,
                "5.1.1",
                "550-5.1.1 The email account that you tried to reach does not exist. Please try\n"
                " 550-5.1.1 double-checking the recipient's email address for typos or\n"
                " 550-5.1.1 unnecessary spaces. For more information, go to\n"
                " 550 5.1.1  https://support.example/mail/?p=NoSuchUser af1-20.5 - gsmtp",
            ),
            sender="Mail Delivery Subsystem <mailer-daemon@googlemail.example>",
        ),
        {M: "5.1.1"},
    ),
    Sample(
        "gmail inactive",
        report(
            "x",
            recipient(
                M, "5.2.1", "550 5.2.1 The email account that you tried to reach is inactive."
            ),
        ),
        {M: "5.2.1"},
    ),
    Sample(
        "gmail too fast",
        report(
            "x",
            recipient(
                M,
                "5.2.1",
                "550-5.2.1 The user you are trying to contact is receiving mail at a rate that\n"
                " 550 5.2.1 prevents additional messages from being delivered.",
            ),
        ),
        spared=1,
    ),
    Sample(
        "gmail over quota",
        report(
            "x", recipient(M, "4.2.2", "452-4.2.2 The recipient's inbox is out of storage space.")
        ),
        spared=1,
    ),
    Sample(
        "exchange online",
        report(
            "Your message to matti@asiakas.example couldn't be delivered.",
            recipient(
                M,
                "5.1.10",
                "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP lookup",
            ),
        ),
        {M: "5.1.10"},
    ),
    Sample(
        "exchange online, edge",
        report(
            "x",
            recipient(
                M,
                "5.4.1",
                "550 5.4.1 Recipient address rejected: Access denied. [AM6EUR05.eop.example]",
            ),
        ),
        {M: "5.4.1"},
    ),
    Sample(
        "host does not answer", report("x", recipient(M, "5.4.1", "No answer from host")), spared=1
    ),
    Sample(
        "exchange, size",
        report(
            "x", recipient(M, "5.2.3", "550 5.2.3 RESOLVER.RST.RecipSizeLimit; message too large")
        ),
        spared=1,
    ),
    Sample(
        "exchange, sender not allowed",
        report(
            "x", recipient(M, "5.7.133", "550 5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup")
        ),
        spared=1,
    ),
    Sample(
        "exim, remote",
        report(
            "A message that you sent could not be delivered to one or more of its recipients.\n\n"
            f"  {M}\n    host mx.asiakas.example [192.0.2.9]\n"
            "    SMTP error from remote mail server after RCPT TO:\n    550 No Such User Here",
            recipient(M, "5.0.0", "550 No Such User Here", Remote_MTA="dns; mx.asiakas.example"),
            sender="Mail Delivery System <Mailer-Daemon@exim.example>",
        ),
        {M: "5.0.0"},
    ),
    Sample(
        "exim, its own router",
        report(
            "A message that you sent could not be delivered to one or more of its\n"
            f"recipients. This is a permanent error. The following address(es) failed:\n\n"
            f"  {M}\n    all relevant MX records point to non-existent hosts\n\n"
            "  liisa@asiakas.example\n    Unrouteable address",
            recipient(M, "5.0.0"),
            recipient("liisa@asiakas.example", "5.0.0"),
        ),
        {"liisa@asiakas.example": "5.0.0"},
        spared=1,
    ),
    Sample(
        "several, of which one is gone",
        report(
            "x",
            recipient("a@x.example", "5.1.1", "550 5.1.1 no such user"),
            recipient("b@x.example", "5.7.1", "550 5.7.1 blocked"),
            recipient("c@x.example", "4.2.2", "452 4.2.2 full", "delayed"),
        ),
        {"a@x.example": "5.1.1"},
        spared=2,
    ),
    Sample(
        "forwarded: the address that was written to is told",
        report(
            "x",
            recipient(
                "matti.old@isp.example",
                "5.1.1",
                "550 5.1.1 User unknown",
                Original_Recipient="rfc822;Matti@asiakas.example",
            ),
        ),
        {"matti.old@isp.example": "5.1.1"},
        written_to={"matti.old@isp.example": "Matti@asiakas.example"},
    ),
    Sample(
        "xtext that was not undone",
        report(
            "x",
            recipient(
                "x@y.example", "5.1.1", Original_Recipient="rfc822;matti+2Buutiset@asiakas.example"
            ),
        ),
        {"x@y.example": "5.1.1"},
        written_to={"x@y.example": "matti+uutiset@asiakas.example"},
    ),
    Sample(
        "a tag of figures is no xtext: the final recipient says the same",
        report(
            "x",
            *(
                recipient(
                    f"m+{tag}@x.example", "5.1.1", Original_Recipient=f"rfc822;m+{tag}@x.example"
                )
                for tag in ("20", "2B", "3D")
            ),
        ),
        {"m+20@x.example": "5.1.1", "m+2B@x.example": "5.1.1", "m+3D@x.example": "5.1.1"},
    ),
    Sample(
        "a quoted local part",
        report("x", recipient('"matti meikäläinen"@asiakas.example', "5.1.1")),
        {'"matti meikäläinen"@asiakas.example': "5.1.1"},
    ),
    Sample(
        "an angle address without a type",
        report(
            "x",
            "Final-Recipient: <matti@asiakas.example>\n"
            "Action: Failed (user unknown)\nStatus: 5.1.1",
        ),
        {M: "5.1.1"},
    ),
    Sample(
        "opensmtpd",
        report("x", recipient(M, "5.1.1", "550 5.1.1 Invalid recipient", "error")),
        {M: "5.1.1"},
    ),
    Sample(
        "x400",
        report("x", "Final-Recipient: x400; /C=fi/A= /\nAction: failed\nStatus: 5.1.1"),
        spared=1,
    ),
    Sample(
        "internationalised",
        report(
            "x",
            "Final-Recipient: utf-8; j\\x{E4}rvi@ty\\x{F6}.example\n"
            "Original-Recipient: utf-8; j\\x{E4}rvi@ty\\x{F6}.example\n"
            "Action: failed\nStatus: 5.1.1",
            kind="global-delivery-status",
            returned="message/global-headers",
        ),
        {"järvi@työ.example": "5.1.1"},
    ),
]

OTHERS = [
    Sample(
        "qmail",
        plain(
            "Hi. This is the qmail-send program at qmail.example.\n"
            "I'm afraid I wasn't able to deliver your message to the following addresses.\n"
            "This is a permanent error; I've given up. Sorry it didn't work out.\n\n"
            f"<{M}>:\nSorry, no mailbox here by that name. (#5.1.1)\n\n"
            "--- Below this line is a copy of the message.\n",
            sender="MAILER-DAEMON@qmail.example",
        ),
        {M: "5.1.1"},
        message_id="",
    ),
    Sample(
        "qmail, full",
        plain(
            "Hi. This is the qmail-send program at qmail.example.\n"
            "I'm afraid I wasn't able to deliver your message to the following addresses.\n"
            "This is a permanent error; I've given up. Sorry it didn't work out.\n\n"
            f"<{M}>:\nThe users mailfolder is over the allowed quota (size). (#5.2.2)\n\n"
            "--- Below this line is a copy of the message.\n",
            sender="MAILER-DAEMON@qmail.example",
        ),
        spared=1,
        message_id="",
    ),
    Sample(
        "qmail, two of which one is gone",
        plain(
            "Hi. This is the qmail-send program at qmail.example.\n"
            "I'm afraid I wasn't able to deliver your message to the following addresses.\n"
            "This is a permanent error; I've given up. Sorry it didn't work out.\n\n"
            "<full@asiakas.example>:\n192.0.2.9 does not like recipient.\n"
            "Remote host said: 552 5.2.2 mailbox is over quota\nGiving up on 192.0.2.9.\n\n"
            "<gone@asiakas.example>:\n192.0.2.9 does not like recipient.\n"
            "Remote host said: 550 5.1.1 no such user\nGiving up on 192.0.2.9.\n\n"
            "--- Below this line is a copy of the message.\n",
            sender="MAILER-DAEMON@qmail.example",
        ),
        {"gone@asiakas.example": "5.1.1"},
        spared=1,
        message_id="",
    ),
    Sample(
        "exim of old",
        plain(
            "This message was created automatically by mail delivery software.\n\n"
            "A message that you sent could not be delivered to one or more of its\n"
            "recipients. This is a permanent error. The following address(es) failed:\n\n"
            f"  {M}\n    SMTP error from remote mail server after RCPT TO:<{M}>:\n"
            "    host mx.asiakas.example [192.0.2.9]: 550 5.1.1 unknown user\n\n"
            "------ This is a copy of the message, including all the headers. ------\n",
            sender="Mail Delivery System <Mailer-Daemon@exim.example>",
            headers=f"X-Failed-Recipients: {M}\n",
        ),
        {M: "5.1.1"},
        message_id="",
    ),
    Sample(
        "exim of old, no reason told",
        plain(
            "The following address(es) failed:\n\n"
            f"  {M}\n    the filter said no\n\n"
            "------ This is a copy of the message, including all the headers. ------\n",
            sender="Mail Delivery System <Mailer-Daemon@exim.example>",
            headers=f"X-Failed-Recipients: {M}\n",
        ),
        spared=1,
        message_id="",
    ),
]

OTHERS += [
    Sample(
        name,
        plain(f"{words}\n\n--- Original message follows.\n", sender=sender),
        {M: code} if hard else {},
        spared=0 if hard else 1,
        message_id="",
    )
    for name, sender, hard, code, words in [
        (
            "a mailbox that was closed",
            "MAILER-DAEMON@yahoo.example",
            True,
            "",
            "Message from yahoo.example.\nUnable to deliver message to the following address(es)."
            f"\n\n<{M}>:\nSorry your message to {M} cannot be delivered. This account has\n"
            "been disabled or discontinued.",
        ),
        (
            "a mailbox over its quota",
            "MAILER-DAEMON@yahoo.example",
            False,
            "",
            "Message from yahoo.example.\nUnable to deliver message to the following address(es)."
            f"\n\n<{M}>:\nSorry, your message to {M} cannot be delivered. This account is\n"
            "over quota.",
        ),
        (
            "a server that did not answer",
            "MAILER-DAEMON@yahoo.example",
            False,
            "",
            "Message from yahoo.example.\nUnable to deliver message to the following address(es)."
            f"\n\n<{M}>:\nSorry, I wasn't able to establish an SMTP connection. (#4.4.1)\n"
            "I'm not going to try again; this message has been in the queue too long.",
        ),
        (
            "the reason stands before the address",
            "Postmaster <postmaster@smtp32.example>",
            True,
            "",
            f"Invalid final delivery userid: {M}\n",
        ),
    ]
]

NO_REPORTS = [
    Sample(
        "an absent person",
        plain(
            "I am away until Monday. 550 5.1.1 user unknown", sender="Matti <matti@asiakas.example>"
        ),
        message_id="",
    ),
    Sample("nothing", "\n", message_id=""),
]

TOKEN = "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789"


def feedback(kind: str, *fields: str, to: str = "redacted@isp.example", more: str = "") -> bytes:
    """A complaint (RFC 5965) about the message."""
    lines = "\n".join([f"Feedback-Type: {kind}", "User-Agent: SomeISP/1.0", "Version: 1", *fields])
    text = f"""\
From: <abusedesk@isp.example>
Date: Mon, 5 Oct 2026 12:00:00 +0300
Subject: FW: Uutiset
To: <bounces@lamisnet.example>
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report;
     boundary="part1_13d.2e68ed54_boundary"

--part1_13d.2e68ed54_boundary
Content-Type: text/plain; charset="US-ASCII"
Content-Transfer-Encoding: 7bit

This is an email abuse report for an email message received from IP 192.0.2.1.

--part1_13d.2e68ed54_boundary
Content-Type: message/feedback-report

{lines}

--part1_13d.2e68ed54_boundary
Content-Type: message/rfc822
Content-Disposition: inline

{more}{_ORIGINAL.format(to=to)}
--part1_13d.2e68ed54_boundary--
"""
    return text.replace("\n", "\r\n").encode()
