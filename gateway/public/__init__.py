"""The HTTP server that people and tools reach from the internet."""
