"""Web tokens: one algorithm, every bit, the times."""

import base64
import hmac

import orjson
import pytest

from gateway.hook import jwt
from tests.hook.bits import NOW, SECOND, text_flips


def b64(text):
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def token(header, claims, digest="sha256", secret=b"secret"):
    text = f"{b64(orjson.dumps(header))}.{b64(orjson.dumps(claims))}"
    return f"{text}.{b64(hmac.digest(secret, text.encode(), digest))}"


# vonage-python-sdk, jwt/tests/test_verify_jwt.py
VONAGE = (
    "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJPbmxpbmUgSldUIEJ1aWxkZXIiLCJpYXQiOjE2OTc2MzQ2O"
    "DAsImV4cCI6MzMyNTQ1NDA4MjgsImF1ZCI6IiIsInN1YiI6IiJ9.88vJc3I2HhuqEDixHXVhc9R30tA6U_HQHZTC29y6CGM"
)


def test_a_token_of_vonages_sdk_is_good():
    claims = jwt.claims_of(VONAGE, "qwertyuiopasdfghjklzxcvbnm123456")
    assert claims is not None
    assert claims["iss"] == "Online JWT Builder"
    assert jwt.claims_of(VONAGE, "asdf") is None
    assert jwt.claims_of(VONAGE, "") is None


def test_every_bit_of_a_token_counts():
    for other in text_flips(VONAGE):
        try:
            assert jwt.claims_of(other, "qwertyuiopasdfghjklzxcvbnm123456") is None
        except UnicodeError:
            continue


@pytest.mark.parametrize(
    "other",
    [
        "",
        "..",
        "a.b",
        "a.b.c.d",
        "x" * 20_000,
        token({"alg": "none"}, {}),
        token({"alg": "none"}, {}).rpartition(".")[0] + ".",
        token({"alg": "HS512"}, {}),
        token({"alg": "HS512"}, {}, "sha512"),
        token({"alg": "hs256"}, {}),
        token({"alg": ["HS256"]}, {}),
        token({}, {}),
        token([], {}),
        token({"alg": "HS256", "crit": ["exp"]}, {}),
        token({"alg": "HS256"}, []),
        token({"alg": "HS256"}, {}, secret=b""),
        token({"alg": "HS256"}, {}) + "=",
    ],
)
def test_nothing_but_hs256_is_good(other):
    assert jwt.claims_of(other, "secret") is None


def test_what_is_written_is_read():
    claims = {"iss": "x", "n": 1}
    assert jwt.claims_of(jwt.written(claims, "secret"), "secret") == claims


def test_the_times_have_a_tolerance_of_five_minutes():
    now = NOW // SECOND
    assert jwt.timely({}, NOW)
    for name, early, late in (("iat", True, True), ("nbf", True, False), ("exp", False, True)):
        assert jwt.timely({name: now}, NOW)
        assert jwt.timely({name: now}, NOW + 300 * SECOND)
        assert jwt.timely({name: now}, NOW - 300 * SECOND)
        assert jwt.timely({name: now}, NOW - 301 * SECOND) is not early
        assert jwt.timely({name: now}, NOW + 301 * SECOND) is not late
        for wrong in ("1700000000", True, [], {}):
            assert not jwt.timely({name: wrong}, NOW)
