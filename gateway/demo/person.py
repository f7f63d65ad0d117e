"""The people of the sample register who have a part of their own in the demo."""

BANS_DURING_DEMO = "inkeri.aaltosuo@posti.example"
"""Bans marketing while the gateway runs, after the first newsletter."""

EXPLAINED = "onni.rantamo@posti.example"
"""Whose suppression is explained: a consent of their own, but a ban…"""

EXPLAINED_SPELLING = "onni.rantamo+kauppa@posti.example"
"""…under this spelling of the address."""

TEXTED_BANS_DURING_DEMO = "+358400000121"
"""Bans marketing while the gateway runs, after the first text message."""

CLICKS_DURING_DEMO = "aino.kuusela@posti.example"
"""Clicks the link that the gateway added to a newsletter."""

BOUNCED_DURING_DEMO = "siiri.ojakari@posti.example"
"""Whose mail server says, while the gateway runs, that there is no such mailbox."""
