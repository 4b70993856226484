"""The shipped files agree with each other, with the server's flags and with the page about them."""

from __future__ import annotations

import configparser
import importlib
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
import pytest
from tests.deploy.kit import DEPLOY, ROOT, program, read

from p2pal.cli.commands.server import server

# Imported so because it comes without types.
yaml: Any = importlib.import_module("yaml")

PAGE: Final = read("docs/self-hosting.md")
UNITS: Final = ("deploy/p2pal.service", "deploy/p2pal@.service")
FLAGS: Final = {name for param in server.params if isinstance(param, click.Option) for name in param.opts}
_FLAG: Final = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(read("compose.yaml"))
    return loaded


def service(name: str) -> dict[str, Any]:
    found: dict[str, Any] = compose()["services"][name]
    return found


def commands() -> Iterator[tuple[str, str]]:
    """Every command line of a server in the shipped files."""
    yield "compose.yaml", " ".join(service("server")["command"])
    yield "Dockerfile", read("Dockerfile").partition("\nCMD ")[2].replace('"', "").replace(",", "")
    yield "server.env", re.findall(r"^P2PAL_FLAGS=(.*)$", read("deploy/server.env"), re.MULTILINE)[0]
    for name in UNITS:
        yield name, re.findall(r"^ExecStart=(.*)$", read(name), re.MULTILINE)[0]
    for line in re.findall(r"p2pal server((?:[^\n`]*\\\n)*[^\n`]*)", PAGE):
        yield "self-hosting.md", line


def test_every_flag_in_use_exists() -> None:
    used = {(where, flag) for where, line in commands() for flag in _FLAG.findall(line)}
    assert {"compose.yaml", "Dockerfile", "server.env", "self-hosting.md", *UNITS} == {where for where, _ in used}
    assert {(where, flag) for where, flag in used if flag not in FLAGS | {"--help"}} == set()


def test_the_page_names_every_flag_and_no_other() -> None:
    inline = {flag for code in re.findall(r"`(--?[a-z][^`]*)`", PAGE) for flag in _FLAG.findall(code)}
    of_the_client = {"-server", "-stun", "-turn"}
    assert inline - FLAGS - of_the_client == set()
    assert {param.opts[0] for param in server.params} - {"-help"} <= {*_FLAG.findall(PAGE), "--help"}


def test_the_image_runs_as_nobody_in_particular_and_is_watched() -> None:
    _, first, last = re.split(r"^FROM ", read("Dockerfile"), flags=re.MULTILINE)
    image = last.split("\n")[0]
    assert re.fullmatch(r"python:3\.\d+-slim", image)
    assert first.startswith(f"{image} AS build\n")
    instructions = dict(re.findall(r"^([A-Z]+) +((?:.*\\\n)*.*)$", last, re.MULTILINE))
    user, _, group = instructions["USER"].partition(":")
    assert int(user) > 0
    assert int(group) > 0
    assert "/healthz" in instructions["HEALTHCHECK"]
    assert instructions["EXPOSE"] == "8080"
    assert instructions["STOPSIGNAL"] == "SIGTERM"
    assert instructions["ENTRYPOINT"] == '["p2pal"]'
    assert "pip" not in last


def test_nothing_but_the_sources_goes_into_the_build() -> None:
    kept = {line[1:] for line in read(".dockerignore").splitlines() if line.startswith("!")}
    copied = {
        name for line in re.findall(r"^COPY (?!--)(.*) \S+$", read("Dockerfile"), re.MULTILINE) for name in line.split()
    }
    assert kept == copied
    assert "\n*\n" in read(".dockerignore")


@pytest.mark.parametrize("name", compose()["services"])
def test_every_service_is_confined(name: str) -> None:
    found = service(name)
    assert found["read_only"] is True
    assert found["cap_drop"] == ["ALL"]
    assert found.get("cap_add", []) in ([], ["NET_BIND_SERVICE"])
    assert found["security_opt"] == ["no-new-privileges:true"]
    assert found["restart"] == "unless-stopped"
    assert "healthcheck" in found or found["build"] == "."
    assert "privileged" not in found


def test_only_the_proxy_is_published() -> None:
    services = compose()["services"]
    assert {name for name, each in services.items() if "ports" in each} == {"caddy"}
    assert {name for name, each in services.items() if each.get("network_mode") == "host"} == {"coturn"}
    assert services["redis"]["networks"] == ["back"]
    assert {name for name, each in services.items() if "back" in each.get("networks", ())} == {"redis", "server"}
    assert {name for name, each in services.items() if "front" in each.get("networks", ())} == {"caddy", "server"}
    networks = compose()["networks"]
    assert networks["front"]["internal"] is True
    assert networks["back"]["internal"] is True
    subnet = networks["front"]["ipam"]["config"][0]["subnet"]
    assert f"--trusted-proxy={subnet}" in services["server"]["command"]


def test_mounted_files_exist() -> None:
    for each in compose()["services"].values():
        for volume in each.get("volumes", ()):
            source, _, rest = volume.partition(":")
            if source.startswith("."):
                assert (ROOT / source).is_file(), source
                assert rest.endswith(":ro")
            else:
                assert source in compose()["volumes"]


def test_every_setting_of_compose_is_explained() -> None:
    used = set(re.findall(r"\$\{([A-Z_]+)", read("compose.yaml")))
    told = set(re.findall(r"^([A-Z_]+)=", read("deploy/compose/env.example"), re.MULTILINE))
    assert used == told


def test_no_file_holds_a_secret() -> None:
    for path in [ROOT / "compose.yaml", ROOT / "Dockerfile", *(each for each in DEPLOY.rglob("*") if each.is_file())]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"^(?:static-auth-secret|requirepass|password)\b", text, re.MULTILINE), path
        assert not re.search(r"[0-9a-f]{32}", text), path
        for value in re.findall(r"(?:TURN_SECRET|static-auth-secret)(?:=|: +)(\S*)", text):
            assert value in ("", ".*/TURN_SECRET=$secret/;") or value.startswith("$"), path
    assert ".env" in read(".gitignore").splitlines()


def test_settings_are_made_once_for_one_reader(tmp_path: Path) -> None:
    made = tmp_path / ".env"

    def make(*args: str) -> subprocess.CompletedProcess[str]:
        command = ["sh", str(DEPLOY / "compose/env.sh"), str(made), *args]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    assert make("no name").returncode == 2
    assert not made.exists()
    first = make("p2pal.example.org")
    assert first.returncode == 0
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    text = made.read_text()
    settings = dict(re.findall(r"^([A-Z_]+)=(.*)$", text, re.MULTILINE))
    assert re.fullmatch(r"[0-9a-f]{64}", settings["TURN_SECRET"])
    assert settings["TURN_SECRET"] not in first.stdout + first.stderr
    assert settings["DOMAIN"] == "p2pal.example.org"
    assert settings["SITE"] == ""
    assert make().returncode == 0
    assert make("p2pal.example.org").returncode == 0
    assert make("other.example.org").returncode == 2
    assert made.read_text() == text
    assert list(tmp_path.iterdir()) == [made]


def with_programs(folder: Path, **scripts: str) -> dict[str, str]:
    """The environment of a shell that finds these programs first."""
    folder.mkdir()
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


@pytest.mark.parametrize(
    ("docker", "told"),
    [
        ("echo 'unknown flag: --short' >&2; exit 125", "Docker with Compose 2.20 or newer is needed: "),
        ("echo 2.19.1", "Docker with Compose 2.20 or newer is needed; this is 2.19.1\n"),
        ("echo v1.29.2", "Docker with Compose 2.20 or newer is needed; this is v1.29.2\n"),
        ("echo 2.20.0-desktop.1", ""),
        ("echo v2.33", ""),
        ("echo 5.0.0", ""),
        ("echo dev", ""),
    ],
)
def test_without_compose_nothing_is_made_and_it_is_said_what_is_missing(docker: str, told: str, tmp_path: Path) -> None:
    command = ["sh", str(DEPLOY / "compose/check.sh")]
    env = with_programs(tmp_path / "bin", docker=docker)
    checked = subprocess.run(command, env=env, capture_output=True, text=True, timeout=30, check=False)
    assert (checked.returncode, checked.stdout) == (1 if told else 0, "")
    assert checked.stderr.startswith(told)
    assert bool(told) == bool(checked.stderr)
    for target in ("up", "down"):
        recipe = read("Makefile").partition(f"\n{target}:\n")[2].splitlines()
        assert recipe[0] == "\t@sh deploy/compose/check.sh"


def test_coturn_is_not_set_up_without_a_secret_and_its_file_is_made_anew(tmp_path: Path) -> None:
    file = tmp_path / "turnserver.conf"
    block = re.search(r"apt install coturn\n(install .*?)```", PAGE, re.DOTALL)
    assert block is not None
    script = block[1].replace("/etc/turnserver.conf", str(file)).replace("-g turnserver ", "")
    env = with_programs(tmp_path / "bin", systemctl=f"echo $* >>{tmp_path}/restarts")

    def run(**more: str) -> int:
        command = ["sh", "-c", script]
        return subprocess.run(
            command, cwd=ROOT, env=env | more, capture_output=True, timeout=30, check=False
        ).returncode

    assert run() != 0
    assert run(TURN_SECRET="") != 0
    assert not (tmp_path / "restarts").exists()
    assert "\nstatic-auth-secret=" not in file.read_text()
    assert (run(TURN_SECRET="first"), run(TURN_SECRET="abc")) == (0, 0)
    assert (tmp_path / "restarts").read_text() == "restart coturn\n" * 2
    assert file.read_text() == f"{read('deploy/turnserver.conf')}realm=p2pal.example.org\nstatic-auth-secret=abc\n"


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(read(name))
    return parser


def test_the_units_differ_in_the_port_alone() -> None:
    one, many = (
        [line for line in read(name).splitlines() if not line.startswith(("#", "Description="))] for name in UNITS
    )
    assert [line.replace("--port 8080", "--port %i") for line in one] == many


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_is_confined_and_gives_time_to_drain(name: str) -> None:
    found = unit(name)["Service"]
    for key in ("DynamicUser", "NoNewPrivileges", "PrivateTmp", "PrivateDevices", "RestrictNamespaces"):
        assert found[key] == "yes"
    assert found["ProtectSystem"] == "strict"
    assert found["CapabilityBoundingSet"] == ""
    assert found["RestrictAddressFamilies"].split() == ["AF_INET", "AF_INET6", "AF_UNIX"]
    assert found["KillSignal"] == "SIGTERM"
    assert found["Restart"] == "on-failure"
    assert found["RestartPreventExitStatus"] == "2"
    assert int(unit(name)["Unit"]["StartLimitBurst"]) * float(found["RestartSec"]) < 300
    assert unit(name)["Unit"]["StartLimitIntervalSec"] == "5min"
    assert int(found["LimitNOFILE"]) >= 65536
    assert found["EnvironmentFile"] == "-/etc/p2pal/server.env"
    delay = re.search(r"--drain-delay (\d+)s", read("deploy/server.env"))
    assert delay is not None
    assert int(found["TimeoutStopSec"]) > int(delay[1]) + 2


@pytest.mark.skipif(sys.platform != "linux", reason="systemd runs on Linux")
def test_systemd_takes_the_units_and_the_change_of_the_page(tmp_path: Path) -> None:
    analyze = program("systemd-analyze")
    there = str(shutil.which("p2pal", path=str(Path(sys.executable).parent)))
    change = re.search(r"```ini\n(.*?)```", PAGE, re.DOTALL)
    assert change is not None
    for name, text in (
        ("p2pal.service", read(UNITS[0])),
        ("p2pal@.service", read(UNITS[1])),
        ("p2pal.service.d/override.conf", change[1]),
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.replace("/opt/p2pal/bin/p2pal", there))
    (tmp_path / "p2pal@8081.service").symlink_to("p2pal@.service")
    for name in ("p2pal.service", "p2pal@8081.service"):
        command = [analyze, "verify", "--man=no", str(tmp_path / name)]
        checked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        ours = [line for line in (checked.stdout + checked.stderr).splitlines() if "p2pal" in line]
        assert (checked.returncode, ours) == (0, [])
