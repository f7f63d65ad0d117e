"""The keys of people: what is sealed under one is gone for good when it is destroyed."""
