"""What bounces and complaints say: DSN, ARF and what else there is."""
