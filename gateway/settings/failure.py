"""How settings fail."""

from __future__ import annotations

from gateway.failure import InputError


class SettingsError(InputError):
    """The configuration is wrong; each line of the text names a setting and the mend."""
