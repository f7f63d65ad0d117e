"""What the register knows of one contact, and how events change it."""
