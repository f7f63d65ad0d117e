"""A worker is killed in the midst of sending what waited: nobody gets it twice."""

import os
import signal
import sqlite3
from datetime import datetime
from zoneinfo import ZoneInfo

import aiohttp
import pytest

from tests.peers.process import RunningGateway, until
from tests.peers.provider import Provider, silence
from tests.peers.standins import twilio
from tests.sms.conftest import route_table

SID = "AC00000000000000000000000000000000"
PATH = f"/2010-04-01/Accounts/{SID}/Messages.json"
AUTH = {"Authorization": aiohttp.encode_basic_auth(SID, "its-own")}
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def quiet_now() -> dict[str, object]:
    """Quiet hours that last for days, whatever the time."""
    today = datetime.now(ZoneInfo("Europe/Helsinki")).weekday()
    days = [DAYS[(today + n) % 7] for n in range(-1, 5)]
    return {"begins": "00:00", "ends": "00:00", "days": days}


def table(provider: Provider, *, quiet: bool) -> dict[str, object]:
    route = route_table(
        "twilio",
        provider.url,
        kind="transactional",
        urgent=False,
        on_quiet="keep",
        answer_timeout=60,
    )
    sms: dict[str, object] = {"listen": ["127.0.0.1:0"], "routes": [route]}
    return {**sms, "quiet": quiet_now()} if quiet else sms


def archive(gateway: RunningGateway, statement: str) -> list[tuple]:
    connection = sqlite3.connect(gateway.settings.records.archive, timeout=10)
    try:
        with connection:
            return connection.execute(statement).fetchall()
    finally:
        connection.close()


def states(gateway: RunningGateway) -> list[str]:
    return [state for (state,) in archive(gateway, "SELECT state FROM held ORDER BY id")]


async def post(gateway: RunningGateway, to: str) -> int:
    port = gateway.said("ready")["sms"][0].rpartition(":")[2]
    form = {"To": to, "From": "LamisNET", "Body": "Tilauksesi on noudettavissa"}
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"http://127.0.0.1:{port}/tool{PATH}", data=form, headers=AUTH) as answer,
    ):
        return answer.status


@pytest.mark.slow
async def test_a_worker_killed_while_it_sends_what_waited_sends_it_once(tmp_path):
    async with Provider(twilio.answer) as provider:
        gateway = RunningGateway(tmp_path, sms=table(provider, quiet=True), workers=2)
        async with gateway:
            for last in range(3):
                assert await post(gateway, f"+35840111111{last}") == 201
            assert states(gateway) == ["waiting"] * 3
            assert provider.sends == []
            await gateway.stop()

            # The quiet hours are over, and the provider does not answer.
            gateway.configure(sms=table(provider, quiet=False))
            archive(gateway, "UPDATE held SET due = 1 + (SELECT max(created) FROM held)")
            provider.answer = silence
            await gateway.start()
            await until(lambda: len(provider.sends) == 3)
            assert states(gateway) == ["releasing"] * 3
            first = await gateway.line("worker_started", worker=0)
            worker = first["pid"]
            provider.answer = twilio.answer
            os.kill(worker, signal.SIGKILL)
            await gateway.line("worker_started", worker=0, count=2)

            # Who came after it leaves them alone, and shows them to people in time.
            assert await post(gateway, "+358401111119") == 201
            await until(lambda: len(provider.sends) == 4)
            await gateway.stop()
            archive(gateway, "UPDATE held SET due = 1 WHERE state = 'releasing'")
            await gateway.start()
            await until(lambda: states(gateway) == ["uncertain"] * 3)
            assert len(provider.sends) == 4
            rows = gateway.command("held", "list", "--json").rows
            assert [row["state"] for row in rows] == ["uncertain"] * 3
            assert all("may have been sent" in row["reason"] for row in rows)
            by = ("--by", "anna", "--reason", "the provider says that it was sent")
            assert gateway.command("held", "release", rows[0]["held"], *by).status == 2
            assert gateway.command("held", "discard", rows[0]["held"], *by).status == 0
            await gateway.stop()


@pytest.mark.slow
async def test_a_gateway_that_is_stopped_lets_what_it_sends_end(tmp_path):
    async with Provider(twilio.answer) as provider:
        gateway = RunningGateway(tmp_path, sms=table(provider, quiet=True), workers=1)
        async with gateway:
            assert await post(gateway, "+358401111111") == 201
            await gateway.stop()
            gateway.configure(sms=table(provider, quiet=False))
            archive(gateway, "UPDATE held SET due = created")
            await gateway.start()
            await until(lambda: states(gateway) == ["released"])
            await gateway.stop()
            assert len(provider.sends) == 1
            assert await gateway.results("+358401111111", count=2) == ["released", "forwarded"]
