"""Incoming text messages: the providers' webhooks, and what people say in them."""
