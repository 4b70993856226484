"""Where the entries of a transfer are kept while it lasts: in memory, or in a temporary file."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from typing import BinaryIO, Final, cast

from p2pal.errors import DiskError
from p2pal.transfer.manifest import Manifest

IN_MEMORY: Final = 8 << 20
"""Bytes of manifest above which it moves to a temporary file: some 50,000 entries and more."""


@contextlib.contextmanager
def kept_manifest() -> Iterator[Manifest]:
    """An empty manifest for the length of the block, in memory while it is small."""
    with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as store:
        yield Manifest(cast("BinaryIO", store))


@contextlib.contextmanager
def keeping_the_list() -> Iterator[None]:
    """Say what it means when the temporary file of a manifest fails.

    Raises:
        DiskError: Instead of OSError.
    """
    try:
        yield
    except OSError as error:
        message = f"the list of files could not be kept: {error.strerror or 'the operation failed'}"
        raise DiskError(message, hint="make room for temporary files, or set TMPDIR") from error
