"""How p2pal is installed: the engine is one exact version, and never built from source."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
INSTALLS = re.compile(r"\b(?:pip3?|pipx)(?: --python \S+)? install\b.*")
OTHERS = re.compile(r"install [a-z].*-venv|pip install --upgrade pip")
"""Commands that do not install p2pal."""


def project() -> dict[str, Any]:
    """The project table of pyproject.toml."""
    described: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return described


def commands() -> list[tuple[str, str]]:
    """Every installing command of the documentation, the images and the scripts, with its file."""
    places = [ROOT / "README.md", ROOT / "Makefile", ROOT / "Dockerfile", ROOT / "examples" / "README.md"]
    for folder in ("docs", "scripts", "deploy", ".ci"):
        places += [path for path in (ROOT / folder).rglob("*") if path.is_file()]
    found = []
    for path in places:
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        found += [(path.name, match[0]) for match in INSTALLS.finditer(text) if not OTHERS.search(match[0])]
    return found


def test_the_engine_is_pinned() -> None:
    (engine,) = [each for each in project()["dependencies"] if each.startswith("wrtc")]
    assert re.fullmatch(r"wrtc==\d+\.\d+\.\d+", engine)


def test_no_command_lets_pip_build_the_engine() -> None:
    found = commands()
    assert {"README.md", "self-hosting.md", "Dockerfile", "venv.sh"} <= {name for name, _ in found}
    building = [each for each in found if not re.search(r"--only-binary[ =](?:wrtc|:all:)", each[1])]
    assert building == []


def test_what_windows_has_not_is_not_asked_for_there() -> None:
    (loop,) = [each for each in project()["optional-dependencies"]["server"] if each.startswith("uvloop")]
    assert "sys_platform != 'win32'" in loop


def test_only_servers_get_what_only_a_server_uses() -> None:
    extras = project()["optional-dependencies"]
    names = {re.split(r"[^a-z-]", each)[0] for each in extras["server"]}
    assert names == {"prometheus-client", "redis", "uvloop"}
    assert not names & {re.split(r"[^a-z-]", each)[0] for each in project()["dependencies"]}
    assert "p2pal[server]" in extras["dev"]
    assert "p2pal[server]" in extras["bench"]


def test_those_who_run_a_server_are_told_to_install_its_extra() -> None:
    for_servers = [command for name, command in commands() if name in {"self-hosting.md", "Dockerfile"}]
    assert len(for_servers) == 4
    assert [command for command in for_servers if "[server]" not in command] == []
