"""Settings that one process hands to another arrive as they were."""

from pathlib import Path
from typing import Any

import pytest

from gateway.settings.handed import from_json, to_json
from gateway.settings.load import load_settings, settings_from

EVERYTHING: dict[str, Any] = {
    "data_dir": "elsewhere",
    "controller": {
        "name": "LamisNET",
        "business_id": "2701131-6",
        "contact_email": "privacy@lamisnet.example",
        "domains": ["lamisnet.fi"],
    },
    "register": {"url_file": "url", "bucket_bits": 8, "timeout": 0.5},
    "rules": {"folder": "mine", "opt_out_words": ["peru"]},
    "topics": {"uutiset": {"product_group": "broadband"}, "muut": {}},
    "http": {"networks": ["10.0.0.0/8"]},
    "records": {"content_of": ["notice"], "archive": "a.sqlite"},
    "log": {"level": "debug", "format": "console"},
    "smtp": {
        "tls": {"certificate": "c.pem", "key": "k.pem"},
        "listen_tls": ["[::1]:465"],
        "bare_newlines": "normalise",
        "clients": [
            {"name": "a", "networks": ["127.0.0.1"], "kind": "declared", "upstream": "x"},
            {
                "name": "b",
                "username": "b",
                "password_file": "secret",
                "kind": "marketing",
                "on_suppress": "reject",
                "messages_per_minute": 60,
                "upstream": ["x", "y"],
            },
        ],
        "upstreams": [
            {"name": "x", "sandbox": "mail"},
            {"name": "y", "host": "192.0.2.1", "tls": "implicit", "region": "EEA"},
        ],
    },
}


def test_every_kind_of_value_arrives_with_its_type(tmp_path):
    settings = settings_from(EVERYTHING, tmp_path)
    arrived = from_json(to_json(settings))
    assert arrived == settings
    # Equal is not enough: an enum equals its text, and a path must be one.
    assert repr(arrived) == repr(settings)


def test_the_default_configuration_arrives():
    settings = load_settings(Path("config.toml"))
    assert repr(from_json(to_json(settings))) == repr(settings)


@pytest.mark.parametrize("text", ["", "{", "[]", "1", "null", "{}", '{"smtp": 1}', '{"x": 1}'])
def test_what_are_no_settings_is_refused(text):
    with pytest.raises(ValueError):
        from_json(text)


def test_a_setting_of_the_wrong_value_is_refused(tmp_path):
    text = to_json(settings_from(EVERYTHING, tmp_path))
    with pytest.raises(ValueError):
        from_json(text.replace('"declared"', '"undeclared"'))
