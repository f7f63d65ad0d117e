"""The providers' own shapes: where recipients, text and sender sit, how answers look."""
