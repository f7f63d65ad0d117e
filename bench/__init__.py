"""Measurements of the gateway beside the limit of the machine; run by ``make bench``."""
