"""All hooks: found by name, and their sends read back by the providers' adapters."""

import orjson
import pytest

from gateway.failure import InputError
from gateway.hook.registry import HOOKS, find_hook
from gateway.provider.problem import Refusal
from gateway.provider.registry import PROVIDERS, find_adapter
from gateway.provider.request import FORM, Request, pairs_of
from tests.hook.bits import NOW

TO = "+358401234567"
TEXT = "Olet poistettu. & = ✓"
ACCOUNTS = {
    "twilio": "AC0123456789abcdef0123456789abcdef",
    "link": "P/17",
    "plivo": "MAZGRKYJM1MJI2ZDG1YT",
}
ACCOUNT = "plan"

# The form of each, from the vendors' pages: path, where the number, sender and text stand.
PATHS = {
    "46elks": "/a1/sms",
    "gatewayapi": "/rest/mtsms",
    "infobip": "/sms/3/messages",
    "link": "/sms/send",
    "messagebird": "/messages",
    "plivo": "/v1/Account/MAZGRKYJM1MJI2ZDG1YT/Message/",
    "sinch": "/xms/v1/plan/batches",
    "sns": "/",
    "telnyx": "/v2/messages",
    "twilio": "/2010-04-01/Accounts/AC0123456789abcdef0123456789abcdef/Messages.json",
    "vonage": "/sms/json",
    "vonage_messages": "/v1/messages",
}


SIGNED_HEADERS = (
    "Authorization",
    "MessageBird-Signature-JWT",
    "Telnyx-Signature-Ed25519",
    "Telnyx-Timestamp",
    "X-Gwapi-Signature",
    "X-Plivo-Signature-V3",
    "X-Plivo-Signature-V3-Nonce",
    "X-Sinch-Webhook-Signature",
    "X-Sinch-Webhook-Signature-Nonce",
    "X-Sinch-Webhook-Signature-Timestamp",
    "X-Twilio-Signature",
)


def composed(name, sender="+358457396016"):
    return find_hook(name).compose(sender, TO, TEXT, ACCOUNTS.get(name, ACCOUNT))


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_is_found_by_its_name(name):
    hook = find_hook(name)
    assert hook.name == name
    assert hook.title
    assert find_hook(name) is not hook


def test_another_name_is_an_error():
    with pytest.raises(InputError, match="no provider 'x' with a webhook; known are 46elks, "):
        find_hook("x")


@pytest.mark.parametrize("name", HOOKS)
def test_a_send_holds_one_number_one_text_and_no_credential(name):
    request = composed(name)
    assert (request.method, request.path, request.query) == ("POST", PATHS[name], "")
    assert [name for name, _ in request.headers] == ["Content-Type"]
    if request.header("content-type") == FORM:
        values = [value for _, value in pairs_of(request.body.decode())]
    else:
        values = list(leaves(orjson.loads(request.body)))
    assert values.count(TEXT) == 1
    assert sum(value in (TO, TO[1:]) for value in values) == 1
    assert sum(value in ("+358457396016", "358457396016") for value in values) == 1


def leaves(value):
    if isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from leaves(one)
    else:
        yield value


@pytest.mark.parametrize("name", sorted(HOOKS.keys() & PROVIDERS.keys()))
@pytest.mark.parametrize("sender", ["+358457396016", "16400", "Lamisnet"])
def test_a_send_is_read_back_by_the_providers_adapter(name, sender):
    adapter = find_adapter(name)
    submission = adapter.read(composed(name, sender))
    assert submission is not None
    (message,) = submission.messages
    assert [one.lstrip("+") for one in message.destinations] == [TO[1:]]
    assert message.text == TEXT
    assert message.sender.lstrip("+") in (sender.lstrip("+"), "")
    assert not submission.scheduled


@pytest.mark.parametrize("name", HOOKS)
def test_what_is_not_the_providers_is_refused_and_not_signed(name):
    hook = find_hook(name)
    for kind in ("application/json", FORM, "text/plain", ""):
        for body in (b"", b"{}", b"[]", b"null", b"a=b", b"\xff", b'"', b"[" * 5000, b"{}{}"):
            request = Request("POST", "/hook", "", (("Content-Type", kind),), body)
            with pytest.raises(Refusal):
                hook.read(request)
            assert not hook.signed(request, "https://hooks.example", "secret", NOW)
            # Header octets that are no UTF-8 come in as lone surrogates.
            odd = dict.fromkeys(SIGNED_HEADERS, "\udcff")
            assert not hook.signed(
                request.with_headers(odd), "https://hooks.example", "secret", NOW
            )


@pytest.mark.parametrize("name", HOOKS)
def test_an_answer_is_good_and_says_nothing_unless_it_replies(name):
    hook = find_hook(name)
    for reply in (None, "", "kiitos"):
        answer = hook.answer(reply)
        assert answer.status in (200, 204)
        assert (b"kiitos" in answer.body) is (hook.replies and reply == "kiitos")


@pytest.mark.parametrize("name", ["twilio", "plivo"])
def test_what_is_signed_with_an_empty_secret_is_not_signed(name):
    hook = find_hook(name)
    headers = (("Content-Type", FORM), ("X-Plivo-Signature-V3", "x"))
    request = Request("POST", "/hook", "", headers, b"a=b")
    nonce = request.with_headers({"X-Plivo-Signature-V3-Nonce": "1"})
    url = "https://hooks.example"
    assert hook.signed(hook.resigned(nonce, url, "s"), url, "s", NOW)
    assert not hook.signed(hook.resigned(nonce, url, ""), url, "", NOW)
