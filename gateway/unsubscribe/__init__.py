"""Links by which people refuse: how they are sealed, and the header fields they stand in."""
