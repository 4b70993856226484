"""Checkpoints, pure: the records of an interrupted transfer, their bytes, and what follows from them."""
