"""A relay between a company's sending tools and the people it writes to.

One question, asked everywhere: may this message, of this kind, on this channel,
go to this contact, now, and by which rule?  ``docs/flow.md`` walks one message
from socket to socket; ``docs/layout.md`` says which package holds what.
"""

__version__ = "0.1.0"
