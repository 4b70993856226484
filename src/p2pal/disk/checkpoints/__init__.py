"""Checkpoints on the disk: where they are kept, written, listed and removed."""
