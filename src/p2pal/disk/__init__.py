"""The disk: sources that are walked and read, sinks that cannot be escaped."""
