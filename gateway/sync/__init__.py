"""Foreign suppression lists and the register kept alike."""
