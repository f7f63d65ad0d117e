"""No address in the log, whatever comes in."""

import pytest

from gateway.unsubscribe.link import Purpose
from tests.bounce.samples import NOTIFICATIONS
from tests.inbound.conftest import BOUNCES, OURS, UNSUBSCRIBE
from tests.peers.journal import written_log

WHO = "aino.virtanen@mail.example"
WORDS = ("aino", "virtanen", "mail.example", "zebra")
ODD = [
    "",
    WHO,
    f"Subject: {WHO} zebra\r\n\r\n{WHO}",
    f"Subject: =?utf-8?q?{WHO}?= =?{WHO}?\r\nTo: {WHO}\r\n\r\n",
    f"Content-Type: multipart/report; report-type={WHO}; boundary={WHO}\r\n\r\n--{WHO}\r\n\r\n",
    f"Content-Type: {WHO}; charset={WHO}\r\nContent-Transfer-Encoding: {WHO}\r\n\r\nzebra",
    "Content-Type: multipart/report; report-type=delivery-status; boundary=x\r\n\r\n--x\r\n"
    f"Content-Type: message/delivery-status\r\n\r\n{WHO}: {WHO}\r\n\r\n"
    f"Final-Recipient: {WHO}\r\nAction: {WHO}\r\nStatus: {WHO}\r\n\r\n--x--\r\n",
    "Content-Type: multipart/report; report-type=feedback-report; boundary=x\r\n\r\n--x\r\n"
    f"Content-Type: message/feedback-report\r\n\r\nFeedback-Type: {WHO}\r\n"
    f"Original-Rcpt-To: {WHO}\r\nArrival-Date: {WHO}\r\n\r\n--x--\r\n",
]


@pytest.mark.slow
async def test_the_log_names_nobody(post):
    with written_log() as log:
        token = post.token(WHO)
        confirm = post.token(WHO, purpose=Purpose.CONFIRM)
        for subject in (token, confirm, token[:-4], f"{WHO} {token}", f"{token} {WHO} zebra"):
            message = f"From: {WHO}\r\nSubject: {subject}\r\n\r\nzebra {WHO}\r\n".encode()
            await post.bring(UNSUBSCRIBE, message, sender=f"<{WHO}>")
        for text in ODD:
            for recipient in (UNSUBSCRIBE, BOUNCES, WHO, f"bounces+{WHO}"):
                await post.bring(recipient, text.encode(), source=OURS, sender=f"<{WHO}>")
        for one in NOTIFICATIONS:
            octets = one.octets.replace(b"maija", b"aino.virtanen")
            await post.bring(BOUNCES, octets, source=OURS)
        async with post.caller(OURS) as client:
            for line in (
                f"MAIL FROM:<{WHO}> X-AINO={WHO}",
                f"MAIL FROM:<{WHO}> SIZE={WHO}",
                f"RCPT TO:<{WHO}>",
                f"VRFY {WHO}",
                "MAIL FROM:<>",
                f"RCPT TO:{WHO}",
                f"RCPT TO:<aino virtanen@@{WHO}>",
                f"{WHO} zebra",
            ):
                await client.say(line)
    lines = log.getvalue().splitlines()
    assert any("unsubscribed" in line for line in lines)
    assert any("report_taken" in line for line in lines)
    found = [line for line in lines if any(word in line.lower() for word in WORDS)]
    assert not found
