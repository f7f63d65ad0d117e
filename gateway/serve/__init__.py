"""The running gateway: one supervisor, its workers, and what they are built of."""
