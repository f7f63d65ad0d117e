"""Colour and logo: what cannot be read or shown is refused with a word of what to do."""

import base64
import hashlib
import re

import pytest

from gateway.failure import InputError
from gateway.page.look import LARGEST_LOGO, Logo, Look
from gateway.settings.failure import SettingsError
from gateway.settings.load import load_settings
from gateway.settings.public import contrast_with_white
from tests.peers.process import tables, write_config


@pytest.mark.parametrize(
    ("colour", "contrast"),
    [("#000000", 21.0), ("#ffffff", 1.0), ("#767676", 4.54), ("#777777", 4.48), ("#0000ff", 8.59)],
)
def test_contrast_is_that_of_wcag(colour, contrast):
    """Known values: the greys around 4.5 and pure blue."""
    assert contrast_with_white(colour) == pytest.approx(contrast, abs=0.005)


@pytest.mark.parametrize("colour", ["#777777", "#FFCC00", "#ffffff"])
def test_a_colour_too_light_to_be_read_is_refused(tmp_path, colour):
    path = write_config(tmp_path, tables(pages={"colour": colour}))
    with pytest.raises(SettingsError, match=r"pages\.colour: its contrast with white is \d.*4\.5"):
        load_settings(path)


def test_a_dark_colour_is_taken(tmp_path):
    path = write_config(tmp_path, tables(pages={"colour": "#8B0000"}))
    assert load_settings(path).pages.colour == "#8B0000"


def test_the_policy_allows_this_style_alone():
    look = Look.of("#8b0000", None)
    assert "#8b0000" in look.style
    assert "#000001" not in look.style
    digest = base64.b64encode(hashlib.sha256(look.style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in look.policy
    assert "unsafe" not in look.policy


@pytest.mark.parametrize(
    ("octets", "content_type"),
    [
        (b"\x89PNG\r\n\x1a\n...", "image/png"),
        (b"\xff\xd8\xff\xe0...", "image/jpeg"),
        (b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- a --><svg xmlns="x"/>', "image/svg+xml"),
    ],
)
def test_a_logo_is_known_by_what_it_is(tmp_path, octets, content_type):
    path = tmp_path / "logo"
    path.write_bytes(octets)
    assert Logo.load(path) == Logo(octets, content_type)


@pytest.mark.parametrize(
    ("octets", "cause"),
    [
        (None, "No such file"),
        (b"<html><script>", "not a PNG, JPEG or SVG"),
        (b"GIF89a", "not a PNG, JPEG or SVG"),
        (b"", "not a PNG, JPEG or SVG"),
        (b"\x89PNG\r\n\x1a\n" + bytes(LARGEST_LOGO), "larger than 256 KiB"),
    ],
)
def test_what_is_no_logo_is_refused(tmp_path, octets, cause):
    path = tmp_path / "logo"
    if octets is not None:
        path.write_bytes(octets)
    with pytest.raises(InputError, match=re.escape("pages.logo: ") + f".*{cause}"):
        Logo.load(path)
