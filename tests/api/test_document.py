"""The OpenAPI document describes what is served: checked by a tool that knows neither."""

import asyncio
import subprocess
import sys

import pytest

from gateway.api.account import Role
from gateway.api.server import shape_of


async def test_the_document_is_for_those_who_are_known(house):
    viewer = await house.caller(Role.VIEWER)
    status, document = await viewer.get("/v1/openapi.json")
    assert status == 200
    assert document["openapi"] == "3.1.0"
    assert {"/v1/decisions", "/v1/bans", "/v1/held/{held}/release"} <= set(document["paths"])
    assert (await viewer.post("/v1/openapi.json", {}))[0] == 405


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_every_answer_is_one_that_the_document_promises(house, tmp_path):
    admin = await house.caller(Role.ADMIN)
    done = await asyncio.to_thread(
        subprocess.run,
        [
            *(sys.executable, "-m", "schemathesis.cli", "run"),
            f"{house.base}/v1/openapi.json",
            *("--header", f"Authorization: Bearer {admin.token}"),
            *("--max-examples", "25", "--seed", "1", "--no-color"),
            "--continue-on-failure",
            # A contact is any text by the document; which are none the parser knows.  Wrong
            # tokens are answered 401, and 429 when there are many: see the tests beside.
            *("--exclude-checks", "positive_data_acceptance,ignored_auth,missing_required_header"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=540,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


def test_of_a_path_the_log_has_only_what_the_document_has():
    """Whoever writes an address into a path, or anything else, writes it into no log."""
    assert shape_of("/v1/records/01M8/x?y=maija@example.com") == "/v1/records"
    assert shape_of("/v1/bans") == "/v1/bans"
    for path in ("/contacts/maija@example.com", "/v1/maija@example.com", "/maija@example.com", "*"):
        assert shape_of(path) == "another"
