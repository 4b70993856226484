"""The sender's disk: trees that are walked once, and files that are read as asked."""
