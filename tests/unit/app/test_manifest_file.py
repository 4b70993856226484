from __future__ import annotations

import pytest

from p2pal.app import manifest_file
from p2pal.errors import DiskError
from p2pal.wire.transfer import Entry, EntryKind


@pytest.mark.parametrize("in_memory", [100, manifest_file.IN_MEMORY])
def test_entries_are_kept_for_the_length_of_the_block(monkeypatch: pytest.MonkeyPatch, in_memory: int) -> None:
    monkeypatch.setattr(manifest_file, "IN_MEMORY", in_memory)
    every = [Entry(b"file %d" % number, EntryKind.FILE, number) for number in range(50)]
    with manifest_file.kept_manifest() as manifest:
        for entry in every:
            manifest.append(entry)
        assert list(manifest) == every
    with pytest.raises(ValueError, match="closed"):
        manifest.append(every[0])


def test_what_fails_is_an_error_of_the_disk() -> None:
    with pytest.raises(DiskError, match="the list of files could not be kept"), manifest_file.keeping_the_list():
        raise OSError
