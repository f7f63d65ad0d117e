"""The recipes for tools: their settings load, and a connector is made of them."""

import re
from pathlib import Path

import pytest

from gateway.settings.load import load_settings
from gateway.sync.tool import tool_of, warnings_of

ROOT = Path(__file__).parents[2]
KEYS = {
    "postmark": "b1c2d3e4-server-token",
    "mailchimp": "0123456789abcdef0123456789abcdef-us19",
    "mandrill": "md-0123456789abcdef0123",
    "brevo": "xkeysib-0123456789abcdef",
}


@pytest.mark.parametrize("kind", KEYS)
def test_a_tools_block_loads_and_makes_its_connector(tmp_path, kind):
    page = (ROOT / "docs" / "sync" / f"{kind}.md").read_text(encoding="utf-8")
    [block] = re.findall(r"```toml\n(.*?)```", page, re.S)
    text = (ROOT / "config.toml").read_text(encoding="utf-8")
    (tmp_path / "config.toml").write_text(f"{text}\n{block}", encoding="utf-8")
    (tmp_path / "secrets").mkdir()
    for name, value in ((kind, KEYS[kind]), (f"{kind}-webhook", "0123456789abcdef" * 4)):
        file = tmp_path / "secrets" / name
        file.write_text(f"{value}\n", encoding="utf-8")
        file.chmod(0o600)
    [settings] = load_settings(tmp_path / "config.toml").sync.tools
    tool = tool_of(settings)
    assert (tool.name, tool.connector.kind) == (kind, kind)
    assert tool.connector.place.secret == KEYS[kind]
    assert tool.connector.place.webhook_secret
    assert f"{{public.url}}/hooks/{settings.name}" in page
    for topic in tool.holds.topics:
        assert topic in block
    assert all("example.com" not in line for line in warnings_of(tool))
