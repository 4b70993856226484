"""What is known of checkpoints without opening one. Importing it costs nothing: completion in the shell does."""

from __future__ import annotations

import re
from typing import Final

DEFAULT_TTL: Final = 168 * 3600.0
"""Seconds that a checkpoint is kept for, from its last use on, unless somebody says otherwise."""

CHECKPOINT_FILE: Final = re.compile(r"([a-z2-7]{26})\.(send|receive)")
"""The name of a checkpoint's file: its id, and what this machine is in the transfer."""

ID_PREFIX: Final = re.compile("[a-z2-7]{1,26}")
"""An id, or how one begins."""

SHOWN_IN_HINTS: Final = 12
"""Characters of an id that are enough in a command for a person to copy."""
