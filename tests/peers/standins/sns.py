"""Amazon SNS: the query protocol as its service model and API reference describe it.

https://docs.aws.amazon.com/sns/latest/api/API_Publish.html and CommonErrors.html
"""

import re
import uuid
from urllib.parse import parse_qs

import aiohttp.web
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials

SECRETS: dict[str, str] = {}
"""Access key ids with their secrets.  Where there is one, signatures are computed and
another key is none of the account's; else their form alone is looked at."""

_XMLNS = "http://sns.amazonaws.com/doc/2010-03-31/"
_authorization = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(\w{3,128})/(\d{8})/([a-z]+-[a-z-]+-\d)/sns/aws4_request, ?"
    r"SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})"
).fullmatch
_e164 = re.compile(r"\+[1-9]\d{1,14}").fullmatch


def _xml(status: int, text: str) -> aiohttp.web.Response:
    request_id = str(uuid.uuid4())
    return aiohttp.web.Response(
        status=status,
        text=text.replace("$ID", request_id),
        content_type="text/xml",
        headers={"x-amzn-RequestId": request_id},
    )


def _error(status: int, code: str, message: str) -> aiohttp.web.Response:
    return _xml(
        status,
        f'<ErrorResponse xmlns="{_XMLNS}">\n  <Error>\n    <Type>Sender</Type>\n'
        f"    <Code>{code}</Code>\n    <Message>{message}</Message>\n  </Error>\n"
        "  <RequestId>$ID</RequestId>\n</ErrorResponse>\n",
    )


def _result(action: str, inner: str) -> aiohttp.web.Response:
    return _xml(
        200,
        f'<{action}Response xmlns="{_XMLNS}">\n  <{action}Result>\n    {inner}\n'
        f"  </{action}Result>\n  <ResponseMetadata>\n    <RequestId>$ID</RequestId>\n"
        f"  </ResponseMetadata>\n</{action}Response>\n",
    )


def _wrong_signature(request: aiohttp.web.Request, body: bytes) -> aiohttp.web.Response | None:
    value = request.headers.get("Authorization", "")
    if not value:
        return _error(403, "MissingAuthenticationToken", "Request is missing Authentication Token")
    shown = _authorization(value)
    stamp = request.headers.get("X-Amz-Date", "")
    if not shown or not re.fullmatch(r"\d{8}T\d{6}Z", stamp):
        return _error(400, "IncompleteSignature", "The request signature is not complete")
    key, date, region, signed, signature = shown.groups()
    names = signed.split(";")
    if stamp[:8] != date or not {"host", "x-amz-date"} <= set(names):
        return _error(403, "SignatureDoesNotMatch", "Credential should be scoped correctly")
    if any(n.lower().startswith("x-amz-") and n.lower() not in names for n in request.headers):
        return _error(403, "SignatureDoesNotMatch", "A header of AWS's is not signed")
    if not SECRETS:
        return None
    if key not in SECRETS:
        return _error(403, "InvalidClientTokenId", "The security token is invalid")
    signer = SigV4Auth(ReadOnlyCredentials(key, SECRETS[key], None), "sns", region)
    one = AWSRequest(
        request.method,
        f"https://{request.host}{request.path_qs}",
        {name: request.headers.get(name, "") for name in names},
        body,
    )
    one.context["timestamp"] = stamp
    if (
        signer.signature(signer.string_to_sign(one, signer.canonical_request(one)), one)
        != signature
    ):
        return _error(403, "SignatureDoesNotMatch", "The signature does not match")
    return None


def _publish(fields: dict[str, list[str]]) -> aiohttp.web.Response:
    if not fields.get("Message", [""])[0]:
        return _error(400, "InvalidParameter", "Invalid parameter: Empty message")
    targets = [name for name in ("TopicArn", "TargetArn", "PhoneNumber") if name in fields]
    if len(targets) != 1:
        reason = "TopicArn or TargetArn Reason: no value for required parameter"
        return _error(400, "InvalidParameter", f"Invalid parameter: {reason}")
    number = fields.get("PhoneNumber", [""])[0]
    if targets == ["PhoneNumber"] and not _e164(number):
        reason = f"PhoneNumber Reason: {number} is not valid to publish to"
        return _error(400, "InvalidParameter", f"Invalid parameter: {reason}")
    return _result("Publish", f"<MessageId>{uuid.uuid4()}</MessageId>")


_READS = {
    "CheckIfPhoneNumberIsOptedOut": "<isOptedOut>false</isOptedOut>",
    "GetSMSAttributes": "<attributes><entry><key>DefaultSMSType</key>"
    "<value>Promotional</value></entry></attributes>",
    "GetSMSSandboxAccountStatus": "<IsInSandbox>false</IsInSandbox>",
    "ListOriginationNumbers": "<PhoneNumbers/>",
    "ListPhoneNumbersOptedOut": "<phoneNumbers><member>+15555550100</member></phoneNumbers>",
    "ListSMSSandboxPhoneNumbers": "<PhoneNumbers/>",
}


async def answer(request: aiohttp.web.Request, body: bytes) -> aiohttp.web.Response:
    """What SNS answers."""
    wrong = _wrong_signature(request, body)
    if wrong is not None:
        return wrong
    if request.path != "/" or request.content_type != "application/x-www-form-urlencoded":
        return _error(404, "UnknownOperationException", "Unknown operation")
    fields = parse_qs(body.decode(), keep_blank_values=True)
    action = fields.get("Action", [""])[0]
    if action == "Publish":
        return _publish(fields)
    if action in _READS:
        return _result(action, _READS[action])
    return _error(400, "InvalidAction", f"Could not find operation {action}")
