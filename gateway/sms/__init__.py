"""The text message side: a proxy before the providers, and what comes back from them."""
