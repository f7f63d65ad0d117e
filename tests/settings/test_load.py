"""Bad configuration: each kind of error names the setting and the mend."""

import os
from pathlib import Path

import pytest

from gateway.failure import InputError
from gateway.serve.place import archive_place
from gateway.settings.failure import SettingsError
from gateway.settings.load import load_settings

MINIMAL = """
data_dir = "data"
[controller]
name = "LamisNET"
business_id = "2701131-6"
contact_email = "privacy@lamisnet.example"
domains = ["lamisnet.fi"]
[register]
url = "embedded"
[rules]
set = "finland"
[smtp]
listen = ["127.0.0.1:2525"]
[[smtp.clients]]
name = "newsletter"
username = "newsletter"
password_file = "secrets/newsletter"
kind = "marketing"
topic = "newsletter"
on_suppress = "discard"
upstream = "smarthost"
[[smtp.upstreams]]
name = "smarthost"
host = "127.0.0.1"
port = 2526
tls = "none"
region = "EEA"
[http]
listen = ["127.0.0.1:8080"]
"""


@pytest.fixture
def config(tmp_path: Path):
    def write(text: str = MINIMAL) -> Path:
        path = tmp_path / "config.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_the_minimal_configuration_works_and_paths_are_absolute(config, tmp_path):
    settings = load_settings(config())
    assert settings.data_dir == tmp_path / "data"
    assert settings.smtp.clients[0].password_file == tmp_path / "secrets/newsletter"
    assert settings.records.archive == tmp_path / "data/archive.sqlite"
    assert settings.register.url == "embedded"


def test_the_default_configuration_is_good():
    settings = load_settings(Path("config.toml"))
    assert all(address.startswith("127.0.0.1:") for address in settings.smtp.listen)
    assert settings.smtp.upstreams[0].sandbox is not None


@pytest.mark.parametrize("how", ['url = "postgresql://gw@db.example/archive"', 'url_file = "u"'])
def test_an_archive_on_a_server_leaves_no_file_s_path_behind(config, tmp_path, how):
    (tmp_path / "u").write_text("postgresql://gw:sesame@db.example/archive\n")
    settings = load_settings(config(MINIMAL + f"[records]\n{how}\n"))
    assert settings.records.archive is None
    place = archive_place(settings)
    assert isinstance(place, str)
    assert place.startswith("postgresql://gw")
    assert place.endswith("@db.example/archive")


def test_a_url_file_of_another_kind_of_server_is_refused(config, tmp_path):
    (tmp_path / "u").write_text("mysql://gw:sesame@db.example/archive\n")
    settings = load_settings(config(MINIMAL + '[records]\nurl_file = "u"\n'))
    with pytest.raises(InputError, match=r"records\.url_file") as refused:
        archive_place(settings)
    assert "sesame" not in str(refused.value)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("kind = ", "knid = ", ["smtp.clients[0].knid", "no such setting"]),
        ('kind = "marketing"', 'kind = "bulk"', ["smtp.clients[0].kind", "'marketing'"]),
        ('kind = "marketing"', "", ["smtp.clients[0].kind", "missing"]),
        ("2701131-6", "2701131-7", ["controller.business_id", "Y-tunnus"]),
        ('["lamisnet.fi"]', "[]", ["controller.domains"]),
        ('["lamisnet.fi"]', '["lamis net"]', ["controller.domains[0]"]),
        ("127.0.0.1:2525", "2525", ["smtp.listen[0]", "host:port"]),
        ('upstream = "smarthost"', 'upstream = "other"', ["'other'", "smarthost"]),
        ('password_file = "secrets/newsletter"', "", ["exactly one of password_file"]),
        ('username = "newsletter"\n', "", ["username"]),
        ('region = "EEA"', 'region = "US"', ["transfer_basis"]),
        ("[http]", '[held]\nupstream = "none"\n[http]', ["held.upstream", "smarthost"]),
        ("[http]", '[held]\nsender = "Gateway <g@x.fi>"\n[http]', ["held", "plain address"]),
        ("[http]", "[held]\nexpire_after = 0\n[http]", ["held.expire_after"]),
        ("[http]", '[records]\nurl = "mysql://x/y"\n[http]', ["records", "postgresql://"]),
        (
            "[http]",
            '[records]\narchive = "a"\nurl = "postgresql://x/y"\n[http]',
            ["records", "give one of them"],
        ),
        ('region = "EEA"', "", ["region is missing"]),
        ('host = "127.0.0.1"', "", ["host or a sandbox"]),
        ('url = "embedded"', 'url = "embedded"\ntimeout = 0', ["register.timeout"]),
        ("[register]", "[regitser]", ["regitser", "no such setting"]),
        ('name = "smarthost"', 'name = "smart host"', ["smtp.upstreams[0].name"]),
        ('listen = ["127.0.0.1:2525"]', 'listen_tls = ["127.0.0.1:465"]', ["smtp.tls"]),
    ],
)
def test_each_mistake_names_its_setting_and_the_mend(config, old, new, told):
    assert old in MINIMAL
    with pytest.raises(SettingsError) as caught:
        load_settings(config(MINIMAL.replace(old, new, 1)))
    for words in told:
        assert words in str(caught.value)
    assert "\n\n" not in str(caught.value)


def test_all_mistakes_are_told_at_once_one_a_line(config):
    text = MINIMAL.replace("2701131-6", "1").replace('kind = "marketing"', 'kind = "x"')
    with pytest.raises(SettingsError) as caught:
        load_settings(config(text))
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('name = "LamisNET"', r'name = "a\u0000b"', "controller.name"),
        ('topic = "newsletter"', r'topic = "\u0000"', "smtp.clients[0].topic"),
        (
            "[http]",
            r"""[topics."a\u0000"]
[http]""",
            "topics",
        ),
    ],
)
def test_a_text_that_no_record_can_hold_leaves_every_message_without_one(config, old, new, told):
    with pytest.raises(SettingsError, match="NUL") as caught:
        load_settings(config(MINIMAL.replace(old, new, 1)))
    assert f"{told}: " in str(caught.value)


def test_half_a_surrogate_pair_in_json_makes_every_message_a_fault_of_ours(config, monkeypatch):
    monkeypatch.setenv("GATEWAY_CONTROLLER", r'{"name": "\ud800"}')
    with pytest.raises(SettingsError, match=r"controller\.name: .*surrogate"):
        load_settings(config())


def test_bad_toml_names_the_place(config):
    with pytest.raises(SettingsError, match="line 2"):
        load_settings(config("a = 1\nb = = 2\n"))


def test_a_missing_file_says_how_to_name_one(tmp_path):
    with pytest.raises(SettingsError, match="--config"):
        load_settings(tmp_path / "nothing.toml")


def test_the_environment_overrides_the_file(config, monkeypatch):
    monkeypatch.setenv("GATEWAY_REGISTER__URL", "redis://register.example:6379")
    monkeypatch.setenv("GATEWAY_SMTP__LISTEN", '["127.0.0.1:9925"]')
    monkeypatch.setenv("GATEWAY_WORKERS", "3")
    settings = load_settings(config())
    assert settings.register.url == "redis://register.example:6379"
    assert settings.register.timeout == 1.0
    assert settings.smtp.listen == ["127.0.0.1:9925"]
    assert settings.smtp.clients[0].name == "newsletter"
    assert settings.workers == 3


def test_a_misspelt_variable_is_refused(config, monkeypatch):
    monkeypatch.setenv("GATEWAY_REGISTRE__URL", "redis://x")
    with pytest.raises(SettingsError, match="GATEWAY_REGISTRE__URL"):
        load_settings(config())


@pytest.mark.parametrize("variable", ["GATEWAY_WORKERS__COUNT", "GATEWAY_DATA_DIR__X"])
def test_a_variable_below_a_setting_that_is_no_table_is_passed_over(config, monkeypatch, variable):
    monkeypatch.setenv(variable, "3")
    with pytest.raises(SettingsError, match=f"{variable} is no setting"):
        load_settings(config())


def test_a_variable_that_is_no_utf_8_makes_every_message_a_fault_of_ours(config, monkeypatch):
    monkeypatch.setenv("GATEWAY_CONTROLLER__NAME", os.fsdecode(b"\xc4"))
    with pytest.raises(SettingsError, match="GATEWAY_CONTROLLER__NAME is not UTF-8"):
        load_settings(config())


@pytest.mark.parametrize(
    "variable",
    ["GATEWAY_SMTP__LISTEN", "GATEWAY_TOPICS", "GATEWAY_RECORDS__CONTENT_OF", "GATEWAY_REGISTER"],
)
def test_a_variable_that_is_no_json_is_not_named(config, monkeypatch, variable):
    monkeypatch.setenv("GATEWAY_SMTP__LISTEN_TLS", "[]")
    monkeypatch.setenv(variable, "[x")
    with pytest.raises(SettingsError, match=f"environment: {variable} is not valid JSON"):
        load_settings(config())


def test_a_list_in_the_environment_must_be_json(config, monkeypatch):
    monkeypatch.setenv("GATEWAY_SMTP__LISTEN", "127.0.0.1:25")
    with pytest.raises(SettingsError, match="JSON"):
        load_settings(config())


def test_a_table_in_the_environment_is_json_and_its_members_go_before_it(config, monkeypatch):
    monkeypatch.setenv("GATEWAY_REGISTER__TIMEOUT", "2")
    monkeypatch.setenv("GATEWAY_REGISTER", '{"timeout": 3, "settle": 0.5}')
    monkeypatch.setenv("GATEWAY_TOPICS__NEWS", '{"product_group": "broadband"}')
    monkeypatch.setenv("GATEWAY_TOPICS__OFFERS__PRODUCT_GROUP", "mobile")
    monkeypatch.setenv("GATEWAY_SMTP__TLS", '{"certificate": "c.pem", "key": "k.pem"}')
    monkeypatch.setenv("GATEWAY_SMTP__TLS__KEY", "other.pem")
    settings = load_settings(config())
    assert (settings.register.timeout, settings.register.settle) == (2.0, 0.5)
    assert settings.register.url == "embedded"
    groups = {name: topic.product_group for name, topic in settings.topics.items()}
    assert groups == {"news": "broadband", "offers": "mobile"}
    assert settings.smtp.tls is not None
    assert (settings.smtp.tls.certificate.name, settings.smtp.tls.key.name) == (
        "c.pem",
        "other.pem",
    )


def test_a_single_value_in_the_environment_is_taken_as_it_is_written(config, monkeypatch):
    monkeypatch.setenv("GATEWAY_CONTROLLER__NAME", '["a name"]')
    monkeypatch.setenv("GATEWAY_RECORDS__CONTENT_OF_SUPPRESSED", "true")
    monkeypatch.setenv("GATEWAY_REGISTER__BUCKET_BITS", "8")
    settings = load_settings(config())
    assert settings.controller.name == '["a name"]'
    assert settings.records.content_of_suppressed is True
    assert settings.register.bucket_bits == 8


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("GATEWAY_REGISTER__TIMOUT", "1", ["register.timout", "no such setting"]),
        ("GATEWAY_REGISTER__URL__HOST", "x", ["register.url"]),
        ("GATEWAY_WORKERS", "many", ["workers", "integer"]),
        ("GATEWAY_WORKERS", "65", ["workers", "64"]),
        ("GATEWAY_REGISTER__BUCKET_BITS", "5", ["register.bucket_bits", "6"]),
        ("GATEWAY_REGISTER", "embedded", ["GATEWAY_REGISTER", "JSON"]),
        ("GATEWAY_REGISTER", "[]", ["register"]),
        ("GATEWAY_LOG__LEVEL", "loud", ["log.level", "'debug'"]),
    ],
)
def test_a_mistake_in_the_environment_names_its_setting(config, monkeypatch, variable, value, told):
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        load_settings(config())
    for words in told:
        assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_an_address_under_two_settings_is_refused_with_both_named(config):
    public = '\n[public]\nlisten = ["{}"]\nurl = "https://p.example"\n'
    with pytest.raises(SettingsError, match=r"public.listen: .* by http.listen already"):
        load_settings(config(MINIMAL + public.format("127.0.0.1:8080")))
    load_settings(config(MINIMAL + public.format("127.0.0.1:8090")))
    # Any free port is another one each time; without a route nobody listens for texts.
    anyone = MINIMAL.replace("127.0.0.1:8080", "127.0.0.1:0")
    load_settings(config(anyone + public.format("127.0.0.1:0")))
    load_settings(config(MINIMAL + public.format("127.0.0.1:8081")))
