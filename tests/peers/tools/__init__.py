"""Marketing tools on this machine: each has a list in memory and speaks the vendor's shapes."""
