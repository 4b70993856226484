"""Messages as bytes: what the server reads, and what only the peers read. Pure; knows no keys."""
