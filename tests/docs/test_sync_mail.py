"""The recipes of Amazon SES, SendGrid and Mailgun, as they stand in the documents."""

import re
from pathlib import Path

import pytest

from gateway.connector.connector import Place
from gateway.connector.registry import connector_of
from gateway.settings.load import load_settings

ROOT = Path(__file__).parents[2]
KINDS = ("ses", "sendgrid", "mailgun")


def recipe(kind):
    text = (ROOT / "docs" / "sync" / f"{kind}.md").read_text(encoding="utf-8")
    [block] = re.findall(r"```toml\n(.*?)```", text, flags=re.DOTALL)
    return block


@pytest.fixture
def settings(tmp_path):
    """All three in one configuration."""
    text = (ROOT / "config.toml").read_text(encoding="utf-8")
    path = tmp_path / "config.toml"
    path.write_text("\n".join([text, *map(recipe, KINDS)]), encoding="utf-8")
    return load_settings(path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_recipe_loads_and_makes_a_connector(settings, kind):
    [tool] = [one for one in settings.sync.tools if one.kind == kind]
    assert tool.name == kind
    assert tool.secret_file.is_absolute()
    assert tool.webhook_secret_file.is_absolute()
    place = Place(
        tool.name,
        tool.username,
        "secret",
        tool.place,
        tuple(tool.topics.items()),
        tool.accept_wider,
        "",
        tool.webhook_source,
        tool.url,
    )
    connector = connector_of(kind, place)
    assert connector.kind == kind
    assert connector.place.url.startswith("https://")
    assert bool(connector.holds.topics) is bool(tool.topics)


def test_no_url_of_a_vendor_is_left_open(settings):
    for tool in settings.sync.tools:
        place = Place(tool.name, tool.username, "secret", tool.place)
        assert "{" not in connector_of(tool.kind.value, place).url
