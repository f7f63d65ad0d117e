"""From verdicts to the record that proves them, whatever the channel."""
