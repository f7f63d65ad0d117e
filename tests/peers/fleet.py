"""Every tool that there is a stand-in for, on sockets: its settings, its list, its calls.

async with Fleet(folder) as fleet:
    RunningGateway(folder, sync={"tools": fleet.tables()}, …)
    fleet["sendgrid"].stands(address)
"""

from __future__ import annotations

import base64
import hmac
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, Self

import orjson
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

from tests.peers.provider import Provider
from tests.peers.tools import brevo, mandrill, postmark
from tests.peers.tools.http import Ledger
from tests.peers.tools.listmonk import Listmonk
from tests.peers.tools.mailgun import MailgunDomain
from tests.peers.tools.mautic import Mautic
from tests.peers.tools.sendgrid import SendGridLists
from tests.peers.tools.ses import SesList

SECRET = "the-webhooks-secret"
MANDRILL_URL = "https://hooks.lamisnet.example/hooks/mandrill"
SNS_TOPIC = "arn:aws:sns:eu-north-1:123456789012:ses-events"
TOPIC = "newsletter"
"""The topic that the tools know which know topics."""
GROUP, LIST = 77, 5

_EC = ec.generate_private_key(ec.SECP256R1())
_RSA = rsa.generate_private_key(65537, 2048)


class Call(NamedTuple):
    """A webhook's call."""

    headers: dict[str, str]
    body: bytes


class Stands(NamedTuple):
    """What a tool's list says of a contact."""

    whole: bool = False
    """It is refused as a whole, or in its channel."""
    topic: bool = False
    """The topic alone is refused."""
    delivery: str = ""
    """``bounce`` or ``complaint``, where it stands there as such."""


class One(NamedTuple):
    """One tool."""

    stand_in: Any
    settings: dict[str, Any]
    stands: Callable[[str], Stands]
    calls: dict[str, Callable[[str], Call]]
    """By what it tells: ``objection``, ``bounce``, ``complaint``."""
    topics: bool
    delivery: bool
    """Whether its list has bounces and complaints."""


class Fleet:
    """The tools by their kinds; each is named as its kind."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = AsyncExitStack()
        self.tools: dict[str, One] = {}

    async def __aenter__(self) -> Self:
        for make in (_http, _sendgrid, _mailgun, _postmark, _mandrill, _ses, _listmonk, _mautic):
            await make(self)
        await _brevo(self)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def __getitem__(self, kind: str) -> One:
        return self.tools[kind]

    def tables(self) -> list[dict[str, Any]]:
        """``sync.tools``."""
        return [one.settings for one in self.tools.values()]

    def add(self, kind: str, stand_in: Any, url: str, secret: str, hook: str, **more: Any) -> None:
        """A tool that is there."""
        (self._folder / f"{kind}-secret").write_text(secret)
        settings = {
            "name": kind,
            "kind": kind,
            "url": url,
            "secret_file": f"{kind}-secret",
            "requests_per_second": 500,
            **more.pop("settings", {}),
        }
        if hook:
            (self._folder / f"{kind}-hook").write_text(hook)
            settings["webhook_secret_file"] = f"{kind}-hook"
        calls = more.pop("calls", {})
        self.tools[kind] = One(stand_in, settings, calls=calls, **more)

    async def served(self, answer: Any) -> str:
        """The URL of a stand-in that answers by itself."""
        return (await self._stack.enter_async_context(Provider(answer))).url

    async def running(self, app: web.Application) -> str:
        """The URL of a stand-in that is an application."""
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    async def entered(self, stand_in: Any) -> str:
        """The URL of a stand-in that has a server of its own."""
        return str((await self._stack.enter_async_context(stand_in)).url)


def _iso(at: float | None = None) -> str:
    return datetime.fromtimestamp(at or time.time(), UTC).isoformat(timespec="seconds")


async def _http(fleet: Fleet) -> None:
    ledger = Ledger()

    def stands(address: str) -> Stands:
        rows = [row for row in ledger.entries if row["contact"] == address]
        legal = [row for row in rows if row["reason"] in ("objection", "blocked")]
        return Stands(
            any(row["scope"] != "topic" for row in legal),
            any(row["scope"] == "topic" and row["topic"] == "news" for row in legal),
            next((row["reason"] for row in rows if row not in legal), ""),
        )

    def call(reason: str) -> Callable[[str], Call]:
        def made(address: str) -> Call:
            entry = {"contact": address, "scope": "channel", "reason": reason, "at": _iso()}
            return Call(**ledger.webhook(SECRET, int(time.time()), entry))

        return made

    fleet.add(
        "http",
        ledger,
        await fleet.running(ledger.app),
        "t0ken",
        SECRET,
        settings={"topics": {TOPIC: "news"}},
        stands=stands,
        calls={reason: call(reason) for reason in ("objection", "bounce", "complaint")},
        topics=True,
        delivery=True,
    )


async def _sendgrid(fleet: Fleet) -> None:
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
        },
        topics=True,
        delivery=False,
    )


async def _mailgun(fleet: Fleet) -> None:
    domain = MailgunDomain()

    def call(event: str, **more: Any) -> Callable[[str], Call]:
        def made(address: str) -> Call:
            stamp, token = str(int(time.time())), f"{time.time_ns():050}"
            data = {"event": event, "recipient": address, "timestamp": time.time(), **more}
            signature = hmac.digest(SECRET.encode(), f"{stamp}{token}".encode(), "sha256").hex()
            signed = {"timestamp": stamp, "token": token, "signature": signature}
            return Call({}, orjson.dumps({"signature": signed, "event-data": data}))

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
        },
        topics=True,
        delivery=True,
    )


async def _postmark(fleet: Fleet) -> None:
    server = postmark.Postmark("broadcast", "news")

    def call(**record: Any) -> Callable[[str], Call]:
        def made(address: str) -> Call:
            name = "Recipient" if record["RecordType"] == "SubscriptionChange" else "Email"
            when = "ChangedAt" if name == "Recipient" else "BouncedAt"
            body = {"MessageStream": "broadcast", when: _iso(), name: address, **record}
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
        postmark.TOKEN,
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
        },
        topics=True,
        delivery=False,
    )


async def _mandrill(fleet: Fleet) -> None:
    account = mandrill.Mandrill("marketing", "news")

    def call(kind: str) -> Callable[[str], Call]:
        def made(address: str) -> Call:
            message = {"email": address, "subaccount": "marketing"}
            event = {"event": kind, "msg": message, "_id": address, "ts": int(time.time())}
            body, signature = mandrill.signed(MANDRILL_URL, SECRET, [event])
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
        mandrill.KEY,
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
        },
        topics=True,
        delivery=True,
    )


async def _ses(fleet: Fleet) -> None:
    account = SesList()

    def call(kind: str, recipients: str, **told: Any) -> Callable[[str], Call]:
        def made(address: str) -> Call:
            happened = {recipients: [{"emailAddress": address}], "timestamp": _iso(), **told}
            event = {"eventType": kind, kind.lower(): happened}
            fields = {
                "Message": orjson.dumps(event).decode(),
                "MessageId": f"{time.time_ns():032}",
                "Timestamp": _iso().replace("+00:00", ".000Z"),
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


async def _listmonk(fleet: Fleet) -> None:
    lists = Listmonk()

    def stands(address: str) -> Stands:
        whole = lists.status(address) == "blocklisted"
        return Stands(whole, lists.subscription(address, LIST) == "unsubscribed")

    fleet.add(
        "listmonk",
        lists,
        await fleet.running(lists.app),
        "t0ken",
        "",
        settings={"username": "gateway", "topics": {TOPIC: str(LIST)}},
        stands=stands,
        topics=True,
        delivery=False,
    )


async def _mautic(fleet: Fleet) -> None:
    people = Mautic()

    def known(address: str) -> list[int]:
        return [number for number, one in people.contacts.items() if address in one.values()]

    def call(reason: int) -> Callable[[str], Call]:
        def made(address: str) -> Call:
            channel = "email" if "@" in address else "sms"
            field = {"email": address} if channel == "email" else {"mobile": address}
            number = people.contact(**field)
            people.enter(number, channel, reason)
            return Call(*people.webhook(SECRET, (number, channel, 0, reason)))

        return made

    def stands(address: str) -> Stands:
        channel = "email" if "@" in address else "sms"
        held = {people.held(number).get(channel, 0) for number in known(address)}
        return Stands(bool(held & {1, 3}), delivery="bounce" if 2 in held else "")

    fleet.add(
        "mautic",
        people,
        await fleet.running(people.app),
        "t0ken",
        SECRET,
        settings={"username": "gateway"},
        stands=stands,
        calls={"objection": call(1), "bounce": call(2)},
        topics=False,
        delivery=True,
    )


async def _brevo(fleet: Fleet) -> None:
    contacts = brevo.Brevo()

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
        brevo.KEY,
        SECRET,
        stands=stands,
        calls={
            "objection": call("unsubscribed"),
            "bounce": call("hard_bounce"),
            "complaint": call("spam"),
        },
        topics=False,
        delivery=False,
    )


def _certificate() -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, _RSA.public_key(), 1)
    builder = builder.not_valid_before(now - timedelta(days=1))
    builder = builder.not_valid_after(now + timedelta(days=1))
    made = builder.sign(_RSA, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM).decode()
