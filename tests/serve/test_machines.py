"""Two gateways, as on two machines: one register, one archive in PostgreSQL, the same keys."""

import signal

import pytest

from gateway.custody.custody import Custody
from gateway.records.seal import Sealer
from tests.peers.house import INVOICE, MAILING, client_table
from tests.peers.postgresql import sql
from tests.peers.process import RunningGateway

NEWS = b"X-Gateway-Kind: marketing\r\n" + MAILING
YES, NO = "reader@example.com", "banned@example.com"


@pytest.mark.slow
async def test_machines_share_one_archive_and_one_goes_on_when_the_other_is_killed(
    tmp_path, register_url, postgresql
):
    url = postgresql.database()
    (tmp_path / "keys").mkdir(mode=0o700)
    shared = {
        "register": {"url": register_url, "keys_file": str(tmp_path / "keys/digest.json")},
        "records": {
            "url": url,
            "keys_url": postgresql.database(),
            "content_key_file": str(tmp_path / "keys/content.json"),
            "signing_key_file": str(tmp_path / "keys/signing.pem"),
        },
        "clients": [client_table(kind="declared", topic=None)],
    }
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    one, two = (RunningGateway(tmp_path / name, **shared) for name in ("one", "two"))
    async with one, two:
        await one.allow(YES)
        await one.ban(NO)
        assert (await one.send(YES, message=NEWS)).endswith("1 forwarded")
        assert (await two.send(YES, NO, message=NEWS)).endswith("1 forwarded, 1 suppressed")
        assert (await one.send(YES, message=INVOICE)).endswith("1 held")
        await two.found(count=4)
        # What one machine holds, a person releases at the other.
        [held] = two.command("held", "list", "--json").rows
        reason = ("--by", "anna", "--reason", "an invoice", "--kind", "transactional")
        done = two.command("held", "release", held["held"], *reason)
        assert done.out == f"{YES}: sent\n"
        await one.found(count=5)
        # Whichever archives, it is gone without a word, and what it left is not lost.
        one.signal(signal.SIGKILL)
        await one.ended()
        assert (await two.send(NO, message=NEWS)).endswith("1 suppressed")
        found = await two.found(count=6)
        assert [record.result for record in found].count("suppressed") == 2
        done = two.command("records", "verify")
        assert done.status == 0, done
        await one.start()
        assert (await one.send(YES, message=NEWS)).endswith("1 forwarded")
        await two.found(count=7)
    fences = sql(url, "SELECT fence FROM archive")
    assert fences[0][0] >= 2
    assert not list(tmp_path.rglob("*.sqlite"))


@pytest.mark.slow
async def test_a_machine_with_keys_of_its_own_is_refused(tmp_path, register_url, postgresql):
    (tmp_path / "keys").mkdir(mode=0o700)
    shared = {
        "register": {"url": register_url, "keys_file": str(tmp_path / "keys/digest.json")},
        "records": {
            "url": postgresql.database(),
            "content_key_file": str(tmp_path / "keys/content.json"),
        },
    }
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    one, two = (RunningGateway(tmp_path / name, **shared) for name in ("one", "two"))
    async with one:
        assert one.command("records", "verify").status == 0
        done = two.command("records", "search")
        assert done.status == 2
        assert "people's keys are not here" in done.err
        # Nor with others, which it may have from an archive of its own.
        keys = tmp_path / "two" / "data" / "keys.sqlite"
        seal = Sealer.load(tmp_path / "keys" / "content.json")
        await (await Custody.at(keys, seal)).aclose()
        done = two.command("records", "search")
        assert done.status == 2
        assert "not the keys that the archive was written with" in done.err
