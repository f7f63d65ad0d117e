"""Imports behind the API, driven by hand."""

import asyncio

import pytest

from gateway.contacts.parse import parse_contact
from gateway.records.database import Database
from gateway.records.intake import Intake, JobState, Options
from gateway.records.seal import Sealer
from gateway.register.register import Register
from gateway.serve import intake as module
from gateway.serve.intake import Importer

SEALER = Sealer({"c1": bytes(range(32))}, "c1")


@pytest.fixture
async def register(register_url, ring):
    async with await Register.open(register_url, ring, bits=8, settle=0.01) as register:
        yield register


async def test_cancelled_as_it_ended_it_still_says_all_that_it_did(register, tmp_path, monkeypatch):
    """What was applied stays, so the report may not be that of some seconds before."""
    database = await Database.open(tmp_path / "archive.sqlite")
    intake = Intake(database, SEALER)

    async def nothing() -> int:
        return 0

    importer = Importer(intake, register, nothing)
    job = await importer.begin("anna", b"email,ban\na@example.com,all\n", Options(source="x"))
    beat = intake.beat

    async def cancelled(job_id, owner, report):
        """It ends while it is said how far it was, and then somebody cancels it."""
        going_on = await beat(job_id, owner, report)
        if going_on and not report.done:
            while not (await register.show(parse_contact("a@example.com"))).bans:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.5)
            await importer.cancel(job_id)
        return going_on

    monkeypatch.setattr(module, "_BEAT", 0.001)
    monkeypatch.setattr(intake, "beat", cancelled)
    running = asyncio.create_task(importer.run())
    try:
        for _ in range(300):
            told = await importer.get(job.id)
            if told.state is JobState.CANCELLED and told.report.done:
                break
            await asyncio.sleep(0.1)
        assert (told.state, told.report.done, told.report.changed) == (JobState.CANCELLED, 1, 1)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await database.aclose()
