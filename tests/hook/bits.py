"""Every bit of what a provider signs, turned one by one."""

from collections.abc import Iterator

from gateway.hook.hook import Hook
from gateway.provider.problem import Refusal
from gateway.provider.request import FORM, JSON, Request, pairs_of, written_form

NOW = 1_700_000_000_000
SECOND = 1000


def form(*pairs: tuple[str, str], **headers: str) -> Request:
    """A webhook with a form."""
    return webhook(FORM, written_form(pairs), **headers)


def document(text: str | bytes, **headers: str) -> Request:
    """A webhook with a JSON body."""
    return webhook(JSON, text.encode() if isinstance(text, str) else text, **headers)


def webhook(content_type: str, body: bytes, **headers: str) -> Request:
    """A webhook; headers with _ for -."""
    pairs = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Request("POST", "/hook", "", (("Content-Type", content_type), *pairs), body)


def without(request: Request, name: str) -> Request:
    """The request without a header."""
    return request.with_headers({name: None})


def flips(octets: bytes) -> Iterator[bytes]:
    """The octets with one bit turned, for each bit."""
    for place in range(len(octets)):
        for bit in range(8):
            turned = octets[place] ^ (1 << bit)
            yield octets[:place] + bytes([turned]) + octets[place + 1 :]


def text_flips(text: str) -> Iterator[str]:
    """The same of a header or a URL, as they are read: octets that are no UTF-8 escaped."""
    for octets in flips(text.encode()):
        yield octets.decode("utf-8", "surrogateescape")


def assert_every_bit_counts(
    hook: Hook,
    request: Request,
    url: str,
    secret: str,
    now: int,
    headers: tuple[str, ...],
    *,
    octets: bool = True,
) -> None:
    """One turned bit in a header, the body, the secret or the URL, and it is not signed.

    ``octets``: the body's octets are signed; else what they say, and a turned bit that
    leaves it as it is (``%2b`` for ``%2B``) may pass.
    """
    assert hook.signed(request, url, secret, now)
    assert not hook.signed(request, url, "", now)
    assert not hook.signed(request, url, "x" + secret[1:], now)
    for name in headers:
        assert not hook.signed(without(request, name), url, secret, now)
        for value in text_flips(request.header(name.lower())):
            turned = request.with_headers({name: value})
            assert not hook.signed(turned, url, secret, now), (name, value)
    for body in flips(request.body):
        turned = request._replace(body=body)
        if hook.signed(turned, url, secret, now):
            assert not octets, body
            assert _says(hook, turned) == _says(hook, request), body
    assert not octets or not hook.signed(
        request._replace(body=request.body + b" "), url, secret, now
    )


def assert_every_bit_of_the_url_counts(
    hook: Hook, request: Request, url: str, secret: str, now: int
) -> None:
    """One turned bit in the URL or in the query, and it is not signed."""
    assert hook.signed(request, url, secret, now)
    for other in text_flips(url):
        assert not hook.signed(request, other, secret, now), other
    for query in text_flips(request.query):
        assert not hook.signed(request._replace(query=query), url, secret, now), query


def _says(hook: Hook, request: Request) -> object:
    kind = request.header("content-type")
    fields = sorted(pairs_of(request.body.decode())) if kind == FORM else None
    try:
        return hook.read(request), fields
    except Refusal:
        return None
