"""Local stand-ins for the providers, shaped by the vendors' own specifications."""
