"""The command itself, as a shell starts it."""

import subprocess
import sys
from pathlib import Path

import pytest

from gateway import __version__
from tests.peers.process import command, environment, tables, write_config

SCRIPT = Path(sys.executable).with_name("suppression-gateway")


def test_version_help_and_a_word_it_does_not_know(tmp_path):
    assert command(tmp_path, "--version").out == f"{__version__}\n"
    done = command(tmp_path, "--help")
    assert done.status == 0
    for group in ("serve", "demo", "check", "wash", "rules", "register", "records", "held"):
        assert f"  {group} " in done.out
    done = command(tmp_path, "nonsense")
    assert (done.status, done.out) == (2, "")
    assert done.err.endswith("Error: No such command 'nonsense'.\n")


@pytest.mark.parametrize(
    ("arguments", "env"),
    [
        (["held", "release", "--by", "me", "--reason", "syy \udce4", "01J"], {}),
        (["register", "ban", "--by=P\udce4ivi", "a@example.com"], {}),
        (["register", "ban", "a@example.com"], {"USER": "P\udce4ivi"}),
    ],
)
def test_a_name_or_reason_that_is_no_utf_8_is_lost_after_the_message_was_sent(
    tmp_path, arguments, env
):
    write_config(tmp_path, tables())
    done = command(tmp_path, *arguments, env=env)
    assert (done.status, done.out) == (2, "")
    assert "not UTF-8" in done.err
    assert done.err.count("\n") == 1
    assert not (tmp_path / "data").exists()


def test_a_file_whose_name_is_no_utf_8_can_be_named_all_the_same(tmp_path):
    write_config(tmp_path, tables())
    (tmp_path / "config.toml").rename(tmp_path / "\udce4.toml")
    line = [sys.executable, "-m", "gateway", "serve", "--check", "--config", "\udce4.toml"]
    done = subprocess.run(line, cwd=tmp_path, env=environment(), capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_configuration_is_found_by_option_variable_and_place(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_config(tmp_path / name, tables(rules={"set": f"rules-{name}"}))
    here, there = tmp_path / "one", tmp_path / "two" / "config.toml"
    assert "rules-one" in command(here, "rules", "test").err
    done = command(here, "rules", "test", env={"GATEWAY_CONFIG": str(there)})
    assert "rules-two" in done.err
    # What the environment says of one setting is laid over the file.
    done = command(here, "rules", "test", env={"GATEWAY_RULES__SET": "finland"})
    assert done.status == 0
    assert done.out.startswith("finland ")


@pytest.mark.skipif(not SCRIPT.exists(), reason="the package is not installed beside this Python")
def test_the_installed_script_is_the_same_command(tmp_path):
    done = subprocess.run(
        [SCRIPT, "rules", "test", "opt-out"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"opt-out ")
