"""The two sides of a transfer."""

from __future__ import annotations

from typing import Literal, TypeAlias

Role: TypeAlias = Literal["send", "receive"]
"""What one side does; the word is also that of its command, of its events and of its checkpoint."""
