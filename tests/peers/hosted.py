"""Sending services as stand-ins on sockets, each calling as it signs."""

from __future__ import annotations

import base64
import hmac
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import orjson
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

from tests.peers.fleet import SECRET, TOPIC, Call, Fleet, Stands, iso
from tests.peers.tools.brevo import KEY as BREVO_KEY
from tests.peers.tools.brevo import Brevo
from tests.peers.tools.mailchimp import KEY as MAILCHIMP_KEY
from tests.peers.tools.mailchimp import Mailchimp
from tests.peers.tools.mailgun import MailgunDomain
from tests.peers.tools.mandrill import KEY as MANDRILL_KEY
from tests.peers.tools.mandrill import Mandrill, signed
from tests.peers.tools.postmark import TOKEN, Postmark
from tests.peers.tools.sendgrid import SendGridLists
from tests.peers.tools.ses import SesList
from tests.peers.tools.twilio_consents import ACCOUNT, SERVICE, TwilioConsents

MANDRILL_URL = "https://hooks.lamisnet.example/hooks/mandrill"
SNS_TOPIC = "arn:aws:sns:eu-north-1:123456789012:ses-events"
GROUP = 77

_EC = ec.generate_private_key(ec.SECP256R1())
_RSA = rsa.generate_private_key(65537, 2048)


async def sendgrid(fleet: Fleet) -> None:
    """Its event webhook is signed by ECDSA over the time and the body."""
    lists = SendGridLists()
    lists.make_group(GROUP, "News")

    def call(**event: Any) -> Callable[[str], Call]:
        def made(address: str) -> Call:
            stamp = str(int(time.time()))
            body = orjson.dumps([{"email": address, "timestamp": int(stamp), **event}])
            signature = _EC.sign(stamp.encode() + body, ec.ECDSA(hashes.SHA256()))
            prefix = "X-Twilio-Email-Event-Webhook"
            shown = base64.b64encode(signature).decode()
            return Call({f"{prefix}-Signature": shown, f"{prefix}-Timestamp": stamp}, body)

        return made

    def stands(address: str) -> Stands:
        def on(entries: list[dict[str, Any]]) -> bool:
            return any(one["email"] == address for one in entries)

        return Stands(on(lists.lists["unsubscribes"]), on(lists.groups[GROUP]))

    public = _EC.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    fleet.add(
        "sendgrid",
        lists,
        await fleet.served(lists.answer),
        lists.key,
        base64.b64encode(public).decode(),
        settings={"topics": {TOPIC: str(GROUP)}},
        stands=stands,
        calls={
            "objection": call(event="unsubscribe"),
            "bounce": call(event="bounce", type="bounce", status="5.1.1"),
            "complaint": call(event="spamreport"),
            "topic": call(event="group_unsubscribe", asm_group_id=GROUP),
        },
        topics=True,
        delivery=False,
    )


async def mailgun(fleet: Fleet) -> None:
    """Its webhooks sign a time and a token, not the body."""
    domain = MailgunDomain()

    def call(event: str, **more: Any) -> Callable[[str], Call]:
        def made(address: str) -> Call:
            stamp, token = str(int(time.time())), f"{time.time_ns():050}"
            data = {"event": event, "recipient": address, "timestamp": time.time(), **more}
            signature = hmac.digest(SECRET.encode(), f"{stamp}{token}".encode(), "sha256").hex()
            shown = {"timestamp": stamp, "token": token, "signature": signature}
            return Call({}, orjson.dumps({"signature": shown, "event-data": data}))

        return made

    def stands(address: str) -> Stands:
        tags = domain.lists["unsubscribes"].get(address, {}).get("tags", [])
        names = {"bounces": "bounce", "complaints": "complaint"}
        told = next((names[name] for name in names if address in domain.lists[name]), "")
        return Stands("*" in tags, "news" in tags, told)

    fleet.add(
        "mailgun",
        domain,
        await fleet.served(domain.answer),
        domain.key,
        SECRET,
        settings={"place": domain.domain, "topics": {TOPIC: "news"}},
        stands=stands,
        calls={
            "objection": call("unsubscribed", tags=["*"]),
            "bounce": call("failed", severity="permanent", reason="bounce"),
            "complaint": call("complained"),
            "topic": call("unsubscribed", tags=["news"]),
        },
        topics=True,
        delivery=True,
    )


async def postmark(fleet: Fleet) -> None:
    """Its webhooks show a password in the URL."""
    server = Postmark("broadcast", "news")

    def call(**record: Any) -> Callable[[str], Call]:
        def made(address: str) -> Call:
            name = "Recipient" if record["RecordType"] == "SubscriptionChange" else "Email"
            when = "ChangedAt" if name == "Recipient" else "BouncedAt"
            body = {"MessageStream": "broadcast", when: iso(), name: address, **record}
            password = base64.b64encode(f"postmark:{SECRET}".encode()).decode()
            return Call({"Authorization": f"Basic {password}"}, orjson.dumps(body))

        return made

    def stands(address: str) -> Stands:
        on = {name: address in stream for name, stream in server.streams.items()}
        return Stands(on["broadcast"], on["news"])

    fleet.add(
        "postmark",
        server,
        await fleet.entered(server),
        TOKEN,
        SECRET,
        settings={"topics": {TOPIC: "news"}},
        stands=stands,
        calls={
            "objection": call(
                RecordType="SubscriptionChange",
                SuppressSending=True,
                SuppressionReason="ManualSuppression",
                Origin="Recipient",
            ),
            "bounce": call(RecordType="Bounce", Type="HardBounce", TypeCode=1),
            "complaint": call(RecordType="SpamComplaint"),
            "topic": call(
                RecordType="SubscriptionChange",
                MessageStream="news",
                SuppressSending=True,
                SuppressionReason="ManualSuppression",
                Origin="Recipient",
            ),
        },
        topics=True,
        delivery=False,
    )


async def mandrill(fleet: Fleet) -> None:
    """Its webhooks are signed over the URL and the form."""
    account = Mandrill("marketing", "news")

    def call(kind: str, subaccount: str = "marketing") -> Callable[[str], Call]:
        def made(address: str) -> Call:
            message = {"email": address, "subaccount": subaccount}
            event = {"event": kind, "msg": message, "_id": address, "ts": int(time.time())}
            body, signature = signed(MANDRILL_URL, SECRET, [event])
            form = "application/x-www-form-urlencoded"
            return Call({"Content-Type": form, "X-Mandrill-Signature": signature}, body)

        return made

    def stands(address: str) -> Stands:
        def word(area: str) -> str:
            entry = account.lists[area].get(address)
            return "" if entry is None else entry["detail"].rpartition(" ")[2] or entry["reason"]

        main = word("marketing")
        told = main if main in ("bounce", "complaint") else ""
        return Stands(bool(main) and not told, bool(word("news")), told)

    fleet.add(
        "mandrill",
        account,
        await fleet.entered(account),
        MANDRILL_KEY,
        SECRET,
        settings={
            "place": "marketing",
            "topics": {TOPIC: "news"},
            "webhook_source": MANDRILL_URL,
        },
        stands=stands,
        calls={
            "objection": call("unsub"),
            "bounce": call("hard_bounce"),
            "complaint": call("spam"),
            "topic": call("unsub", "news"),
        },
        topics=True,
        delivery=True,
    )


async def ses(fleet: Fleet) -> None:
    """Its events come by SNS, signed by a certificate."""
    account = SesList()

    def call(kind: str, recipients: str, **told: Any) -> Callable[[str], Call]:
        def made(address: str) -> Call:
            happened = {recipients: [{"emailAddress": address}], "timestamp": iso(), **told}
            event = {"eventType": kind, kind.lower(): happened}
            fields = {
                "Message": orjson.dumps(event).decode(),
                "MessageId": f"{time.time_ns():032}",
                "Timestamp": iso().replace("+00:00", ".000Z"),
                "TopicArn": SNS_TOPIC,
                "Type": "Notification",
            }
            text = "".join(f"{name}\n{value}\n" for name, value in fields.items())
            signature = _RSA.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
            fields |= {
                "SignatureVersion": "2",
                "Signature": base64.b64encode(signature).decode(),
                "SigningCertURL": "https://sns.eu-north-1.amazonaws.com/x.pem",
            }
            return Call({"Content-Type": "text/plain; charset=UTF-8"}, orjson.dumps(fields))

        return made

    def stands(address: str) -> Stands:
        reason = account.entries.get(address, ("", 0.0))[0]
        # It knows no objections: one stands there as a complaint.
        return Stands(reason == "COMPLAINT", delivery=reason.lower())

    fleet.add(
        "ses",
        account,
        await fleet.served(account.answer),
        account.secret,
        _certificate(),
        settings={
            "place": account.region,
            "username": account.key,
            "webhook_source": SNS_TOPIC,
        },
        stands=stands,
        calls={
            "bounce": call("Bounce", "bouncedRecipients", bounceType="Permanent"),
            "complaint": call("Complaint", "complainedRecipients", complaintFeedbackType="abuse"),
            "objection": call("Complaint", "complainedRecipients", complaintFeedbackType="opt-out"),
        },
        topics=False,
        delivery=True,
    )


async def brevo(fleet: Fleet) -> None:
    """Its webhooks show a bearer token."""
    contacts = Brevo()

    def call(kind: str) -> Callable[[str], Call]:
        def made(address: str) -> Call:
            event = {"event": kind, "email": address, "ts_epoch": int(time.time() * 1000)}
            return Call({"Authorization": f"Bearer {SECRET}"}, orjson.dumps(event))

        return made

    def stands(address: str) -> Stands:
        for one in contacts.contacts:
            if one.get("email") == address and one["emailBlacklisted"]:
                return Stands(True)
            if one["attributes"].get("SMS") == address.lstrip("+") and one["smsBlacklisted"]:
                return Stands(True)
        return Stands()

    fleet.add(
        "brevo",
        contacts,
        await fleet.entered(contacts),
        BREVO_KEY,
        SECRET,
        stands=stands,
        calls={
            "objection": call("unsubscribed"),
            "bounce": call("hard_bounce"),
            "complaint": call("spam"),
        },
        topics=False,
        delivery=False,
        channels="email sms",
    )


async def mailchimp(fleet: Fleet) -> None:
    """Its webhooks show the secret in the URL, and are forms."""
    account = Mailchimp("main", "news")

    def call(kind: str, audience: str = "main", **data: str) -> Callable[[str], Call]:
        def made(address: str) -> Call:
            fields = {"email": address, "list_id": audience, **data}
            form = {"type": kind, "fired_at": iso()[:19].replace("T", " ")}
            form |= {f"data[{name}]": value for name, value in fields.items()}
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            return Call(headers, urlencode(form).encode(), urlencode({"key": SECRET}))

        return made

    def stands(address: str) -> Stands:
        def on(audience: str) -> bool:
            members = account.audiences[audience].values()
            there = [one["status"] for one in members if one["email_address"] == address]
            return there == ["unsubscribed"]

        return Stands(on("main"), on("news"))

    fleet.add(
        "mailchimp",
        account,
        await fleet.entered(account),
        MAILCHIMP_KEY,
        SECRET,
        settings={"place": "main", "topics": {TOPIC: "news"}},
        stands=stands,
        calls={
            "objection": call("unsubscribe", action="unsub", reason="manual"),
            "bounce": call("cleaned", reason="hard"),
            "complaint": call("unsubscribe", action="unsub", reason="abuse"),
            "topic": call("unsubscribe", "news", action="unsub", reason="manual"),
        },
        topics=True,
        delivery=False,
    )


async def twilio(fleet: Fleet) -> None:
    """Its consents are put there, and cannot be read; it calls no webhook of lists."""
    consents = TwilioConsents()
    fleet.add(
        "twilio",
        consents,
        await fleet.running(consents.app),
        "t0ken",
        "",
        settings={"username": ACCOUNT, "place": SERVICE},
        stands=lambda number: Stands(consents.consents.get((SERVICE, number)) == "opt-out"),
        topics=False,
        delivery=False,
        channels="sms",
    )


def _certificate() -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, _RSA.public_key(), 1)
    builder = builder.not_valid_before(now - timedelta(days=1))
    builder = builder.not_valid_after(now + timedelta(days=1))
    made = builder.sign(_RSA, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM).decode()
