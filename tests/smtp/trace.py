"""Reading what the gateway puts in front of a message."""


def strip_trace(content: bytes) -> bytes:
    """The message less the one Received field that the gateway adds."""
    assert content.startswith(b"Received: ")
    rest = content
    while True:
        _, rest = rest.split(b"\r\n", 1)
        if rest[:1] not in (b" ", b"\t"):
            return rest
