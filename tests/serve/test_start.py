"""What keeps a gateway from starting is said in one clear line, and it ends with 2."""

import asyncio
import json
import os
import shutil
import socket
from functools import partial

import pytest

from tests.peers.house import client_table
from tests.peers.process import command, preloaded_command, tables, write_config


def refused(done, *words):
    """It could not, and says why in one line that has these words."""
    assert done.status == 2, done
    assert done.out == ""
    assert done.err.count("\n") == 1, done.err
    for word in words:
        assert word in done.err, done.err


@pytest.fixture
def run(preloaded):
    """Run a command in a folder."""
    return partial(preloaded_command, preloaded)


@pytest.fixture
def folder(tmp_path):
    """A folder with a good configuration, not running."""
    write_config(tmp_path, tables())
    return tmp_path


def test_check_says_that_all_is_well_and_makes_nothing(folder):
    done = command(folder, "serve", "--check")
    assert done.status == 0
    assert done.out == "config.toml: configuration and rules are good\n"
    assert done.err == ""
    assert [path.name for path in folder.iterdir()] == ["config.toml"]


def test_no_configuration(tmp_path):
    refused(command(tmp_path, "serve"), "config.toml", "No such file", "--config")


@pytest.mark.parametrize("arguments", [["serve"], ["serve", "--check"]])
def test_an_unknown_setting(folder, arguments, run):
    write_config(folder, tables(smtp={"liste": ["127.0.0.1:2525"]}))
    refused(run(folder, *arguments), "config.toml: smtp.liste: no such setting")


@pytest.mark.parametrize(
    ("quiet", "word"),
    [
        ({"time_zone": "Europe/Mustasaari"}, "is no time zone"),
        (
            {
                "days": [
                    "monday",
                    "tuesday",
                    "wednesday",
                    "thursday",
                    "friday",
                    "saturday",
                    "sunday",
                ]
            },
            "never all seven",
        ),
    ],
)
def test_quiet_hours_that_cannot_be_kept(folder, quiet, word, run):
    route = {"name": "a", "provider": "twilio", "prefix": "/a", "networks": ["127.0.0.0/8"]}
    routes = [{**route, "kind": "marketing", "sandbox": "sms.jsonl"}]
    write_config(folder, tables(sms={"routes": routes, "quiet": quiet}))
    refused(run(folder, "serve", "--check"), "sms.quiet: ", word)


@pytest.mark.parametrize("provider", ["vonage", "vonage_messages"])
def test_what_a_tool_signs_cannot_wait(folder, provider, run):
    route = {"name": "a", "provider": provider, "prefix": "/a", "networks": ["127.0.0.0/8"]}
    route |= {"kind": "marketing", "sandbox": "sms.jsonl", "on_quiet": "keep"}
    write_config(folder, tables(sms={"routes": [route], "quiet": {}}))
    done = run(folder, "serve", "--check")
    refused(done, "sms.routes a: ", 'on_quiet = "keep"', "token_file", "password_file")
    for name in ("token", "password"):
        path = folder / name
        path.write_text(f"the {name}")
        path.chmod(0o600)
        route[f"{name}_file"] = str(path)
    write_config(folder, tables(sms={"routes": [route], "quiet": {}}))
    done = run(folder, "serve", "--check")
    assert done.status == 0, done.err


def test_a_configuration_that_is_not_toml(folder, run):
    (folder / "config.toml").write_text("smtp = {\n")
    refused(run(folder, "serve", "--check"), "config.toml: not valid TOML", "line 1")


def test_an_unknown_variable(folder, run):
    done = run(folder, "serve", env={"GATEWAY_SMPT__LISTEN": "[]"})
    refused(done, "GATEWAY_SMPT__LISTEN is no setting")


@pytest.mark.parametrize(
    "changes",
    [{"records": {"archive": "file/archive.sqlite"}}, {"register": {"keys_file": "file/keys"}}],
)
def test_a_folder_that_cannot_be_made_ends_in_a_trace(folder, run, changes):
    (folder / "file").write_text("no folder")
    write_config(folder, tables(**changes))
    done = run(folder, "serve")
    assert done.status == 2, done
    assert done.err.splitlines()[-1].startswith("suppression-gateway: "), done.err
    assert str(folder / "file") in done.err.splitlines()[-1]


def test_a_bad_rule_file(folder, run):
    (folder / "mine").mkdir()
    rules = folder / "mine" / "house.toml"
    shutil.copy("rules/finland.toml", rules)
    rules.write_text(rules.read_text().replace('then = "suppress"', 'then = "surpress"', 1))
    write_config(folder, tables(rules={"set": "house", "folder": "mine"}))
    done = run(folder, "serve")
    refused(done, "mine/house.toml:", "surpress")


def test_a_missing_rule_set(folder, run):
    write_config(folder, tables(rules={"set": "sweden"}))
    refused(run(folder, "serve"), "sweden", "finland")


@pytest.mark.parametrize("setting", ["smtp.listen", "http.listen"])
def test_a_port_that_is_taken(folder, setting, run):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        table, name = setting.split(".")
        write_config(folder, tables(**{table: {name: [address]}}))
        done = run(folder, "serve")
    assert done.status == 2
    [last] = [line for line in done.err.splitlines() if not line.startswith("{")]
    assert last.startswith(f"suppression-gateway: {setting}: cannot listen on {address}: ")
    assert not (folder / "data" / "register" / "register.sock").exists()


def test_a_certificate_that_cannot_be_used(folder, run):
    write_config(folder, tables(smtp={"tls": {"certificate": "c.pem", "key": "k.pem"}}))
    refused(run(folder, "serve"), "smtp.tls", "c.pem", "No such file")


def test_a_missing_password_file(folder, run):
    client = client_table(networks=None, username="u", password_file="nowhere")
    write_config(folder, tables(clients=[client]))
    refused(run(folder, "serve"), "smtp.clients tool: password_file", "nowhere")


def test_an_upstream_password_that_would_travel_in_the_clear(folder, run):
    config = tables(upstream=2525)
    config["smtp"]["upstreams"][0].update(host="192.0.2.1", username="u", password_file="secret")
    (folder / "secret").write_text("open sesame\n")
    write_config(folder, config)
    done = run(folder, "serve", "--check")
    refused(done, "upstream 'main': a password needs tls")
    assert "sesame" not in done.err


def test_an_upstream_ca_file_that_is_not_there(folder, run):
    config = tables(upstream=2525)
    config["smtp"]["upstreams"][0].update(tls="starttls", ca_file="ca.pem")
    write_config(folder, config)
    refused(run(folder, "serve"), "upstream 'main'", "ca.pem")


def test_a_register_server_that_is_none(folder, run):
    write_config(folder, tables(register={"server": "/bin/true"}))
    refused(run(folder, "serve"), "/bin/true: not a Redis or Valkey server")


def test_a_data_folder_that_cannot_be(folder, run):
    (folder / "data").write_text("a file")
    refused(run(folder, "serve"), "data_dir", "File exists")


@pytest.mark.slow
async def test_key_files_open_to_others_and_a_lost_key_are_refused(build, run):
    """The digests of a register are worth nothing without their key, nor is a new one."""
    gateway = build(upstream=None)
    async with gateway:
        await gateway.allow("a@example.com")
        keys = gateway.settings.register.keys_file
        content_keys = gateway.settings.records.content_key_file
        assert keys.stat().st_mode & 0o777 == 0o600
        assert content_keys.stat().st_mode & 0o777 == 0o600
        assert await gateway.stop() == 0

        for path in (keys, content_keys):
            path.chmod(0o644)
            done = run(gateway.folder, "serve")
            path.chmod(0o600)
            assert done.status == 2
            last = done.err.splitlines()[-1]
            assert path.name in last
            assert "600" in last

        for path in (keys, content_keys):
            away = path.with_suffix(".away")
            path.rename(away)
            done = run(gateway.folder, "serve")
            assert done.status == 2, (path, done)
            refused(done, path.name, "restore it from the backup")
            # Nothing was made in its place that would be taken for the right one.
            assert not path.exists(), path
            away.rename(path)

        await gateway.start()
        async with gateway.client() as client:
            assert (await client.mail("a@example.com")).endswith("1 forwarded")


async def test_a_second_one_on_the_same_data_is_refused(build, run):
    async with build(upstream=None) as gateway:
        before = sorted(gateway.processes())
        refused(run(gateway.folder, "serve"), f"another process serves {gateway.folder}/data")
        assert sorted(gateway.processes()) == before
        # The first is none the worse.
        await gateway.allow("a@example.com")
        async with gateway.client() as client:
            assert (await client.mail("a@example.com")).endswith("1 forwarded")
        status, body = await gateway.get("/readyz")
        assert (status, json.loads(body)["status"]) == (200, "ready")
        async with asyncio.timeout(30):
            while 'result="forwarded",rule="R40"} 1.0' not in (await gateway.get("/metrics"))[1]:
                await asyncio.sleep(0.1)
        assert os.path.exists(gateway.settings.data_dir / "run" / "metrics")
