"""Incoming messages, from a provider's webhook to the register, the records and the tool."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from aiohttp import encode_basic_auth

from gateway.clock import now_ms
from gateway.contacts.contact import Channel
from gateway.contacts.parse import parse_contact
from gateway.entry.entry import Scope
from gateway.entry.event import EventKind
from gateway.failure import InputError, RecordsUnavailable
from gateway.hook.registry import HOOKS, find_hook
from gateway.provider import signature
from gateway.provider.request import Request
from gateway.records.record import Direction
from gateway.records.unsealing import Unsealer
from tests.peers.provider import Provider, says, silence
from tests.sms.calling import CALLS, OURS, PUBLIC, SECRET, SECRETS, TOPIC, said
from tests.sms.test_proxy import AUTH, PATH, form

PERSON = "+358401111111"
CONFIRM = "Et saa enää viestejä. LamisNET"
TEXTS = {"confirm": CONFIRM, "restart": "Tervetuloa takaisin", "help": "Apua: lamisnet.example"}


class Line:
    """A route's webhook with a tool behind it."""

    def __init__(self, name: str, house: Any, tool: Provider) -> None:
        self.name, self.house, self.tool = name, house, tool

    async def call(self, request: Request, route: str = "tool") -> tuple[int, str]:
        """The provider's call of it; status and text of the answer."""
        query = f"?{request.query}" if request.query else ""
        url = f"http://127.0.0.1:{self.house.sms_port}/incoming/{route}{query}"
        async with self.house.http.request(
            request.method, url, data=request.body, headers=dict(request.headers)
        ) as response:
            return response.status, await response.text()

    async def says(self, text: str, id_: str = "", sender: str = PERSON, **more: Any):
        """A person writes."""
        return await self.call(CALLS[self.name](said(text, sender, id_, **more)))

    async def bans(self, sender: str = PERSON) -> list[tuple[Scope, str | None]]:
        entry = await self.house.parts.register.show(parse_contact(sender))
        return [(ban.scope, ban.topic) for ban in entry.bans]

    async def events(self) -> list[Any]:
        events = await self.house.parts.register.history(parse_contact(PERSON))
        return await Unsealer(self.house.parts.seal).with_evidence(events)


@pytest.fixture
def line(sms: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """``async with line("twilio", stop="channel") as line``; ``route``: more of the route."""

    @asynccontextmanager
    async def make(
        name: str, route: dict[str, Any] | None = None, **incoming: Any
    ) -> AsyncIterator[Line]:
        secret = SECRETS.get(name, SECRET)
        (tmp_path / "hook-secret").write_text(secret)
        async with Provider(says(200, "<Message>of the tool</Message>")) as tool:
            table = {
                "public_url": PUBLIC,
                "secret_file": "hook-secret",
                "forward_to": f"{tool.url}/inbound?of=tool",
                "timeout": 2,
                **({"account": TOPIC} if name == "sns" else {}),
                **TEXTS,
                **incoming,
            }
            signing = {**credentials(tmp_path), "token_name": "tool"} if name == "sns" else {}
            async with sms(name, incoming=table, **{**signing, **(route or {})}) as house:
                await house.know(PERSON)
                yield Line(name, house, tool)

    return make


def credentials(tmp_path: Path, name: str = "plan") -> dict[str, Any]:
    """A provider's credential of the route's own."""
    (tmp_path / "token").write_text("token")
    (tmp_path / "password").write_text("provider-password")
    return {"token_file": "token", "password_file": "password", "username": name}


def test_every_hook_is_tried():
    assert CALLS.keys() == HOOKS.keys()


@pytest.mark.parametrize("name", HOOKS)
async def test_a_known_stop_bans_and_one_unknown_changes_nothing(line, name):
    async with line(name) as one:
        good = CALLS[name](said("Stop!", PERSON))
        headers = [header for header in good.headers if header[0] != "Content-Type"]
        other = good._replace(query="", body=good.body.replace(b"401111111", b"402222222"))
        assert other.body != good.body
        public = quote(SECRETS.get(name, "wrong"))
        for request in (
            other,
            other._replace(query="key="),
            other._replace(query=f"key={public}"),
            other._replace(headers=good.headers[:1], query=f"key={public}&key=wrong"),
            other.with_headers({"Authorization": encode_basic_auth("", public)}),
        ):
            assert await one.call(request) == (401, "Authentication failed\n")
        assert await one.call(good, "nobody") == (404, "Not found\n")
        assert (await one.bans(), len(await one.events())) == ([], 1)
        assert one.tool.asked == []
        status, _ = await one.call(good)
        assert status in (200, 204)
        assert await one.bans() == [(Scope.ALL, None)]
        ban = (await one.events())[-1]
        assert (ban.actor, ban.source, ban.evidence) == ("sms:tool", "sms:tool", "Stop!")
        (heard,) = one.tool.asked
        assert heard.body == good.body
        passed = Request("POST", "/", heard.path.partition("?")[2], tuple(heard.headers.items()))
        assert SECRET not in heard.path
        if headers:
            url, query = f"{one.tool.url}/inbound", passed._replace(body=heard.body)
            assert find_hook(name).signed(query, url, SECRETS.get(name, SECRET), now_ms())


async def test_a_topic_of_another_customer_of_amazon_is_refused_though_amazon_signed_it(line):
    """One certificate signs for all who have a topic in a region."""
    async with line("sns", account=f"{TOPIC}2") as one:
        good = CALLS["sns"](said("Stop!", PERSON))
        assert await one.call(good) == (401, "Authentication failed\n")
        assert await one.bans() == []


async def test_the_topic_of_amazon_must_be_named(line):
    with pytest.raises(InputError, match="account is missing"):
        async with line("sns", account=""):
            pass


async def test_a_plivo_webhook_with_the_older_signature_alone_needs_a_key(line):
    """Plivo's pages on messages name no other; it covers neither the text nor the sender."""
    async with line("plivo") as one:
        good = CALLS["plivo"](said("Stop!", PERSON))
        kept = tuple(header for header in good.headers if "V3" not in header[0])
        shown = {"X-Plivo-Signature-V2-Nonce": "12345"}
        shown["X-Plivo-Signature-V2"] = signature.plivo(SECRET, PUBLIC, "12345")
        older = good._replace(headers=kept).with_headers(shown)
        assert (await one.call(older))[0] == 401
        assert await one.bans() == []
        assert (await one.call(older._replace(query=f"key={SECRET}")))[0] == 200
        assert await one.bans() == [(Scope.ALL, None)]
        (heard,) = one.tool.asked
        assert heard.body == good.body
        assert SECRET not in heard.path


async def test_a_stop_is_in_force_before_its_answer_and_confirmed_once(line):
    async with line("twilio") as one:
        await one.house.allow(PERSON)
        assert (await one.house.post(PATH, data=form(PERSON), headers=AUTH))[0] == 201
        status, text = await one.says("STOP")
        status_of_send, answer = await one.house.post(PATH, data=form(PERSON), headers=AUTH)
        assert (status_of_send, answer["code"]) == (400, 21610)
        assert status == 200
        assert f"<Message>{CONFIRM}</Message>" in text
        assert "of the tool" not in text
        status, text = await one.says("lopeta")
        assert (status, "<Message>" in text) == (200, False)
        found = await one.house.found(PERSON)
        assert [(each.outcome, each.rule, each.kind, each.direction) for each in found] == [
            ("forward", "R40", "marketing", Direction.OUT),
            ("forward", "", "service", Direction.IN),
            ("forward", "R04", "notice", Direction.OUT),
            ("suppress", "R11", "marketing", Direction.OUT),
            ("forward", "", "service", Direction.IN),
        ]
        assert [each.result for each in found][1:3] == ["forwarded", "forwarded"]
        shown = await one.house.archive.show(found[1].record_id)
        assert (shown.message.direction, shown.address) == (Direction.IN, PERSON)
        content = one.house.contents.open(shown.message.content)
        assert b"".join([piece async for piece in content]) == b"STOP"


async def test_a_repeated_webhook_does_nothing_twice_and_reaches_the_tool(line):
    async with line("twilio") as one:
        await one.says("STOP", "SM1")
        known = await one.events()
        status, text = await one.says("STOP", "SM1")
        assert (status, "<Message>" in text) == (200, False)
        assert await one.events() == known
        assert len(one.tool.asked) == 2
        assert len(await one.house.found(PERSON)) == 2


async def test_the_same_webhook_many_times_at_once_does_nothing_twice(line):
    async with line("twilio") as one:
        answers = await asyncio.gather(*(one.says("STOP", "SM1") for _ in range(8)))
        assert [status for status, _ in answers] == [200] * 8
        assert sum("<Message>" in text for _, text in answers) == 1
        assert len([e for e in await one.events() if e.kind is EventKind.BAN]) == 1
        assert len(await one.house.found(PERSON)) == 2


async def test_a_stop_by_46elks_is_known_by_its_key_and_answered_with_text(line):
    async with line("46elks") as one:
        assert await one.says("STOP") == (200, CONFIRM)
        assert await one.says("STOP") == (204, "")
        assert await one.says("Hei") == (204, "")
        assert await one.says("HELP") == (200, TEXTS["help"])
        assert await one.says("HELP") == (204, "")
        report = CALLS["46elks"](said("", PERSON))._replace(body=b"id=1&status=delivered")
        assert await one.call(report) == (204, "")
        assert len(one.tool.asked) == 6


@pytest.mark.parametrize("name", ["sinch", "vonage"])
async def test_a_confirmation_goes_by_the_providers_api(line, tmp_path, name):
    async with line(name, credentials(tmp_path)) as one:
        assert (await one.says("STOP"))[0] == 200
        assert (await one.says("STOP"))[0] == 200
        (sent,) = one.house.provider.sends
        assert sent.headers["authorization"].partition(" ")[0] in ("Bearer", "Basic")
        assert PERSON[1:].encode() in sent.body
        assert OURS[1:].encode() in sent.body
        fates = [fate for fate in await one.house.fate(PERSON) if fate[1]]
        assert fates == [("forward", "R04", "forwarded")]


async def test_without_a_credential_nothing_is_confirmed_and_the_ban_stands(line):
    async with line("sinch") as one:
        assert (await one.says("STOP"))[0] == 200
        assert one.house.provider.sends == []
        assert await one.bans() == [(Scope.ALL, None)]


@pytest.mark.parametrize(
    ("stop", "scope"),
    [
        ("sender", (Scope.TOPIC, "newsletter")),
        ("channel", (Scope.CHANNEL, None)),
        ("all", (Scope.ALL, None)),
    ],
)
async def test_a_stop_forbids_what_the_settings_say(line, stop, scope):
    async with line("twilio", stop=stop) as one:
        await one.says("STOP 999")
        assert await one.bans() == [scope]


async def test_a_stop_with_a_topic_forbids_that_and_a_start_lifts_that_alone(line):
    async with line("twilio", topics={"12345": "fibre"}) as one:
        await one.says("STOP12345")
        assert await one.bans() == [(Scope.TOPIC, "fibre")]
        await one.says("STOP newsletter")
        assert await one.bans() == [(Scope.TOPIC, "fibre"), (Scope.TOPIC, "newsletter")]
        await one.says("START nothing-known")
        assert len(await one.bans()) == 2
        _, text = await one.says("START 12345")
        assert TEXTS["restart"] in text
        assert await one.bans() == [(Scope.TOPIC, "newsletter")]
        _, text = await one.says("START 12345")
        assert "<Message>" not in text
        await one.says("START")
        assert await one.bans() == []
        entry = await one.house.parts.register.show(parse_contact(PERSON))
        assert entry.consents == ()


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("kind", [EventKind.BAN, EventKind.WITHDRAW])
async def test_a_start_lifts_no_objection_made_elsewhere(line, before, kind):
    async with line("twilio", stop="channel") as one:
        scope = {"scope": Scope.CHANNEL} if kind is EventKind.BAN else {}

        async def objects(at: int = 0) -> None:
            at = at or now_ms()
            await one.house.tell(PERSON, kind, channel=Channel.SMS, at=at, **scope)

        if before:
            await objects()
            await one.says("STOP")
        else:
            await one.says("STOP")
            await asyncio.sleep(0.002)
            await objects()
        await one.house.ban(PERSON)
        _, text = await one.says("START")
        assert "<Message>" not in text
        entry = await one.house.parts.register.show(parse_contact(PERSON))
        withdrawn = [consent.as_ban().scope for consent in entry.consents]
        assert Scope.ALL in [ban.scope for ban in entry.bans]
        assert Scope.CHANNEL in [*(ban.scope for ban in entry.bans), *withdrawn]


@pytest.mark.parametrize("archived", [True, False])
async def test_an_objection_that_comes_late_and_is_older_than_the_stop_stays(line, archived):
    async with line("twilio") as one:
        await one.says("STOP")
        await one.house.ban(PERSON, at=1_000)
        if archived:
            await one.house.found()
            assert await one.events() == []
        await one.says("START")
        assert await one.bans() == [(Scope.ALL, None)]


async def test_a_start_lifts_a_stop_that_is_in_the_archive(line):
    async with line("twilio") as one:
        await one.house.ban(PERSON, at=1_000, scope=Scope.CONTACT)
        await one.says("STOP")
        await one.house.found()
        _, text = await one.says("START")
        assert TEXTS["restart"] in text
        assert await one.bans() == [(Scope.CONTACT, None)]


async def test_a_start_to_another_number_lifts_nothing(line):
    async with line("twilio") as one:
        await one.says("STOP")
        request = CALLS["twilio"](said("START", PERSON))
        other = request._replace(body=request.body.replace(OURS[1:].encode(), b"358457390000"))
        signed = find_hook("twilio").resigned(other, PUBLIC, SECRET)
        assert (await one.call(signed))[0] == 200
        assert await one.bans() == [(Scope.ALL, None)]
        await one.says("START")
        assert await one.bans() == []


async def test_a_long_message_is_read_whole_and_its_parts_are_passed_on(line):
    async with line("vonage") as one:
        for text, part in (("en tilaa", (2, 3)), ("viesti", (3, 3)), ("Hei, stop ", (1, 3))):
            assert (await one.says(text, part=part))[0] == 200
        assert await one.bans() == []
        assert len(one.tool.asked) == 3
        for text, part in (("OP", (2, 2)), ("ST", (1, 2))):
            assert (await one.says(text, part=part))[0] == 200
        assert await one.bans() == [(Scope.ALL, None)]


async def test_a_stop_in_the_first_part_waits_for_no_other(line):
    async with line("vonage") as one:
        await one.says("Stop sending me these", part=(1, 2))
        assert await one.bans() == [(Scope.ALL, None)]


async def test_the_tool_is_down_and_the_ban_is_in_force_all_the_same(line):
    async with line("twilio", timeout=2) as one:
        for fault in (says(500), says(429), silence):
            one.tool.answer = fault
            assert (await one.says("STOP", "SM1"))[0] == 503
            assert await one.bans() == [(Scope.ALL, None)]
        await one.tool.stop()
        assert (await one.says("STOP", "SM1"))[0] == 503
        await one.tool.start()
        one.tool.answer = says(200)
        _, text = await one.says("STOP", "SM1")
        assert CONFIRM in text
        _, text = await one.says("STOP", "SM1")
        assert "<Message>" not in text
        assert len([e for e in await one.events() if e.kind is EventKind.BAN]) == 1


async def test_the_register_is_down_and_the_webhook_is_not_counted_as_handled(line):
    async with line("twilio") as one:
        wire = one.house.parts.register.connections.wire
        await wire.exchange([(b"CLIENT", b"PAUSE", b"2500", b"WRITE")], 1)
        assert (await one.says("STOP", "SM1"))[0] == 503
        assert one.tool.asked == []
        async with asyncio.timeout(30):
            while (await one.says("STOP", "SM1"))[0] == 503:
                await asyncio.sleep(0.2)
        assert await one.bans() == [(Scope.ALL, None)]
        assert len(one.tool.asked) == 1


async def test_a_failure_in_the_midst_is_made_good_by_the_next_call(line, monkeypatch):
    async with line("twilio") as one:
        recorder = one.house.parts.site.recorder
        monkeypatch.setattr(recorder, "_timeout", 0.0)
        assert (await one.says("STOP", "SM1"))[0] == 503
        assert await one.bans() == [(Scope.ALL, None)]
        monkeypatch.setattr(recorder, "_timeout", 2.0)
        _, text = await one.says("STOP", "SM1")
        assert CONFIRM in text


async def test_a_stop_from_a_name_is_passed_on_and_bans_nobody(line):
    async with line("twilio") as one:
        for sender in ("LamisNET", "16400", "whatsapp:+358401111111"):
            assert (await one.says("STOP", sender=sender))[0] == 200
        assert len(one.tool.asked) == 3
        assert await one.bans() == []


async def test_what_cannot_be_read_is_refused_aloud(line):
    async with line("twilio") as one:
        odd = find_hook("twilio").resigned(
            Request("POST", "/", "", CALLS["twilio"](said("a", PERSON)).headers, b"a=b"),
            PUBLIC,
            SECRET,
        )
        assert (await one.call(odd))[0] == 400
        assert one.tool.asked == []


async def test_a_route_without_a_tool_still_bans(line):
    async with line("46elks", forward_to="") as one:
        assert await one.says("STOP") == (200, CONFIRM)
        assert one.tool.asked == []


async def test_the_tool_gets_a_key_and_a_signature_of_its_own(line, tmp_path):
    (tmp_path / "own").write_text("own")
    async with line("twilio", forward_secret_file="own") as one:
        await one.says("Hei")
        (heard,) = one.tool.asked
        request = Request("POST", "/", "", tuple(heard.headers.items()), heard.body)
        url = f"{one.tool.url}/inbound?of=tool"
        assert find_hook("twilio").signed(request, url, "own", now_ms())
        assert not find_hook("twilio").signed(request, url, SECRET, now_ms())


async def test_several_messages_of_one_call_each_count_once(line, tmp_path, monkeypatch):
    async with line("infobip", credentials(tmp_path)) as one:
        first, second = (
            orjson.loads(CALLS["infobip"](said(text, sender)).body)["results"][0]
            for text, sender in (("STOP", PERSON), ("Lopeta", "+358402222222"))
        )
        call = CALLS["infobip"](said("", PERSON))
        call = call._replace(body=orjson.dumps({"results": [first, second]}))
        recorder, store = one.house.parts.site.recorder, one.house.parts.site.recorder.store

        def once(message, *more):
            monkeypatch.setattr(recorder, "store", fails)
            return store(message, *more)

        def fails(*_):
            raise RecordsUnavailable("not now")

        monkeypatch.setattr(recorder, "store", once)
        assert (await one.call(call))[0] == 503
        monkeypatch.setattr(recorder, "store", store)
        assert [await one.call(call) for _ in range(2)] == [(200, "")] * 2
        assert await one.bans() == await one.bans("+358402222222") == [(Scope.ALL, None)]
        assert len([e for e in await one.events() if e.kind is EventKind.BAN]) == 1
        assert len(one.house.provider.sends) == 2


async def test_a_webhook_comes_in_at_the_routes_own_address_too(line):
    own = {"prefix": None, "listen": "127.0.0.1:8999"}
    async with line("twilio", own) as one:
        request = CALLS["twilio"](said("STOP", PERSON))
        for port, path, status in (
            (one.house.route_ports["tool"], "/incoming/other", 404),
            (one.house.route_ports["tool"], "/incoming/tool", 200),
            (one.house.sms_port, "/incoming/tool", 200),
        ):
            url = f"http://127.0.0.1:{port}{path}"
            headers = dict(request.headers)
            async with one.house.http.post(url, data=request.body, headers=headers) as answer:
                assert answer.status == status
        assert await one.bans() == [(Scope.ALL, None)]


async def test_a_webhook_is_not_bound_to_the_tools_networks(line):
    async with line("twilio", {"networks": ["192.0.2.0/24"]}) as one:
        assert (await one.says("STOP"))[0] == 200
        assert (await one.house.post(PATH, data=form(PERSON), headers=AUTH))[0] == 401


async def test_a_text_with_what_no_record_holds_still_bans(line):
    async with line("twilio") as one:
        assert (await one.says("STOP \0"))[0] == 200
        assert await one.bans() == [(Scope.ALL, None)]
        assert len(await one.house.found(PERSON)) == 2
        assert (await one.house.archive.verify()).whole


async def test_a_signed_call_by_get_reaches_the_tool_signed(line):
    async with line("vonage") as one:
        request = CALLS["vonage"](said("STOP", PERSON))
        by_get = Request("GET", "/", request.body.decode())
        assert (await one.call(by_get))[0] == 200
        (heard,) = one.tool.asked
        assert heard.method == "GET"
        assert heard.path == f"/inbound?of=tool&{by_get.query}"
        assert await one.bans() == [(Scope.ALL, None)]
