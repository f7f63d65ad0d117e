"""What a message that comes back says: bounces (RFC 3464) and complaints (RFC 5965)."""
