"""SIGHUP: the configuration anew, between two messages; a bad one changes nothing."""

import os
import signal
import ssl

import pytest
from aiohttp import ClientSession

from gateway.clock import now_ms
from gateway.contacts.parse import parse_contact
from gateway.keyfile import add_key
from gateway.unsubscribe.link import Link, Links, Purpose
from tests.peers.certificates import self_signed
from tests.peers.house import client_table
from tests.peers.losing import LosingServer
from tests.peers.scripted import ScriptedUpstream

STRANGER = "stranger@example.com"
"""In no register: `finland` suppresses marketing to it, `opt-out` lets it go."""


async def test_new_rules_decide_the_next_message_and_never_one_under_way(gateway, upstream):
    async with gateway.client() as client:
        await client.begin(STRANGER)
        gateway.configure(rules={"set": "opt-out"})
        gateway.signal(signal.SIGHUP)
        line = await gateway.line("reloaded")
        assert line["rules"] == "opt-out"
        # Begun under the old rules, ended under the old rules.
        assert (await client.data()).endswith("1 suppressed")
        assert (await client.mail(STRANGER)).endswith("1 forwarded")
    first, second = await gateway.found(STRANGER, count=2)
    assert (first.result, second.result) == ("suppressed", "forwarded")
    assert first.rule != second.rule


async def test_new_clients_and_passwords_are_known_at_once(build):
    gateway = build(clients=[client_table(networks=["10.0.0.0/8"])])
    async with gateway:
        async with gateway.client() as client:
            assert (await client.say("MAIL FROM:<a@lamisnet.fi>")).startswith("530")
        (gateway.folder / "secret").write_text("first\n")
        login = client_table(networks=None, username="tool", password_file="secret")
        gateway.configure(clients=[login])
        gateway.signal(signal.SIGHUP)
        await gateway.line("reloaded")
        async with gateway.client() as client:
            assert (await client.login("tool", "first")).startswith("235")
        (gateway.folder / "secret").write_text("second\n")
        gateway.signal(signal.SIGHUP)
        await gateway.line("reloaded", count=2)
        async with gateway.client() as client:
            assert (await client.login("tool", "first")).startswith("535")
            assert (await client.login("tool", "second")).startswith("235")


async def test_a_client_that_stays_connected_gets_its_new_settings_too(gateway, upstream):
    """A tool that keeps its connection for days must not keep its old settings."""
    async with gateway.client() as client:
        assert (await client.mail(STRANGER)).endswith("1 suppressed")
        gateway.configure(clients=[client_table(on_suppress="reject")])
        gateway.signal(signal.SIGHUP)
        await gateway.line("reloaded")
        (reply,) = await client.begin(STRANGER)
        assert reply.startswith("550 5.7.1 Suppressed by "), reply


async def test_a_client_that_is_no_more_may_not_go_on(gateway):
    async with gateway.client() as client:
        assert (await client.mail(STRANGER)).endswith("1 suppressed")
        gateway.configure(clients=[client_table(networks=["10.0.0.0/8"])])
        gateway.signal(signal.SIGHUP)
        await gateway.line("reloaded")
        reply = await client.say("MAIL FROM:<a@lamisnet.fi>")
        assert reply[:3] in ("421", "530"), reply


async def test_a_bad_configuration_is_refused_and_the_old_one_stays(gateway):
    await gateway.allow("yes@example.com")
    for number, changes in enumerate(
        (
            {"smtp": {"liste": []}},
            {"rules": {"set": "nowhere"}},
            {"clients": [client_table(networks=None, username="u", password_file="nowhere")]},
        ),
        1,
    ):
        gateway.configure(**changes)
        gateway.signal(signal.SIGHUP)
        line = await gateway.line("reload_refused", count=number)
        assert line["level"] == "error"
        assert "liste" in line["cause"] or "nowhere" in line["cause"]
        gateway.configure(smtp={}, rules={}, clients=None)
    gateway.config.write_text("not toml at all")
    gateway.signal(signal.SIGHUP)
    assert "not valid TOML" in (await gateway.line("reload_refused", count=4))["cause"]
    async with gateway.client() as client:
        assert (await client.mail("yes@example.com")).endswith("1 forwarded")
        assert (await client.mail(STRANGER)).endswith("1 suppressed")
    assert not [line for line in gateway.lines if line.get("event") == "reloaded"]
    # Nor does it keep the gateway from ending in order.
    assert await gateway.stop() == 0


async def test_what_needs_a_restart_is_named(gateway):
    gateway.configure(records={"retention_years": 7}, http={"listen": ["127.0.0.1:9"]})
    gateway.signal(signal.SIGHUP)
    line = await gateway.line("reload_needs_restart")
    assert line["settings"] == ["records", "http"]
    await gateway.line("reloaded")
    assert (await gateway.get("/healthz"))[0] == 200


async def test_a_new_certificate_is_shown_to_new_connections(build, tmp_path):
    (tmp_path / "tls").mkdir()
    old = self_signed(tmp_path / "tls", "old.example.test")
    gateway = build(tls=old)
    async with gateway:
        shown = [ssl.get_server_certificate(("127.0.0.1", gateway.smtp_tls))]
        self_signed(tmp_path / "tls", "new.example.test")
        gateway.signal(signal.SIGHUP)
        await gateway.line("reloaded")
        shown.append(ssl.get_server_certificate(("127.0.0.1", gateway.smtp_tls)))
        assert shown[0] != shown[1]
        assert shown[1].strip() == old.certificate.read_text().strip()

        old.key.write_text("no key")
        gateway.signal(signal.SIGHUP)
        line = await gateway.line("reload_refused")
        assert "smtp.tls" in line["cause"]
        shown.append(ssl.get_server_certificate(("127.0.0.1", gateway.smtp_tls)))
        assert shown[1] == shown[2]


async def test_a_reload_that_removes_tls_ends_the_gateway(build, tmp_path):
    """Whether there is TLS at all needs a restart, for a replaced worker too."""
    (tmp_path / "tls").mkdir()
    certificate = self_signed(tmp_path / "tls", "old.example.test")
    async with build(tls=certificate) as gateway:
        shown = [ssl.get_server_certificate(("127.0.0.1", gateway.smtp_tls))]
        gateway.configure(tls=None)
        gateway.signal(signal.SIGHUP)
        line = await gateway.line("reload_needs_restart")
        assert line["settings"] == ["smtp.listen", "smtp.tls"]
        await gateway.line("reloaded")
        os.kill(gateway.workers[0], signal.SIGKILL)
        await gateway.line("worker_started", count=2)
        shown.append(ssl.get_server_certificate(("127.0.0.1", gateway.smtp_tls)))
        assert shown[0] == shown[1]
        assert await gateway.stop() == 0


async def test_a_replaced_worker_alone_offers_tls_that_a_reload_added(gateway, tmp_path):
    (tmp_path / "tls").mkdir()
    certificate = self_signed(tmp_path / "tls", "new.example.test")
    gateway.configure(tls=certificate, smtp={"listen_tls": []})
    gateway.signal(signal.SIGHUP)
    assert (await gateway.line("reload_needs_restart"))["settings"] == ["smtp.tls"]
    await gateway.line("reloaded")
    os.kill(gateway.workers[0], signal.SIGKILL)
    await gateway.line("worker_started", count=2)
    async with gateway.client() as client:
        assert "STARTTLS" not in await client.say("EHLO tool.example")


async def test_a_worker_that_is_replaced_serves_by_what_was_accepted(gateway, upstream):
    """Not by a file that somebody is editing, and not by one that nobody has reloaded."""
    await gateway.allow("yes@example.com")
    gateway.configure(rules={"set": "opt-out"})
    os.kill(gateway.workers[0], signal.SIGKILL)
    await gateway.line("worker_started", count=2)
    assert (await gateway.send(STRANGER)).endswith("1 suppressed")
    gateway.config.write_text("half a li")
    os.kill(gateway.workers[0], signal.SIGKILL)
    await gateway.line("worker_started", count=3)
    assert (await gateway.send("yes@example.com")).endswith("1 forwarded")

    gateway.configure(rules={"set": "opt-out"}, data_dir="elsewhere")
    gateway.signal(signal.SIGHUP)
    assert "data_dir" in (await gateway.line("reload_needs_restart"))["settings"]
    await gateway.line("reloaded")
    os.kill(gateway.workers[0], signal.SIGKILL)
    await gateway.line("worker_started", count=4)
    assert (await gateway.send(STRANGER)).endswith("1 forwarded")


async def test_ready_asks_the_upstreams_of_the_new_settings(gateway, upstream):
    await upstream.aclose()
    assert (await gateway.get("/readyz"))[0] == 503
    async with ScriptedUpstream() as other:
        gateway.configure(upstream=other)
        gateway.signal(signal.SIGHUP)
        await gateway.line("reloaded")
        assert (await gateway.get("/readyz"))[0] == 200


@pytest.mark.slow
async def test_a_reload_while_the_register_is_away_is_made_when_it_is_back(build):
    """Workers seal links with a new key; who serves the pages must come to know it."""
    public = {"listen": ["127.0.0.1:0"], "url": "https://preferences.example"}
    async with LosingServer() as server:
        register = {"url": server.url}
        async with build(register=register, public=public) as gateway, ClientSession() as session:
            path = gateway.settings.unsubscribe.key_file
            Links.load_or_create(path)
            add_key(path)
            server.kill()
            gateway.signal(signal.SIGHUP)
            await gateway.line("reload_refused", count=2, within=30)
            await server.start()
            await gateway.line("reloaded", within=30)
            await gateway.line("public_reloaded", within=30)
            contact = parse_contact(STRANGER)
            link = Link(contact, Purpose.REFUSE, None, now_ms())
            url = f"http://127.0.0.1:{gateway.public}/u/{Links.load_or_create(path).seal(link)}"
            async with session.get(url) as answer:
                assert answer.status in (200, 503)  # known; the register may not be whole yet
