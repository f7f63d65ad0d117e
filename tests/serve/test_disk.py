"""Full disks and files that vanish: 4xx, never a loss, and no restart to recover."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.house import INVOICE, MAILING, client_table
from tests.peers.process import until

pytestmark = pytest.mark.slow

YES, NO = "yes@example.com", "no@example.com"


@contextlib.contextmanager
def small_disk(folder: Path, mebibytes: int) -> Iterator[Path]:
    """A disk of its own at the folder; skips where this process may not mount one."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=700", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"no small disk without mount(8): {done.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """A file that takes all that is left of the folder's disk."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            if file.write(b"\0" * 4096) < 4096:
                break
    return path


def two_clients(folder: Path) -> list[dict]:
    """Marketing by network, bills by login."""
    (folder / "secret").write_text("open sesame\n")
    bills = client_table(
        name="bills", networks=None, username="bills", password_file="secret", kind="transactional"
    )
    return [client_table(), bills]


LOGIN = ("bills", "open sesame")


async def test_an_archive_that_was_moved_away(build, tmp_path, upstream):
    gateway = build(clients=two_clients(tmp_path), records={"backlog_max": 5})
    async with gateway:
        await gateway.allow(YES)
        assert (await gateway.send(YES, message=INVOICE, login=LOGIN)).endswith("1 forwarded")
        assert (await gateway.send(YES)).endswith("1 forwarded")
        await gateway.found(YES, count=2)
        archive = gateway.settings.records.archive
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        files = [path for path in archive.parent.iterdir() if path.name.startswith(archive.name)]
        for path in files:
            path.rename(elsewhere / path.name)

        # Content has nowhere to be kept, so that such mail waits with its sender.
        assert (await gateway.send(YES, message=INVOICE, login=LOGIN)).startswith("451 4.3.0 ")
        # What needs only its record goes on, until too many of them wait.
        sent = 0
        while (reply := await gateway.send(YES)).startswith("250"):
            sent += 1
            assert sent < 30
        assert reply.startswith("451 4.3.0 "), reply
        assert sent >= 3
        assert len(upstream.messages) == 2 + sent
        await gateway.line("archive_unavailable")
        status, body = await gateway.get("/readyz")
        assert status == 503
        assert '"archive": "the archive refuses' in body
        # Nothing was begun anew in its place.
        assert not archive.exists()

        for path in files:
            (elsewhere / path.name).rename(path)
        await gateway.line("archive_available", within=20)
        await gateway.keep_sending(YES)
        await gateway.keep_sending(YES, message=INVOICE, login=LOGIN)
        expected = 2 + sent + 2
        assert await gateway.results(YES, expected) == ["forwarded"] * expected
        assert len(upstream.messages) == expected
        assert (await gateway.get("/readyz"))[0] == 200


async def test_an_archive_disk_that_is_full(build, tmp_path, upstream):
    with small_disk(tmp_path / "disk", 4) as disk:
        gateway = build(
            clients=two_clients(tmp_path), records={"archive": str(disk / "archive.sqlite")}
        )
        async with gateway:
            await gateway.allow(YES)
            large = INVOICE + os.urandom(400_000).hex().encode()
            assert (await gateway.send(YES, message=INVOICE, login=LOGIN)).endswith("1 forwarded")
            filler = fill(disk)
            assert (await gateway.send(YES, message=large, login=LOGIN)).startswith("451 4.3.0 ")
            assert len(upstream.messages) == 1
            for _ in range(5):
                assert (await gateway.send(YES)).endswith("1 forwarded")
            filler.unlink()
            await gateway.keep_sending(YES, message=large, login=LOGIN)
            results = await gateway.results(YES, 7, within=20)
            assert results.count("forwarded") == 7, results
            assert len(upstream.messages) == 7
            assert await gateway.stop() == 0


async def test_a_spool_disk_that_is_full_is_452_and_the_next_message_goes(build, tmp_path):
    with small_disk(tmp_path / "data" / "spool", 1) as disk:
        async with build(smtp={"message_memory": 65536, "listen": ["127.0.0.1:0"]}) as gateway:
            await gateway.allow(YES)
            async with gateway.client() as client:
                (reply,) = await client.begin(YES)
                assert reply.startswith("250")
                reply = await client.data(MAILING + b"spam and eggs\r\n" * 200_000)
                assert reply.startswith("452 4.3.1 "), reply
                # On the same connection: the fault was read to its end and is over.
                (reply,) = await client.begin(YES)
                assert (await client.data(MAILING + b"x" * 500_000)).endswith("1 forwarded")
            assert list(disk.iterdir()) == []


async def test_a_register_disk_that_is_full_is_4xx_and_bans_outlive_it(build, tmp_path, upstream):
    """A server that cannot write its log ends itself; it is started until it can."""
    with small_disk(tmp_path / "data" / "register", 4) as disk:
        async with build() as gateway:
            await gateway.allow(YES, NO)
            await gateway.ban(NO)
            filler = fill(disk)
            replies = []
            for _ in range(40):
                reply = await gateway.send(YES)
                replies.append(reply)
                if not reply.startswith("250"):
                    break
            assert replies[-1].startswith("451 4.3.0 "), replies
            # Every 250 stands for a record that was written, and for nothing else.
            sent = len(replies) - 1
            assert len(upstream.messages) == sent
            filler.unlink()
            await gateway.keep_sending(YES)
            async with gateway.client() as client:
                assert (await client.mail(NO)).endswith("1 suppressed")
            await until(lambda: len(upstream.messages) == sent + 1)
            results = await gateway.results(YES, sent + 1)
            assert results.count("forwarded") == sent + 1
