"""What is known of checkpoints without opening one. Importing it costs nothing: completion in the shell does."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Final

DEFAULT_TTL: Final = 168 * 3600.0
"""Seconds that a checkpoint is kept for, from its last use on, unless somebody says otherwise."""

CHECKPOINT_FILE: Final = re.compile(r"([a-z2-7]{26})\.(send|receive)")
"""The name of a checkpoint's file: its id, and what this machine is in the transfer."""

ID_PREFIX: Final = re.compile("[a-z2-7]{1,26}")
"""An id, or how one begins."""

SHOWN_IN_HINTS: Final = 12
"""Characters of an id that are enough in a command for a person to copy."""


def usual_home() -> Path:
    """Return ``~/.p2pal``. A ``HOME`` that is empty or relative names no directory and counts as unset.

    Raises:
        RuntimeError: If this user has no home directory.
    """
    if sys.platform != "win32" and not os.path.isabs(os.environ.get("HOME", "/")):
        import pwd

        try:
            return Path(pwd.getpwuid(os.getuid()).pw_dir) / ".p2pal"
        except KeyError:
            raise RuntimeError("this user has no home directory") from None
    return Path.home() / ".p2pal"
