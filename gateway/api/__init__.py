"""The HTTP API: decisions, the register, records, held messages, for named accounts."""
