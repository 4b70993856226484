"""What tests of networks need of the machine, and cannot have everywhere."""

from __future__ import annotations

import functools
import os
import shutil
from typing import Final

import pytest
from tests.network.emulator import hosts
from tests.network.emulator.wire import EmulatorError, compiled
from tests.network.namespaces import missing, sweep_once

_COTURN: Final = ("turnserver", "turnutils_uclient", "turnutils_stunclient")
_networks: Final = functools.cache(missing)
_emulator: Final = functools.cache(hosts.missing)


def need_networks() -> None:
    """Skip where networks cannot be made, or fail in CI."""
    _need("NETWORKS", _networks("tc", "nft", "ss"))
    sweep_once()


def need_emulator() -> None:
    """Skip where there can be no emulator, or fail in CI."""
    _need("LONG LINKS", _emulator())
    sweep_once()


def need_compiler() -> None:
    """Skip where the emulator cannot be compiled, or fail in CI."""
    try:
        compiled()
    except EmulatorError as error:
        _need("LINKS", str(error))


def need_coturn() -> None:
    """Skip where coturn is missing, or fail in CI."""
    program = next((program for program in _COTURN if shutil.which(program) is None), None)
    _need("RELAYS", "" if program is None else f"there is no {program}")


def _need(what: str, lacking: str) -> None:
    """Skip with a loud reason if something is lacking; in CI such a hole must not go unseen, and is a failure."""
    if not lacking:
        return
    reason = f"{what} ARE NOT TESTED: {lacking}"
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
