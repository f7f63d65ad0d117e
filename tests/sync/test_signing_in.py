"""A tool that lets requests in by tokens: asked for, kept in memory, renewed, never told."""

from __future__ import annotations

import asyncio

import pytest

from gateway.connector.connector import ToolRefused, ToolUnreadable
from gateway.connector.oauth import token_of_client
from gateway.connector.registry import connector_of
from gateway.connector.suppression import Suppression
from gateway.contacts.parse import parse_contact
from gateway.entry.entry import Scope
from gateway.failure import GatewayError, InputError
from gateway.provider.request import Answer, json_answer
from gateway.settings.sync import SyncTool, ToolKind
from gateway.sync.session import Session, ToolAway
from gateway.sync.tool import Tool, tool_of
from tests.connector.dialogue import answered, place, served
from tests.peers.journal import written_log
from tests.peers.tools.mautic import Mautic

ID, SECRET = Mautic().client
GRANT = {"access_token": "abc", "token_type": "Bearer", "expires_in": 3600}


@pytest.fixture
async def mautic(monkeypatch):
    monkeypatch.setattr("gateway.sync.session._FIRST", 0.01)
    tool = Mautic()
    tool.enter(tool.contact(email="theirs@example.com"), "email", 1)
    async with served(tool.app) as server:
        tool.url = server.url
        yield tool


def tool_with(tmp_path, url: str = "http://127.0.0.1:1", secret: str = SECRET, **more) -> Tool:
    path = tmp_path / "secret"
    path.write_text(secret)
    path.chmod(0o600)
    given = {"client_id": ID, "kind": ToolKind.MAUTIC, "secret_file": path, "url": url}
    return tool_of(SyncTool(name="own", **(given | more), requests_per_second=1000))


@pytest.fixture
async def session(mautic, tmp_path):
    tool = tool_with(tmp_path, mautic.url)
    one = Session(tool.settings, tool.connector)
    yield one
    await one.aclose()


def listing(session: Session):
    return session.run(session._connector.listing(""))


async def test_one_token_is_enough_for_everything_while_it_lasts(mautic, session):
    for _ in range(3):
        page = await listing(session)
        assert [one.suppression.contact.canonical for one in page.changes] == ["theirs@example.com"]
    entry = Suppression(
        parse_contact("ours@example.com"), Scope.ALL, page.changes[0].suppression.reason
    )
    [put] = await session.run(session._connector.put([entry]))
    assert put.done
    assert mautic.tokens == ["token-1"]
    assert [path for method, path in mautic.calls if "oauth" in path] == ["/oauth/v2/token"]


async def test_a_token_that_is_taken_back_is_asked_for_anew_and_nothing_is_lost(mautic, session):
    await listing(session)
    for number in (2, 3):
        mautic.good.clear()
        assert len((await listing(session)).changes) == 1
        assert len(mautic.tokens) == number


async def test_a_token_whose_time_is_over_is_not_shown(mautic, session):
    mautic.lasts = 1
    await listing(session)
    await asyncio.sleep(1.1)
    before = len(mautic.tokens)
    mautic.lasts = 3600
    mautic.good.clear()
    mautic.calls.clear()
    await listing(session)
    # It is asked for before anything else is, and not after a refusal.
    assert mautic.calls[0] == ("POST", "/oauth/v2/token")
    assert len(mautic.tokens) == before + 1


@pytest.mark.parametrize("lasts", [None, "3600", True, 0, -1, 10**12, 1e300])
async def test_a_token_of_no_known_end_is_shown_until_it_is_refused(mautic, session, lasts):
    mautic.lasts = lasts
    await listing(session)
    await listing(session)
    assert len(mautic.tokens) == 1


async def test_a_new_token_that_lets_nothing_in_is_not_asked_for_for_ever(mautic, session):
    mautic.grants = {"access_token": "of-no-use"}
    for asked in (1, 2):
        with pytest.raises(ToolRefused, match="secret_file and client_id"):
            await listing(session)
        assert len(mautic.tokens) == asked
    mautic.grants = {}
    assert len((await listing(session)).changes) == 1


async def test_a_client_that_is_not_known_is_told_with_the_settings(mautic, tmp_path):
    tool = tool_with(tmp_path, mautic.url, secret="another")
    session = Session(tool.settings, tool.connector)
    with pytest.raises(
        ToolRefused, match=r"HTTP 400\): sync\.tools own: client_id and secret_file"
    ):
        await listing(session)
    await session.aclose()
    assert mautic.tokens == []
    assert [path for _, path in mautic.calls] == ["/oauth/v2/token"]


async def test_what_breaks_on_the_way_to_a_token_is_tried_again(mautic, session):
    mautic.busy, mautic.broken = 1, 2
    assert len((await listing(session)).changes) == 1
    mautic.good.clear()
    mautic.broken = 100
    with pytest.raises(ToolAway):
        await listing(session)
    mautic.broken = 0
    assert len((await listing(session)).changes) == 1


async def test_requests_at_once_share_a_token(mautic, session):
    await asyncio.gather(*(listing(session) for _ in range(5)))
    assert len(mautic.tokens) == 1
    mautic.good.clear()
    await asyncio.gather(*(listing(session) for _ in range(5)))
    assert len(mautic.tokens) == 2


async def test_by_a_round_what_is_owed_goes_there_and_what_is_there_comes(world, mautic, tmp_path):
    with written_log() as log:
        await world.ban("ours@example.com")
        await world.round(tool_with(tmp_path, mautic.url))
        mautic.good.clear()
        await world.round(tool_with(tmp_path, mautic.url), whole=True)
    assert await world.banned("theirs@example.com")
    [ours] = [key for key, one in mautic.contacts.items() if one["email"] == "ours@example.com"]
    assert mautic.held(ours) == {"email": 1, "sms": 1}
    for told in (log.getvalue(), str(mautic.calls)):
        assert not any(word in told for word in (ID, SECRET, "token-1"))


async def test_nothing_of_it_is_in_what_is_told(mautic, session, tmp_path):
    mautic.grants = {"token_type": "mac"}
    with pytest.raises(GatewayError) as raised:
        await listing(session)
    assert "token-1" not in str(raised.value)
    token, _ = answered(token_of_client(_connector(), "/t"), json_answer(200, GRANT))
    assert "abc" not in repr(token)


def _connector():
    return connector_of("mautic", place(username="", client_id=ID, secret=SECRET))


def test_the_secret_goes_in_the_body_alone():
    token, [request] = answered(token_of_client(_connector(), "/t"), json_answer(200, GRANT))
    assert (token.text, token.lasts) == ("abc", 3600)
    assert (request.method, request.path, request.query) == ("POST", "/t", "")
    assert request.body == (
        b"grant_type=client_credentials&client_id=1_client&client_secret=client%2Fsecret%2B"
    )
    assert "secret" not in str(request.headers)


@pytest.mark.parametrize(
    "wrong",
    [
        {"access_token": None},
        {"access_token": ""},
        {"access_token": "a b"},
        {"access_token": "a\r\nX: y"},
        {"access_token": "ä"},
        {"access_token": "a" * 20_000},
        {"token_type": None},
        {"token_type": "mac"},
    ],
)
def test_what_is_no_token_is_not_shown_to_anybody(wrong):
    with pytest.raises(ToolUnreadable):
        answered(token_of_client(_connector(), "/t"), json_answer(200, GRANT | wrong))


@pytest.mark.parametrize("status", [301, 403, 404, 418])
def test_other_answers_are_told_with_their_status(status):
    with pytest.raises((ToolRefused, ToolUnreadable), match=str(status)):
        answered(token_of_client(_connector(), "/t"), Answer(status))


def test_a_client_or_a_user_and_not_both_nor_neither(tmp_path):
    with pytest.raises(InputError, match="client_id: write it or username, not both"):
        tool_with(tmp_path, username="gateway")
    with pytest.raises(InputError, match=r"username is not set.* or write client_id"):
        tool_with(tmp_path, client_id="")
    with pytest.raises(InputError, match=r"secret_file is not set.*client's secret"):
        tool_with(tmp_path, secret_file=None)
    assert tool_with(tmp_path).connector.signing_in() is not None
    assert tool_with(tmp_path, client_id="", username="gateway").connector.signing_in() is None


def test_a_tool_that_knows_no_clients_says_so(tmp_path):
    with pytest.raises(InputError, match=r"sync\.tools own: client_id: listmonk knows no clients"):
        tool_with(tmp_path, kind=ToolKind.LISTMONK, username="gateway")
