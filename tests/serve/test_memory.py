"""What a worker holds before it has carried anything, and what it loads when it must."""

import sys
from pathlib import Path
from subprocess import run

import pytest

YES, NO = "yes@example.com", "no@example.com"


def test_a_worker_loads_no_library_that_it_does_not_need():
    """What each of these weighs, every worker would hold."""
    heavy = (
        "aiohttp",
        "dkim",
        "holidays",
        "phonenumbers",
        "pydantic",
        "rich",
        "sqlalchemy",
        "stdnum",
        "typer",
    )
    program = (
        "import sys; sys.modules['rich'] = None; import gateway.serve.service; "
        f"print(*(name for name in {heavy!r} if sys.modules.get(name)))"
    )
    done = run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def maps(pid: int) -> str:
    """The files that a process has mapped."""
    return Path(f"/proc/{pid}/maps").read_text()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
async def test_a_worker_opens_the_archive_for_the_first_content_that_is_kept(build):
    async with build(records={"content_of": ["marketing"]}) as gateway:
        (worker,) = gateway.workers
        await gateway.allow(YES)
        assert (await gateway.send(NO)).endswith("1 suppressed")
        for library in ("_sqlite3", "pydantic_core"):
            assert library not in maps(worker), library
        assert (await gateway.send(YES)).endswith("1 forwarded")
        assert "_sqlite3" in maps(worker)
        assert gateway.workers == [worker]
