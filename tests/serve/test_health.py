"""What the HTTP side tells, to whom, and that it never tells of a person."""

import asyncio
import json
import os
import signal

import pytest

from tests.peers.house import INVOICE, client_table

YES, NO = "yes.person@example.com", "no.person@example.com"


async def test_ready_says_where_it_listens_and_the_checks_are_good(gateway):
    ready = await gateway.line("ready")
    assert ready["workers"] == 1
    assert ready["rules"] == "finland"
    assert await gateway.get("/healthz") == (200, '{"status": "ok", "problem": ""}')
    status, body = await gateway.get("/readyz")
    assert status == 200, body
    assert json.loads(body) == {
        "status": "ready",
        "checks": {"workers": "ok", "register": "ok", "archive": "ok", "upstreams": "ok"},
    }
    assert (await gateway.get("/elsewhere"))[0] == 404
    assert await gateway.stop() == 0


async def test_only_the_named_networks_are_answered(build):
    async with build(http={"networks": ["127.0.0.1/32"]}) as gateway:
        for path in ("/healthz", "/readyz", "/metrics", "/elsewhere"):
            status, body = await gateway.get(path, source="127.0.0.2")
            assert status == 403, path
            assert json.loads(body) == {"error": "not among http.networks"}
        assert (await gateway.get("/healthz"))[0] == 200


@pytest.mark.slow
async def test_what_is_missing_is_named(gateway, upstream):
    await upstream.aclose()
    status, body = await gateway.get("/readyz")
    assert status == 503
    checks = json.loads(body)["checks"]
    assert checks.pop("upstreams").startswith("main: ")
    assert set(checks.values()) == {"ok"}
    assert (await gateway.get("/healthz"))[0] == 200
    await upstream.start()
    assert (await gateway.get("/readyz"))[0] == 200

    register = gateway.register_pid
    os.kill(register, signal.SIGSTOP)
    try:
        status, body = await gateway.get("/readyz")
    finally:
        os.kill(register, signal.SIGCONT)
    assert status == 503
    assert json.loads(body)["checks"]["register"] != "ok"
    assert json.loads(body)["checks"]["upstreams"] == "ok"


async def test_metrics_count_by_client_kind_rule_and_result_and_name_nobody(build):
    clients = [
        client_table(name="news", networks=None, username="letter", password_file="secret"),
        client_table(name="billing", kind="transactional"),
    ]
    gateway = build(clients=clients)
    (gateway.folder / "secret").write_text("open sesame\n")
    async with gateway:
        await gateway.allow(YES, NO)
        await gateway.ban(NO)
        async with gateway.client() as client:
            assert (await client.login("letter", "open sesame")).startswith("235")
            assert (await client.mail(YES, NO)).endswith("1 forwarded, 1 suppressed")
        async with gateway.client() as client:
            assert (await client.login("letter", "wrong")).startswith("535")
            assert (await client.mail(NO, message=INVOICE)).endswith("1 forwarded")
        end = asyncio.get_running_loop().time() + 30
        while 'rule="R06"' not in (text := (await gateway.get("/metrics"))[1]):
            assert asyncio.get_running_loop().time() < end, "counts are published every second"
            await asyncio.sleep(0.1)
        for sample in (
            'gateway_recipients_total{client="news",kind="marketing",'
            'result="forwarded",rule="R40"} 1.0',
            'gateway_recipients_total{client="news",kind="marketing",'
            'result="suppressed",rule="R11"} 1.0',
            'gateway_recipients_total{client="billing",kind="transactional",'
            'result="forwarded",rule="R06"} 1.0',
            'gateway_messages_total{client="news",reply="2xx"} 1.0',
            'gateway_logins_total{result="refused"} 1.0',
            'gateway_logins_total{result="accepted"} 1.0',
            'gateway_upstream_connects{result="failed",upstream="main"} 0.0',
        ):
            assert sample in text, text
        for word in ("example.com", "person", "@", "sesame", "lamisnet", "letter"):
            assert word not in text, text
        await gateway.found(count=3)
        end = asyncio.get_running_loop().time() + 30
        while "gateway_archive_backlog 0.0\n" not in text:
            assert asyncio.get_running_loop().time() < end
            await asyncio.sleep(0.1)
            _, text = await gateway.get("/metrics")
