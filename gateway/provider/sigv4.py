"""AWS Signature Version 4: a request signed with a secret that it does not show.

The signature covers the Host header, so a request that goes on to the provider is signed
again.  Both ways are computed by botocore, AWS's own signer.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple, cast

from gateway.clock import Clock, now_ms
from gateway.provider.credential import Credential
from gateway.provider.problem import Problem, Refusal
from gateway.provider.request import Request

_WINDOW_MS = 15 * 60 * 1000
"""How far a request's time may lie from ours, as at AWS."""

_STAMP = "%Y%m%dT%H%M%SZ"
_stamp = re.compile("[0-9]{8}T[0-9]{6}Z").fullmatch
_printable = re.compile("[ -~]*").fullmatch
_path = re.compile(r'(?!.*(?://|/\.))/[!"$->@-~]*').fullmatch
_query = re.compile('[!"$-~]*').fullmatch

_authorization = re.compile(
    r"AWS4-HMAC-SHA256 "
    r"Credential=(?P<name>[^/,\s]+)/(?P<date>[0-9]{8})/(?P<region>[a-z0-9-]{1,32})"
    r"/(?P<service>[a-z0-9-]{1,32})/aws4_request, ?"
    r"SignedHeaders=(?P<headers>[a-z0-9;_-]+), ?"
    r"Signature=(?P<signature>[0-9a-f]{64})"
).fullmatch


class Scope(NamedTuple):
    """When and for what a request is signed."""

    stamp: str
    region: str
    service: str


@dataclass(frozen=True)
class SigV4:
    """``Authorization: AWS4-HMAC-SHA256 …``, for one service such as ``sns``.

    Signatures in the query (presigned URLs) and over a body left out
    (``UNSIGNED-PAYLOAD``) are not known here.
    """

    service: str
    clock: Clock = now_ms
    region: str = ""
    """Where requests go that no tool has signed; "": what their host says."""

    def shows(self, request: Request, expected: Credential) -> bool:
        """Whether the request, its body and its Host as received, is signed with the secret."""
        shown = _authorization(request.header("authorization"))
        stamp = request.header("x-amz-date")
        if not shown or not expected.secret or shown["service"] != self.service:
            return False
        if not self._is_now(stamp) or stamp[:8] != shown["date"]:
            return False
        signed = shown["headers"].split(";")
        if not _in_order(request, signed):
            return False
        scope = Scope(stamp, shown["region"], shown["service"])
        right = hmac.compare_digest(
            _signature(request, signed, expected, scope), shown["signature"]
        )
        return right and expected.name in ("", shown["name"])

    def name_in(self, request: Request) -> str:
        """The access key id that the request names."""
        shown = _authorization(request.header("authorization"))
        return shown["name"] if shown else ""

    def write(self, request: Request, credential: Credential) -> Request:
        """The request, to the Host that its headers name, signed with another secret.

        The region is the one that the tool signed for, the scheme's own, or the host's.
        Headers of AWS's that the new signature does not cover are taken out; a session
        token belongs to the tool's key.
        """
        shown = _authorization(request.header("authorization"))
        region = (
            shown["region"] if shown else self.region or self._region_of(request.header("host"))
        )
        if not region:
            raise Refusal(Problem.UNKNOWN_CALLER, "the request has no AWS signature (version 4)")
        moment = datetime.fromtimestamp(self.clock() / 1000, UTC)
        scope = Scope(moment.strftime(_STAMP), region, self.service)
        kept = tuple(
            pair
            for pair in request.headers
            if pair[0].lower() not in ("authorization", "date")
            and not pair[0].lower().startswith("x-amz")
        )
        request = request._replace(headers=(*kept, ("X-Amz-Date", scope.stamp)))
        signed = sorted(
            name for name in ("content-type", "host", "x-amz-date") if request.header(name)
        )
        place = f"{scope.stamp[:8]}/{scope.region}/{scope.service}/aws4_request"
        value = (
            f"AWS4-HMAC-SHA256 Credential={credential.name}/{place}, "
            f"SignedHeaders={';'.join(signed)}, "
            f"Signature={_signature(request, signed, credential, scope)}"
        )
        return request.with_headers({"Authorization": value})

    def _region_of(self, host: str) -> str:
        """The region in a host of AWS's, for a request that no tool has signed."""
        service, _, rest = host.partition(".")
        region, _, domain = rest.partition(".")
        known = domain in ("amazonaws.com", "amazonaws.com.cn")
        return region if service == self.service and known else ""

    def _is_now(self, stamp: str) -> bool:
        if not _stamp(stamp):
            return False
        try:
            moment = datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC)
        except ValueError:
            return False
        return abs(moment.timestamp() * 1000 - self.clock()) <= _WINDOW_MS


def _in_order(request: Request, signed: list[str]) -> bool:
    """Whether the signature covers what it must, and nothing can be read in two ways."""
    if sorted(set(signed)) != signed or not {"host", "x-amz-date"} <= set(signed):
        return False
    present = [name.lower() for name, _ in request.headers]
    # All of AWS's own headers are to be signed; a header that stands twice could be
    # taken as either.
    amz = {name for name in present if name.startswith("x-amz-")}
    if not amz <= set(signed) or present.count("authorization") != 1:
        return False
    if not all(present.count(name) == 1 and _printable(request.header(name)) for name in signed):
        return False
    # The signer takes a hash that the request states for the body's own.
    stated = request.header("x-amz-content-sha256")
    if "x-amz-content-sha256" in present and stated != hashlib.sha256(request.body).hexdigest():
        return False
    # It also puts a path with ``//`` or ``/.`` in order, and drops a fragment.
    return bool(_path(request.path) and _query(request.query))


def _signature(
    request: Request, signed: Iterable[str], credential: Credential, scope: Scope
) -> str:
    # Late: only SNS needs it, and it takes a tenth of a second.
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import ReadOnlyCredentials

    keys = ReadOnlyCredentials(credential.name, credential.secret, None)
    signer = SigV4Auth(keys, scope.service, scope.region)
    # The Host is that of the headers; the signer wants a URL to read path and query from.
    one = AWSRequest(
        request.method,
        "https://host" + request.path + (f"?{request.query}" if request.query else ""),
        {name: request.header(name) for name in signed},
        request.body,
    )
    one.context["timestamp"] = scope.stamp
    text = signer.string_to_sign(one, signer.canonical_request(one))
    return cast("str", signer.signature(text, one))
