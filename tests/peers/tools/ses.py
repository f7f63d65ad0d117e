"""Amazon SES v2: the account's suppression list, as its service model describes it.

https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_ListSuppressedDestinations.html
"""

import re
from datetime import datetime
from urllib.parse import unquote

import orjson
from aiohttp import web
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials

from tests.peers.tools.standin import StandIn

PATH = "/v2/email/suppression/addresses"
_authorization = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(\w{3,128})/(\d{8})/([a-z]+-[a-z-]+-\d)/ses/aws4_request, ?"
    r"SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})"
).fullmatch


class SesList(StandIn):
    """The list of one account in one region."""

    def __init__(self, key: str = "AKIAEXAMPLE", secret: str = "wJalrXUtnFEMI", most: int = 1000):
        super().__init__()
        self.key, self.secret, self.region = key, secret, "eu-north-1"
        self.most = most
        """Entries of a page at the most."""
        self.entries: dict[str, tuple[str, float]] = {}
        self.expired = False
        """Whether tokens of pages are no longer taken."""
        self.again = 0
        """How many entries of the page before each page repeats."""

    def put(self, address: str, reason: str, at: float | None = None) -> None:
        self.entries[address] = (reason, self.now() if at is None else at)

    def throttled(self) -> web.Response:
        found = error(429, "TooManyRequestsException")
        found.headers["Retry-After"] = "2"
        return found

    def handle(self, request: web.Request, body: bytes) -> web.Response:
        if not self._signed(request, body):
            return error(403, "InvalidSignatureException")
        if request.path == PATH and request.method == "GET":
            return self._list(request)
        if request.path == PATH and request.method == "PUT":
            return self._put(orjson.loads(body))
        if request.path.startswith(f"{PATH}/") and request.method == "GET":
            return self._get(unquote(request.raw_path.removeprefix(f"{PATH}/")))
        return error(404, "NotFoundException")

    def _list(self, request: web.Request) -> web.Response:
        reasons = request.query.getall("Reason", ["BOUNCE", "COMPLAINT"])
        start = _time(request.query.get("StartDate"))
        end = _time(request.query.get("EndDate")) or float("inf")
        size = min(int(request.query.get("PageSize", self.most)), self.most)
        token = request.query.get("NextToken", "")
        if token and (self.expired or not token.startswith("p/")):
            return error(400, "InvalidNextTokenException")
        # By address, so that what comes in the midst does not move what was there.
        after = token.removeprefix("p/")
        chosen = [
            name
            for name, (reason, at) in sorted(self.entries.items())
            if reason in reasons and start <= at <= end
        ]
        place = next((number for number, name in enumerate(chosen) if name > after), len(chosen))
        shown = chosen[max(0, place - self.again) if after else place : place + size]
        document = {
            "SuppressedDestinationSummaries": [
                {
                    "EmailAddress": name,
                    "Reason": self.entries[name][0],
                    "LastUpdateTime": self.entries[name][1],
                }
                for name in shown
            ]
        }
        if place + size < len(chosen):
            document["NextToken"] = f"p/{shown[-1]}"
        return web.json_response(document)

    def _put(self, wanted: dict) -> web.Response:
        address, reason = wanted.get("EmailAddress", ""), wanted.get("Reason")
        if reason not in ("BOUNCE", "COMPLAINT") or "@" not in address or not address.isascii():
            return error(400, "BadRequestException")
        self.put(address, reason)
        return web.json_response({})

    def _get(self, address: str) -> web.Response:
        if address not in self.entries:
            return error(404, "NotFoundException")
        reason, at = self.entries[address]
        entry = {"EmailAddress": address, "Reason": reason, "LastUpdateTime": at}
        return web.json_response({"SuppressedDestination": entry})

    def _signed(self, request: web.Request, body: bytes) -> bool:
        shown = _authorization(request.headers.get("Authorization", ""))
        if not shown or shown[1] != self.key or shown[3] != self.region:
            return False
        signer = SigV4Auth(ReadOnlyCredentials(self.key, self.secret, None), "ses", self.region)
        names = shown[4].split(";")
        one = AWSRequest(
            request.method,
            f"https://host{request.raw_path}",
            {name: request.headers[name] for name in names},
            body,
        )
        one.context["timestamp"] = request.headers["X-Amz-Date"]
        right = signer.signature(signer.string_to_sign(one, signer.canonical_request(one)), one)
        return right == shown[5]


def error(status: int, name: str) -> web.Response:
    """An error as SES v2 says it."""
    return web.json_response(
        {"message": "as it is"}, status=status, headers={"x-amzn-ErrorType": f"{name}:"}
    )


def _time(value: str | None) -> float:
    """A query's time, which botocore writes in ISO 8601."""
    return datetime.fromisoformat(value).timestamp() if value else 0.0
