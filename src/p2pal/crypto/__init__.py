"""Codes, keys and seals. Pure: randomness is passed in."""
