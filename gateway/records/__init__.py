"""What is written down of every message: records, their archive, content."""
