from __future__ import annotations

import os
import resource

import pytest

from p2pal.disk.fs import limits
from p2pal.disk.fs.limits import batch_limit, read_umask


def test_the_umask_is_read_and_left_alone() -> None:
    before = os.umask(0o027)
    try:
        assert read_umask() == 0o027
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)


def test_the_umask_is_read_where_there_is_no_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_proc(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr("builtins.open", no_proc)
    before = os.umask(0o027)
    try:
        assert read_umask() == 0o027
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)


@pytest.mark.parametrize(
    ("soft", "limit"), [(256, 32), (1024, 224), (65536, 256), (64, 16), (resource.RLIM_INFINITY, 256)]
)
def test_batches_fit_into_the_open_files_allowed(monkeypatch: pytest.MonkeyPatch, soft: int, limit: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, soft))
    assert batch_limit() == limit
    assert limits.MAX_BATCH == 256
