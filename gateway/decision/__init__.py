"""May this message go to this contact now, and by which rule?

A pure function of :class:`~gateway.decision.facts.Facts` and a rule set, which is
data (``rules/*.toml``): no clock, no register, no network.
"""
