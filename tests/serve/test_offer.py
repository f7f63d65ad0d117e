"""Keys of links and signatures: checked before anything starts, taken anew by a reload."""

import json
import re
import signal
from functools import partial
from pathlib import Path

import pytest

from gateway.clock import now_ms
from gateway.keyfile import add_key
from gateway.unsubscribe.link import Links
from tests.peers.house import OWN
from tests.peers.process import preloaded_command, tables, write_config
from tests.peers.verifier import Key, verified

A = "a@example.com"
PLAIN = b"From: LamisNET <uutiset@lamisnet.fi>\r\nSubject: Uutiset\r\n\r\nHei!\r\n"
ADDS = {
    "public": {"url": "https://preferences.lamisnet.fi", "listen": ["127.0.0.1:0"]},
    "unsubscribe": {"add": True},
}


@pytest.fixture
def run(preloaded, tmp_path):
    """Run a command in a folder with this configuration."""

    def go(*arguments, **changes):
        write_config(tmp_path, tables(**changes))
        return partial(preloaded_command, preloaded)(tmp_path, *arguments)

    return go


def dkim(path: Path | str, domain: str = OWN) -> dict[str, str]:
    return {"domain": domain, "selector": "s1", "key_file": str(path)}


@pytest.mark.parametrize("command", [["serve"], ["serve", "--check"]])
@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (None, "No such file"),
        ("", "not a private key in PEM"),
        ("-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n", "not a private key"),
    ],
)
def test_a_bad_key_file_is_named(run, tmp_path, command, content, cause):
    good = Key.ed25519(tmp_path, OWN)
    bad = tmp_path / "bad.pem"
    if content is not None:
        bad.write_text(content)
    keys = [dkim(good.path), dkim("bad.pem", "other.fi")]
    done = run(*command, dkim=keys)
    assert done.status == 2, done
    assert done.err.count("\n") == 1, done.err
    assert "dkim[1].key_file: " in done.err
    assert "bad.pem: " in done.err
    assert cause in done.err
    assert "secret" not in done.err


def test_a_short_key_is_refused(run, tmp_path):
    done = run("serve", "--check", dkim=[dkim(Key.rsa(tmp_path, OWN, bits=1024).path)])
    assert done.status == 2
    assert "an RSA key of 1024 bits" in done.err


@pytest.mark.parametrize(
    ("url", "status"), [("https://preferences.lamisnet.fi/x", 0), ("https://päivä.fi", 2)]
)
def test_a_url_that_cannot_stand_in_mail_is_refused(run, url, status):
    done = run("serve", "--check", **{**ADDS, "public": {"url": url, "listen": ["127.0.0.1:0"]}})
    assert done.status == status, done
    assert ("public.url: links in mail" in done.err) == (status == 2)


def test_a_check_makes_no_keys(run, tmp_path):
    assert run("serve", "--check", **ADDS).status == 0
    assert [path.name for path in tmp_path.iterdir()] == ["config.toml"]


def test_a_link_key_file_that_others_read_is_refused(run, tmp_path):
    path = tmp_path / "data" / "secrets" / "link-keys.json"
    Links.load_or_create(path)
    path.chmod(0o644)
    done = run("serve", "--check", **ADDS)
    assert done.status == 2
    assert "chmod 600" in done.err


async def test_a_reload_takes_new_keys_and_refuses_bad_ones(build, upstream, tmp_path):
    first, second = Key.ed25519(tmp_path, OWN, "first"), Key.rsa(tmp_path, OWN, "second")
    records = first.record | second.record
    gateway = build(**ADDS, dkim=[first.table])
    file = tmp_path / "data" / "secrets" / "link-keys.json"
    async with gateway:
        await gateway.allow(A)

        async def mailed() -> bytes:
            upstream.messages.clear()
            async with gateway.client() as client:
                assert (await client.mail(A, message=PLAIN)).endswith("1 forwarded")
            assert verified(upstream.messages[0].content, records)
            return upstream.messages[0].content

        content = await mailed()
        assert b"s=first;" in content
        assert file.stat().st_mode & 0o777 == 0o600
        old = Links.load_or_create(file)
        before = json.loads(file.read_text())["current"]
        gateway.configure(dkim=[{**second.table, "key_file": "nowhere.pem"}])
        gateway.signal(signal.SIGHUP)
        assert "dkim[0].key_file" in (await gateway.line("reload_refused"))["cause"]
        assert b"s=first;" in await mailed()

        assert add_key(file).current != before
        gateway.configure(dkim=[second.table])
        gateway.signal(signal.SIGHUP)
        await gateway.line("reloaded")
        content = await mailed()
        assert b"s=second;" in content
        token = re.search(rb"/u/([A-Za-z0-9_-]+)>", content)[1].decode()
        assert Links.load_or_create(file).open(token, now_ms(), 1).contact.canonical == A
        with pytest.raises(Exception, match="key that is here"):
            old.open(token, now_ms(), 1)

        gateway.configure(unsubscribe={"add": False})
        gateway.signal(signal.SIGHUP)
        await gateway.line("reloaded", count=2)
        async with gateway.client() as client:
            assert (await client.mail(A, message=PLAIN)).endswith("1 suppressed")
