"""The recipes of listmonk, Mautic, Twilio, the own protocol and files, as they stand there."""

import hmac
import json
import re
from pathlib import Path

import pytest

from gateway.connector.connector import Place
from gateway.connector.file import complaints_of, rows_in
from gateway.connector.http import SIGNATURE
from gateway.connector.registry import connector_of
from gateway.connector.row import change_of
from gateway.connector.topics import Topics
from gateway.provider.request import Answer, Request
from gateway.settings.load import load_settings
from gateway.sync.tool import tool_of, warnings_of
from tests.connector.dialogue import answered, place

ROOT = Path(__file__).parents[2]
KINDS = ("listmonk", "mautic", "twilio", "http", "file")


def blocks(kind, language):
    text = (ROOT / "docs" / "sync" / f"{kind}.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


@pytest.fixture
def tools(tmp_path):
    """All of them in one configuration, with their secrets."""
    text = (ROOT / "config.toml").read_text(encoding="utf-8")
    recipes = [block for kind in KINDS for block in blocks(kind, "toml")]
    assert len(recipes) == len(KINDS)
    path = tmp_path / "config.toml"
    path.write_text("\n".join([text, *recipes]), encoding="utf-8")
    settings = load_settings(path)
    for tool in settings.sync.tools:
        for file in (tool.secret_file, tool.webhook_secret_file):
            if file is not None:
                file.parent.mkdir(exist_ok=True)
                file.write_text("secret\n")
                file.chmod(0o600)
    return {tool.kind.value: tool for tool in settings.sync.tools}


@pytest.mark.parametrize("kind", KINDS)
def test_a_recipe_loads_and_makes_a_connector(tools, kind):
    tool = tool_of(tools[kind])
    assert tool.connector.kind == kind
    assert bool(tool.holds.topics) is bool(tools[kind].topics)
    assert not [line for line in warnings_of(tool) if "webhook_secret_file is not set" in line]
    assert not [line for line in warnings_of(tool) if "in the clear" in line]


def own():
    topics = (("newsletter", "news"),)
    return connector_of("http", Place("crm", "", "t", "", topics, False, "key", url="https://c"))


def test_the_protocols_examples_are_read():
    told, asked, results, hooked = blocks("http", "json")
    page, _ = answered(own().listing(""), Answer(200, told.encode()))
    assert (len(page.changes), page.cursor, page.bad) == (1, "4711", 0)
    [row] = json.loads(asked)["entries"]
    entry = change_of(
        row,
        Topics(place(topics=(("newsletter", "news"),))),
    ).suppression
    [result], [request] = answered(own().put([entry]), Answer(200, results.encode()))
    assert result.done
    assert json.loads(request.body) == json.loads(asked)
    seconds = 1_700_000_000
    [line] = blocks("http", "python")
    names = {"hmac": hmac, "secret": b"key", "seconds": seconds, "body": hooked.encode()}
    exec(line, names)
    signed = ((SIGNATURE, f"t={seconds},v1={names['mac']}"),)
    request = Request("POST", "/hooks/crm", "", signed, hooked.encode())
    assert len(own().hook(request, seconds * 1000)) == 1


def test_the_example_of_a_file_is_read():
    [sheet] = blocks("file", "csv")
    topics = Topics(place(topics=(("newsletter", "news"),)))
    lines = sheet.splitlines(keepends=True)
    assert complaints_of(lines, topics) == ([], 0)
    assert len(list(rows_in(lines))) == 3
