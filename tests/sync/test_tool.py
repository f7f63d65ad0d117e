"""What is wrong with a tool's settings is said when they are read."""

import pytest

from gateway.failure import InputError
from gateway.settings.sync import SyncTool, ToolKind
from gateway.sync.tool import tool_of, warnings_of
from tests.peers.process import command, tables, write_config


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret"
    path.write_text("hush\n")
    return path


def ses(secret, **more) -> SyncTool:
    named = {"name": "mail", "kind": ToolKind.SES, "place": "eu-north-1", "username": "AKIA"}
    return SyncTool(**{**named, "secret_file": secret, **more})


def test_topics_that_a_list_cannot_hold_are_refused_unless_accepted(secret):
    with pytest.raises(InputError, match=r"sync\.tools mail: topics: Amazon SES cannot hold"):
        tool_of(ses(secret, topics={"newsletter": "news"}))
    tool = tool_of(ses(secret, topics={"newsletter": "news"}, accept_wider=True))
    assert any("becomes one of the whole address" in each for each in warnings_of(tool))


def test_what_a_list_cannot_hold_is_told(secret):
    assert any("such a ban is not held there" in each for each in warnings_of(tool_of(ses(secret))))


def test_a_secret_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"sync\.tools mail: secret_file"):
        tool_of(ses(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://tool.example", True),
        ("http://127.0.0.1:8080", False),
        ("http://localhost/x", False),
        ("https://tool.example", False),
    ],
)
def test_a_credential_in_the_clear_is_told(secret, url, told):
    tool = tool_of(SyncTool(name="own", kind=ToolKind.HTTP, url=url, secret_file=secret))
    assert any("in the clear" in each for each in warnings_of(tool)) is told


def test_a_start_is_refused(tmp_path, secret):
    tool = {
        "name": "mail",
        "kind": "ses",
        "place": "eu-north-1",
        "username": "AKIA",
        "secret_file": str(secret),
        "topics": {"newsletter": "news"},
    }
    write_config(tmp_path, tables(sync={"tools": [tool]}))
    done = command(tmp_path, "serve", "--check")
    assert done.status == 2
    assert "sync.tools mail: topics" in done.err
    write_config(tmp_path, tables(sync={"tools": [{**tool, "accept_wider": True}]}))
    assert command(tmp_path, "serve", "--check").status == 0
