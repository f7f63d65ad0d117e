"""What a thief of the databases learns of people, and what is left of who was erased."""

import asyncio
import base64
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, quote_plus

import aiohttp
import pytest
import redis

from gateway.clock import now_ms
from gateway.contacts.digest import subject_of
from gateway.contacts.parse import parse_contact
from gateway.custody.custody import Custody
from gateway.entry.event import Event, EventKind
from gateway.records.archive import Archive
from gateway.records.content import ContentMissing, ContentStore
from gateway.records.database import Database
from gateway.serve.assembly import embedded_register, open_register, register_url
from gateway.serve.keys import key_ring, sealer
from tests.peers.house import client_table
from tests.peers.process import RunningGateway

MATTI, MAIJA = "matti.meikalainen@esimerkki.fi", "maija.virtanen@esimerkki.fi"
NUMBER, OTHER = "+358401234561", "+358409876543"
NAME, TEXT = "Matti Meikäläinen", "Teidän leskeneläkkeenne maksetaan perjantaina"
EVIDENCE = "Soitti 040 555 1234: en halua enää mitään, terveisin Matti"
SMS = "Hei Matti, Syysale! Lopeta: vastaa STOP"
SENDER = "palautus-8812@lamisnet.fi"

SECRETS = (
    MATTI,
    MAIJA,
    "meikalainen",
    NUMBER,
    NUMBER[1:],
    OTHER[1:],
    NAME,
    TEXT,
    "leskeneläk",
    EVIDENCE,
    "555 1234",
    SMS,
    "Syysale",
    SENDER,
    "palautus-8812",
)


def forms(secret: str) -> Iterator[bytes]:
    """The ways in which a text may lie in a file."""
    for name in ("utf-8", "utf-16-le", "utf-16-be", "latin-1"):
        octets = secret.encode(name)
        yield octets
        yield octets.lower()
        yield octets.hex().encode()
        yield octets.hex().upper().encode()
        for before in range(3):
            # Whatever stands before it and behind it.
            digits = base64.b64encode(bytes(before) + octets + b"\0\0\0")
            core = digits[(before * 8 + 5) // 6 : (before + len(octets)) * 8 // 6]
            yield core
            yield core.translate(bytes.maketrans(b"+/", b"-_"))
    yield quote(secret).encode()
    yield quote_plus(secret).encode()
    yield secret.encode("unicode_escape")


def found_in(files: dict[Path, bytes], secrets: tuple[str, ...] = SECRETS) -> list[str]:
    """Which secrets lie in which files, in whatever form."""
    return [
        f"{secret!r} in {path.name} as {form!r}"
        for path, octets in files.items()
        for secret in secrets
        for form in set(forms(secret))
        if form in octets
    ]


def message(subject: str, text: str, kind: str) -> bytes:
    head = f"From: LamisNET <uutiset@lamisnet.fi>\r\nTo: {NAME} <{MATTI}>\r\nSubject: {subject}\r\n"
    if kind:
        head += f"X-Gateway-Kind: {kind}\r\n"
    if kind == "marketing":
        head += "List-Unsubscribe: <https://lamisnet.example/u/1>\r\n"
    head += "\r\n"
    return head.encode() + f"Hyvä {NAME}! {text}\r\n".encode()


async def tell(gateway: RunningGateway) -> None:
    """The register's changes, with what people said word for word."""
    told = {"at": now_ms(), "actor": "editor", "source": "phone", "evidence": EVIDENCE}
    settings = gateway.settings
    async with register_url(settings) as url:
        ring, seal = key_ring(settings), sealer(settings)
        async with await open_register(settings, url, ring, seal) as register:
            for address in (MATTI, NUMBER):
                await register.apply(Event(kind=EventKind.BAN, **told), parse_contact(address))
            for address in (MAIJA, OTHER):
                contact = parse_contact(address)
                given = Event(
                    kind=EventKind.CONSENT,
                    channel=contact.channel,
                    wording="Haluan uutisia",
                    proven=True,
                    **told,
                )
                await register.apply(given, contact)


@pytest.fixture
async def place(tmp_path: Path):
    """A gateway that has carried mail and a text message, and was told bans and consents."""
    route = {
        "name": "campaigns",
        "provider": "twilio",
        "prefix": "/twilio",
        "networks": ["127.0.0.0/8"],
        "kind": "marketing",
        "topic": "newsletter",
        "senders": ["LamisNET"],
        "sandbox": "sms.jsonl",
        "urgent": True,
    }
    gateway = RunningGateway(
        tmp_path,
        clients=[client_table(kind="declared", topic=None)],
        sms={"listen": ["127.0.0.1:0"], "routes": [route]},
        records={"content_of_suppressed": True},
    )
    async with gateway:
        await tell(gateway)
        news = message("Hei Matti Meikäläinen", TEXT, "marketing")
        assert (await gateway.send(MATTI, message=news)).endswith("1 suppressed")
        letter = message("Eläke, Matti Meikäläinen", TEXT, "notice")
        assert (await gateway.send(MATTI, MAIJA, message=letter)).endswith("2 forwarded")
        unclear = message("Laskunne, Matti Meikäläinen", TEXT, "")
        assert (await gateway.send(MAIJA, message=unclear)).endswith("1 held")
        account = "AC" + 32 * "0"
        path = f"/twilio/2010-04-01/Accounts/{account}/Messages.json"
        url = f"http://127.0.0.1:{gateway.sms}{path}"
        login = {"Authorization": aiohttp.encode_basic_auth(account, "its-own")}
        async with aiohttp.ClientSession() as session:
            for number, status in ((NUMBER, 400), (OTHER, 201)):
                form = {"To": number, "From": "LamisNET", "Body": SMS}
                async with session.post(url, data=form, headers=login) as answer:
                    assert answer.status == status, await answer.text()
        await gateway.found(count=6)
        yield gateway


async def test_a_copy_of_the_databases_shows_nobody(place: RunningGateway, tmp_path: Path):
    server = embedded_register(place.settings)
    with redis.Redis.from_url(server.url) as client:
        client.config_set("rdbcompression", "no")
        client.save()
    data = tmp_path / "data"
    files = {
        path: path.read_bytes()
        for path in data.rglob("*")
        if path.is_file() and not {"sandbox", "secrets"} & set(path.relative_to(data).parts)
    }
    names = {path.name for path in files}
    assert {"archive.sqlite", "keys.sqlite", "checkpoints.ndjson"} <= names
    assert any(path.suffix in (".aof", ".rdb") for path in files)
    digest = str(key_ring(place.settings).digest(subject_of(parse_contact(MATTI))))
    assert any(digest.encode() in octets for octets in files.values())
    leaked = found_in({path: files[path] for path in files if path.name != "sms.jsonl"})
    assert not leaked, leaked
    # That it would be seen: what left for the sandboxes lies there as it is.
    assert found_in({path: path.read_bytes() for path in tmp_path.rglob("sms.jsonl")}, (SMS,))
    mails = [path for path in (data / "sandbox").rglob("*") if path.is_file()]
    assert found_in({path: path.read_bytes() for path in mails}, (TEXT,))


async def test_an_erasure_reaches_copies_of_before_even_if_the_gateway_is_killed(
    place: RunningGateway, tmp_path: Path
):
    settings = place.settings
    archive = settings.records.archive
    assert archive is not None
    with (
        closing(sqlite3.connect(archive)) as source,
        closing(sqlite3.connect(tmp_path / "copy")) as copy,
    ):
        source.backup(copy)
    assert settings.records.keys is not None
    seal = sealer(settings)
    async with register_url(settings) as url:
        ring = key_ring(settings)
        async with await open_register(settings, url, ring, seal) as register:
            contact = parse_contact(MATTI)
            event = Event(kind=EventKind.ERASE, at=now_ms(), actor="officer", source="request")
            await register.apply(event, contact)
            subject = register.subject(contact)
            place.signal(signal.SIGKILL)
    await place.ended()
    await place.start()
    custody = await Custody.at(settings.records.keys, seal)
    async with asyncio.timeout(60):
        while subject not in await custody.destroyed([subject]):
            await asyncio.sleep(0.05)
    for file in (archive, tmp_path / "copy"):
        database = await Database.open(file)
        records, contents = (
            Archive(database, seal, custody),
            ContentStore(database, seal, custody=custody),
        )
        shown = [await records.show(one.record_id) for one in await records.search()]
        his = [one for one in shown if one.recipient.digest == subject]
        assert len(his) == 2
        assert {(one.address, one.sender, one.headers) for one in his} == {(None, None, None)}
        alone, together = sorted(his, key=lambda one: one.message.kind.value)
        assert (alone.message.kind, together.message.kind) == ("marketing", "notice")
        # A letter to two is still hers, with its content; one to him alone is nobody's.
        hers = [
            one for one in shown if one.address == MAIJA and one.message.id == together.message.id
        ]
        assert NAME.encode() in (hers[0].headers or b"")
        assert together.message.content is not None
        body = b"".join([piece async for piece in contents.open(together.message.content)])
        assert TEXT.encode() in body
        if alone.message.content is not None:
            with pytest.raises(ContentMissing, match="erased"):
                [piece async for piece in contents.open(alone.message.content)]
        await database.aclose()
    await custody.aclose()
    done = place.command("records", "verify")
    assert done.status == 0, done.out
    # His ban holds.
    news = message("Vielä kerran", TEXT, "marketing")
    assert (await place.send(MATTI, message=news)).endswith("1 suppressed")
    shutil.rmtree(tmp_path / "data" / "sandbox", ignore_errors=True)


@pytest.mark.slow
async def test_without_its_keys_a_gateway_does_not_begin_anew(place: RunningGateway):
    keys = place.settings.records.keys
    assert keys is not None
    copy = keys.with_name("copied.sqlite")
    done = place.command("keys", "backup", str(copy), "--by", "officer")
    assert done.status == 0, done.err
    assert "0 of people who were erased" in done.out
    assert await place.stop() == 0
    for each in keys.parent.glob("keys.sqlite*"):
        each.unlink()
    done = place.command("records", "search")
    assert done.status == 2
    assert "people's keys are not here" in done.err
    assert not keys.exists()
    copy.rename(keys)
    await place.start()
    rows = place.command("records", "search", "--address", MAIJA, "--json").rows
    done = place.command("records", "show", rows[0]["record_id"])
    assert MAIJA in done.out
