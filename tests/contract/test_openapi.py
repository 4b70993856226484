"""Does the server do what ``/openapi.json`` says? Asked by Schemathesis, which tries what the description allows."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import Final

import pytest
from tests.unit.server.kit import serving

from p2pal.server.config import AddressLimits, ServerConfig

HERE: Final = Path(__file__).parent / "openapi"
NO_LIMITS: Final = AddressLimits(
    creates=None, joins=None, open_transfers=0, requests=None, sockets=0, messages=None, frames=None
)


@pytest.mark.slow
async def test_the_server_does_what_its_description_says(tmp_path: Path) -> None:
    async with serving(ServerConfig(port=0, addresses=NO_LIMITS, drain=0.2)) as kit:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", HERE / "schemathesis.toml"),
            *("run", kit.server.url + "/openapi.json", "--no-color", "--warnings", "off"),
            cwd=tmp_path,
            env={**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(HERE), "NO_PROXY": "127.0.0.1"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        assert process.returncode == 0, said.decode()
        async with kit.session.get(kit.server.url + "/metrics") as response:
            counts = await response.text()
        for method, route, status in (
            ("POST", "/api/transfer", "2xx"),
            ("POST", "/api/join", "2xx"),
            ("POST", "/api/meet", "2xx"),
            ("GET", "/api/transfer/{id}", "2xx"),
            ("DELETE", "/api/transfer/{id}", "2xx"),
        ):
            assert f'{{method="{method}",route="{route}",status="{status}"}}' in counts, "it did not get that far"
        assert not re.search(r'status="5xx"', counts)
