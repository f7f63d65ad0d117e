"""Incoming messages of AWS End User Messaging, which Amazon SNS delivers.

JSON in JSON: the notification's ``Message`` holds the message.  It is signed with a
certificate that the notification itself names by URL.  Nothing is fetched from there:
the secret is that certificate (PEM, several where AWS changes it), which the operator
has fetched and looked at.  Only signature version 2 (SHA-256) is taken; set the topic's
``SignatureVersion`` to 2.  Raw delivery is not signed at all and is refused.
https://docs.aws.amazon.com/sms-voice/latest/userguide/two-way-sms-payload.html
https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
"""

from __future__ import annotations

from gateway.hook.hook import Hook, Incoming, Signs
from gateway.hook.reading import (
    document_of,
    form_request,
    moment,
    person,
    read_document,
    text_of,
    unknown_shape,
)
from gateway.provider.request import Request
from gateway.provider.snssigning import signed_by

_NOTIFICATION = "Notification"
_OTHER = ("SubscriptionConfirmation", "UnsubscribeConfirmation")
_VERSIONS = ("2",)
_ATTRIBUTES = {"AWS.SNS.SMS.SMSType": "Transactional"}


class Sns(Hook):
    """``originationNumber``, ``destinationNumber``, ``messageBody`` in a notification.

    The signature covers what is read, not the other members of the notification.
    """

    name = "sns"
    title = "AWS SNS"
    signs = Signs.BODY
    sourced = True

    def read(self, request: Request) -> tuple[Incoming, ...]:
        """The one message; none where SNS asks whether it may deliver."""
        notification = read_document(request, "text/plain")
        kind = text_of(notification, "Type", needed=True)
        if kind in _OTHER:
            return ()
        if kind != _NOTIFICATION:
            raise unknown_shape()
        message = document_of(text_of(notification, "Message", needed=True))
        if "messageBody" not in message:
            # Delivery events of the same service have a type.
            if "eventType" in message:
                return ()
            raise unknown_shape()
        return (
            Incoming(
                text_of(message, "inboundMessageId", needed=True),
                person(text_of(message, "originationNumber", needed=True)),
                text_of(message, "destinationNumber", needed=True),
                text_of(message, "messageBody"),
                moment(text_of(notification, "Timestamp")),
                keyword=text_of(message, "messageKeyword"),
            ),
        )

    def verified(self, request: Request, url: str, secret: str, now: int) -> bool:
        """RSA with SHA-256, by one of the certificates that are pinned."""
        notification = read_document(request, "text/plain")
        if text_of(notification, "Type") != _NOTIFICATION:
            return False
        return signed_by(notification, secret, now, _VERSIONS)

    def source(self, request: Request) -> str:
        """The topic's ARN, which is signed: AWS signs for every customer with one key."""
        return text_of(read_document(request, "text/plain"), "TopicArn")

    def compose(self, sender: str, to: str, text: str, account: str) -> Request:
        """``Publish``; whoever sends it signs it (SigV4)."""
        attributes = {**_ATTRIBUTES, "AWS.MM.SMS.OriginationNumber": sender}
        pairs = [
            ("Action", "Publish"),
            ("Version", "2010-03-31"),
            ("PhoneNumber", to),
            ("Message", text),
        ]
        for number, (name, value) in enumerate(attributes.items(), 1):
            entry = f"MessageAttributes.entry.{number}"
            pairs += [
                (f"{entry}.Name", name),
                (f"{entry}.Value.DataType", "String"),
                (f"{entry}.Value.StringValue", value),
            ]
        return form_request("/", *pairs)
