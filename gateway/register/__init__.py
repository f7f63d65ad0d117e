"""The register: entries and events in Redis or Valkey, and how files get into it."""
