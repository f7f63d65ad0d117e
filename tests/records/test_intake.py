"""Lists that wait: one at a time, whoever carries them out, and none left behind."""

import asyncio

import pytest

from gateway.failure import Overloaded
from gateway.records.database import Database
from gateway.records.intake import LEASE, OPEN_MOST, Intake, JobMissing, JobState, Options, Report
from gateway.records.seal import Sealer, SealError
from tests.peers.postgresql import sql

SEALER = Sealer({"c1": bytes(range(32))}, "c1")
ROWS = b"email,ban\nmaija@example.com,all\n"
HOW = Options(source="crm", columns={"email": "Osoite"}, region="FI", skip_bad=True)


class Times:
    now = 1_795_000_000_000

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Times()


@pytest.fixture
async def intake(archive_place, clock):
    database = await Database.open(archive_place)
    yield Intake(database, SEALER, clock)
    await database.aclose()


async def test_rows_are_sealed_until_the_job_ends(intake, archive_place):
    job = await intake.add("anna", ROWS, HOW)
    assert (job.state, job.options, job.begun) == (JobState.WAITING, HOW, 0)
    [(sealed,)] = sql(archive_place, "SELECT sealed_rows FROM import_job")
    assert b"maija" not in bytes(sealed)
    claimed, sealed = await intake.claim("one")
    assert await intake.open(job.id, sealed) == ROWS
    with pytest.raises(SealError):
        await intake.open("another", sealed)
    assert (claimed.id, claimed.state, claimed.begun) == (job.id, JobState.RUNNING, 1)
    report = Report(
        rows=3, done=2, bad=1, bad_rows=((4, "ban", "a ban is one of all"),), warnings=("w",)
    )
    assert await intake.beat(job.id, "one", report)
    assert (await intake.get(job.id)).report == report
    assert await intake.end(job.id, "one", JobState.DONE, report)
    ended = await intake.get(job.id)
    assert (ended.state, ended.report, ended.ended is None) == (JobState.DONE, report, False)
    assert sql(archive_place, "SELECT sealed_rows FROM import_job") == [(None,)]
    assert await intake.claim("one") is None
    with pytest.raises(JobMissing):
        await intake.get("01NOTHING")


async def test_one_at_a_time_the_oldest_first(intake, clock):
    first = await intake.add("anna", ROWS, HOW)
    clock.now += 1
    second = await intake.add("anna", ROWS, HOW)
    claims = await asyncio.gather(*(intake.claim(f"p{number}") for number in range(5)))
    assert [claim[0].id for claim in claims if claim is not None] == [first.id]
    owner = f"p{next(n for n, claim in enumerate(claims) if claim is not None)}"
    assert not await intake.beat(first.id, "another", Report())
    # Who says nothing for too long has lost it, and hears so.
    clock.now += LEASE + 1
    claimed, _ = await intake.claim("heir")
    assert (claimed.id, claimed.begun) == (first.id, 2)
    assert not await intake.beat(first.id, owner, Report())
    assert not await intake.end(first.id, owner, JobState.FAILED, Report())
    assert await intake.yield_up(first.id, "heir", Report(cause="the register is away"))
    assert (await intake.get(first.id)).report.cause == "the register is away"
    claimed, _ = await intake.claim("heir")
    assert claimed.id == first.id
    assert await intake.end(first.id, "heir", JobState.DONE, Report())
    claimed, _ = await intake.claim("heir")
    assert claimed.id == second.id
    assert [job.id for job in await intake.index(10)] == [second.id, first.id]
    assert [job.id for job in await intake.index(1)] == [second.id]


async def test_a_cancelled_job_is_nobodys(intake, archive_place):
    waiting = await intake.add("anna", ROWS, HOW)
    assert (await intake.cancel(waiting.id)).state is JobState.CANCELLED
    assert await intake.claim("one") is None
    running = await intake.add("anna", ROWS, HOW)
    await intake.claim("one")
    await intake.cancel(running.id)
    assert not await intake.beat(running.id, "one", Report(done=1))
    await intake.note(running.id, "one", Report(done=7))
    told = await intake.get(running.id)
    assert (told.state, told.report.done) == (JobState.CANCELLED, 7)
    assert set(sql(archive_place, "SELECT sealed_rows FROM import_job")) == {(None,)}
    # What has ended stays as it ended.
    assert (await intake.cancel(running.id)).report.done == 7
    with pytest.raises(JobMissing):
        await intake.cancel("01NOTHING")


async def test_waiting_lists_are_bounded(intake):
    for _ in range(OPEN_MOST):
        last = await intake.add("anna", ROWS, HOW)
    with pytest.raises(Overloaded):
        await intake.add("anna", ROWS, HOW)
    await intake.cancel(last.id)
    await intake.add("anna", ROWS, HOW)
