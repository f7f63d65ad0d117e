"""What a message shows of itself, read from its bytes (pure)."""
