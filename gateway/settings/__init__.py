"""What the operator decides: ``config.toml``, environment, secret files."""

from gateway.settings.model import Settings

__all__ = ["Settings"]
