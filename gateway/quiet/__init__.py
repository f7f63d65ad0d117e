"""When text messages rest, by the clock and the calendar of whoever would get them."""
