"""AWS signatures: AWS's own vectors and signer agree, and nothing changed is taken."""

import hashlib
from datetime import UTC, datetime

import pytest
from botocore import awsrequest
from botocore.auth import SigV4Auth
from botocore.credentials import ReadOnlyCredentials
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.provider.credential import Credential
from gateway.provider.problem import Problem, Refusal
from gateway.provider.request import FORM, Request
from gateway.provider.sigv4 import SigV4

# https://docs.aws.amazon.com/general/latest/gr/signature-v4-test-suite.html
SUITE = Credential("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
STAMP = "20150830T123600Z"
NOW = int(datetime(2015, 8, 30, 12, 36, tzinfo=UTC).timestamp() * 1000)

PROVIDER = Credential("AKIDPROVIDER", "the provider's secret")


def at(moment: int, service: str = "service") -> SigV4:
    return SigV4(service, lambda: moment)


def vector(method, signed, signature, *, query="", headers=(), body=b"") -> Request:
    value = (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        f"SignedHeaders={signed}, Signature={signature}"
    )
    usual = (("Host", "example.amazonaws.com"), ("X-Amz-Date", STAMP))
    return Request(method, "/", query, (*usual, *headers, ("Authorization", value)), body)


VECTORS = {
    "get-vanilla": vector(
        "GET",
        "host;x-amz-date",
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    ),
    "post-vanilla": vector(
        "POST",
        "host;x-amz-date",
        "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
    ),
    "get-vanilla-query-order-key-case": vector(
        "GET",
        "host;x-amz-date",
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        query="Param2=value2&Param1=value1",
    ),
    "get-header-key-duplicate": vector(
        "GET",
        "host;my-header1;x-amz-date",
        "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
        headers=(("My-Header1", "value2,value2,value1"),),
    ),
    "post-x-www-form-urlencoded": vector(
        "POST",
        "content-type;host;x-amz-date",
        "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        headers=(("Content-Type", FORM),),
        body=b"Param1=value1",
    ),
}
POST = VECTORS["post-x-www-form-urlencoded"]


@pytest.mark.parametrize("name", VECTORS)
def test_the_published_vectors(name):
    assert at(NOW).shows(VECTORS[name], SUITE)
    assert at(NOW).shows(VECTORS[name], Credential("", SUITE.secret))
    assert not at(NOW).shows(VECTORS[name], SUITE._replace(secret="another"))
    assert not at(NOW).shows(VECTORS[name], SUITE._replace(secret=""))
    assert not at(NOW).shows(VECTORS[name], SUITE._replace(name="AKIDOTHER"))
    assert at(NOW).name_in(VECTORS[name]) == "AKIDEXAMPLE"


def test_the_vector_is_written_as_aws_writes_it():
    """The same secret, host and time make the very signature that was published."""
    assert at(NOW).write(POST, SUITE).header("authorization") == POST.header("authorization")


def signed_by_aws(request: Request, credential: Credential, host: str, region: str) -> Request:
    """The request as botocore's own clients sign it, now."""
    one = awsrequest.AWSRequest(
        request.method, f"https://{host}/", {"Content-Type": FORM}, request.body
    )
    keys = ReadOnlyCredentials(credential.name, credential.secret, None)
    SigV4Auth(keys, "sns", region).add_auth(one)
    return request._replace(headers=(("Host", host), *one.headers.items()))


@given(
    st.binary(max_size=200),
    st.text("abcdefghij-.0123456789", min_size=1, max_size=30),
    st.sampled_from(["eu-north-1", "us-gov-west-1", "ap-southeast-2"]),
    st.text("!#$%&'()*+-./09:;<=>?@AZ[]^_`az{|}~", min_size=1, max_size=40),
)
@settings(deadline=None, max_examples=100)
def test_what_botocore_signs_is_known_and_what_is_written_is_what_botocore_would_sign(
    body, host, region, secret
):
    tool = Credential("AKIDTOOL", secret)
    request = signed_by_aws(Request("POST", "/", body=body), tool, host, region)
    assert SigV4("sns").shows(request, tool)
    moved = request.with_headers({"Host": "sns.example.net"})
    assert not SigV4("sns").shows(moved, tool)
    written = SigV4("sns").write(moved, PROVIDER)
    assert SigV4("sns").shows(written, PROVIDER)
    assert not SigV4("sns").shows(written, tool)
    for _ in range(2):  # the second may begin in the same second as what was written
        theirs = signed_by_aws(moved, PROVIDER, "sns.example.net", region)
        if theirs.header("x-amz-date") == written.header("x-amz-date"):
            assert written.header("authorization") == theirs.header("authorization")
            break
        written = SigV4("sns").write(moved, PROVIDER)


def flipped(text: bytes):
    for place in range(len(text) * 8):
        changed = bytearray(text)
        changed[place // 8] ^= 1 << place % 8
        yield bytes(changed)


def test_every_bit_of_the_body_counts():
    for body in flipped(POST.body):
        assert not at(NOW).shows(POST._replace(body=body), SUITE)
    assert not at(NOW).shows(POST._replace(body=POST.body + b"&"), SUITE)
    assert not at(NOW).shows(POST._replace(body=b""), SUITE)


@pytest.mark.parametrize("name", ["Host", "X-Amz-Date", "Content-Type", "Authorization"])
def test_every_bit_of_the_signed_headers_and_the_signature_counts(name):
    value = POST.header(name.lower())
    for changed in flipped(value.encode()):
        request = POST.with_headers({name: changed.decode("latin-1")})
        assert not at(NOW).shows(request, SUITE), changed


def test_method_path_and_query_count():
    assert not at(NOW).shows(POST._replace(method="PUT"), SUITE)
    for path in ("/x", "//", "/.", "/./", "/x/..", "/#x", "/?x", "", "x", "/ä", "/ "):
        assert not at(NOW).shows(POST._replace(path=path), SUITE), path
    for query in ("a", "a=b", "#", "#a"):
        assert not at(NOW).shows(POST._replace(query=query), SUITE), query


def test_the_time_is_within_fifteen_minutes():
    quarter = 15 * 60 * 1000
    assert at(NOW - quarter).shows(POST, SUITE)
    assert at(NOW + quarter).shows(POST, SUITE)
    assert not at(NOW - quarter - 1).shows(POST, SUITE)
    assert not at(NOW + quarter + 1).shows(POST, SUITE)


@pytest.mark.parametrize("stamp", ["", "20150830T256100Z", "20150830123600", "２0150830T123600Z"])
def test_a_time_that_is_none(stamp):
    assert not at(NOW).shows(POST.with_headers({"X-Amz-Date": stamp}), SUITE)


def test_the_service_is_the_one_that_is_asked_for():
    assert not at(NOW, "sns").shows(POST, SUITE)


def test_host_and_time_must_be_signed_and_headers_of_aws_too():
    for signed in ("x-amz-date", "host", "content-type", "date;host", "x-amz-date;host"):
        value = POST.header("authorization").replace("content-type;host;x-amz-date", signed)
        assert not at(NOW).shows(POST.with_headers({"Authorization": value}), SUITE)
    for name in ("X-Amz-Target", "x-amz-security-token", "X-AMZ-Whatever"):
        assert not at(NOW).shows(POST.with_headers({name: "x"}), SUITE)


def test_a_header_that_stands_twice_is_not_taken():
    for name in ("Host", "X-Amz-Date", "Content-Type", "Authorization"):
        again = (name.upper(), POST.header(name.lower()))
        assert not at(NOW).shows(POST._replace(headers=(*POST.headers, again)), SUITE)
        assert not at(NOW).shows(POST._replace(headers=(again, *POST.headers)), SUITE)


def stating(digest: str, body: bytes) -> Request:
    """A request whose signature covers a stated hash of its body."""
    one = awsrequest.AWSRequest(
        "POST", "https://gateway/", {"X-Amz-Content-SHA256": digest}, data=body
    )
    SigV4Auth(ReadOnlyCredentials("K", "S", None), "sns", "eu-north-1").add_auth(one)
    return Request("POST", "/", "", (("Host", "gateway"), *one.headers.items()), body)


def test_a_stated_hash_of_the_body_is_held_against_the_body():
    tool = Credential("K", "S")
    assert SigV4("sns").shows(stating(hashlib.sha256(b"a").hexdigest(), b"a"), tool)
    assert not SigV4("sns").shows(stating(hashlib.sha256(b"b").hexdigest(), b"a"), tool)
    assert not SigV4("sns").shows(stating("UNSIGNED-PAYLOAD", b"a"), tool)
    assert not SigV4("sns").shows(stating("", b"a"), tool)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Bearer x",
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 Credential=, SignedHeaders=, Signature=",
        "AWS3-HTTPS AWSAccessKeyId=x",
    ],
)
def test_another_scheme_is_not_taken_and_cannot_be_signed_again(value):
    request = POST.with_headers({"Authorization": value or None})
    assert not at(NOW).shows(request, SUITE)
    assert not at(NOW).name_in(request)
    with pytest.raises(Refusal) as caught:
        at(NOW).write(request, SUITE)
    assert caught.value.problem is Problem.UNKNOWN_CALLER


def test_what_is_written_holds_nothing_of_the_tools_signature():
    extra = {
        "X-Amz-Security-Token": "token",
        "X-Amz-Target": "AmazonSNS.Publish",
        "X-Amz-Content-SHA256": "0",
        "Date": "then",
        "User-Agent": "Boto3",
    }
    written = at(NOW).write(POST.with_headers(extra), PROVIDER)
    assert sorted(name for name, _ in written.headers) == [
        "Authorization",
        "Content-Type",
        "Host",
        "User-Agent",
        "X-Amz-Date",
    ]
    assert "AKIDEXAMPLE" not in repr(written)
    assert written.body == POST.body


def test_a_message_that_waited_is_signed_for_the_region_of_its_host():
    host = ("Host", "sns.eu-north-1.amazonaws.com")
    request = Request("POST", "/", "", (host, ("Content-Type", FORM)), b"Action=Publish")
    written = at(NOW, "sns").write(request, PROVIDER)
    assert "/eu-north-1/sns/aws4_request" in written.header("authorization")
    assert at(NOW, "sns").shows(written, PROVIDER)
    for other in ("sqs.eu-north-1.amazonaws.com", "sns.eu-north-1.example.com", "sns"):
        with pytest.raises(Refusal):
            at(NOW, "sns").write(request.with_headers({"Host": other}), PROVIDER)


def test_a_request_of_our_own_is_signed_for_the_region_that_is_set():
    # SES's host is not named after its service.
    scheme = SigV4("ses", lambda: NOW, "eu-north-1")
    request = Request("GET", "/v2", "A=b%3Ac", (("Host", "email.eu-north-1.amazonaws.com"),))
    written = scheme.write(request, PROVIDER)
    assert "/20150830/eu-north-1/ses/aws4_request" in written.header("authorization")
    assert scheme.shows(written, PROVIDER)
    assert not scheme.shows(written._replace(query="A=b%3Ad"), PROVIDER)
    with pytest.raises(Refusal):
        SigV4("ses", lambda: NOW).write(request, PROVIDER)
