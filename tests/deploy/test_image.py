"""What the image is made by and runs, without a container engine: the very lines of its file, in folders of a test."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from redis import Redis
from tests.deploy.kit import DEPLOY, ROOT, program, read, replaced, running
from tests.deploy.test_files import PAGE, service
from tests.e2e.kit import Server, environment
from tests.ports import free_port

BUILD, RUN = read("Dockerfile").split("\nFROM ")[-2:]
_STEP: Final = re.compile(r"^RUN (.*)$", re.MULTILINE)
# Nothing is downloaded here: the tests' own environment has what the build and the program need.
_OFFLINE: Final = {
    "pip wheel ": "pip wheel --no-index --no-build-isolation ",
    " install ": " install --no-index --no-deps ",
}


def instruction(name: str, text: str) -> list[str]:
    """The list of strings that an instruction of the image has."""
    found = re.search(rf"^{name} .*?(?:CMD )?(\[.*\])$", text.replace("\\\n", ""), re.MULTILINE)
    assert found is not None
    return [str(each) for each in json.loads(found[1])]


def healthy(python: str, port: int) -> bool:
    """What the image's health check says of the server on that port."""
    _, *args = instruction("HEALTHCHECK", RUN)
    code = [replaced(args[-1], {"8080": str(port)})]
    return subprocess.run([python, *args[:-1], *code], capture_output=True, timeout=30, check=False).returncode == 0


def get(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
        return str(answer.read(), "utf-8")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The virtual environment of the image, made by the lines of its file from the files that it copies."""
    context = tmp_path_factory.mktemp("context")
    for line in re.findall(r"^COPY (?!--)(.*)$", BUILD, re.MULTILINE):
        *sources, target = line.split()
        for source in sources:
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, context / target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / source, context / target)
    there = context / "venv"
    for step in _STEP.findall(BUILD):
        line = step.replace("/opt/p2pal", str(there)).replace("/wheels", str(context / "wheels"))
        for online, offline in _OFFLINE.items():
            line = line.replace(online, offline)
        line = re.sub(r"^(?:python|(pip))\b", lambda word: sys.executable + (" -m pip" if word[1] else ""), line)
        done = subprocess.run(
            ["sh", "-ec", line], cwd=context, capture_output=True, text=True, timeout=110, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    packages = next(there.glob("lib/python3*/site-packages"))
    (packages / "dependencies.pth").write_text(
        "\n".join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    )
    return there


def test_what_the_image_holds_serves_is_healthy_and_stops(built: Path, tmp_path: Path) -> None:
    (program_name,) = instruction("ENTRYPOINT", RUN)
    port = free_port()
    python = str(built / "bin/python")
    assert not healthy(python, port)
    command = [str(built / "bin" / program_name), *instruction("CMD", RUN), "--host", "127.0.0.1", "--port", str(port)]
    with running(command, lambda: healthy(python, port), tmp_path / "log", environment()) as process:
        served_from = subprocess.run(
            [python, "-c", "import p2pal; print(p2pal.__file__)"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        assert served_from.stdout.startswith(str(built))
        process.send_signal(getattr(signal, re.findall(r"^STOPSIGNAL (\w+)$", RUN, re.MULTILINE)[0]))
        assert process.wait(30) == 0
    lines = (tmp_path / "log").read_text().splitlines()
    assert {"listening", "stopped"} <= {json.loads(line)["event"] for line in lines}
    assert not healthy(python, port)


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis with the shipped configuration, on a socket that is a file; its URL."""
    folder = tmp_path_factory.mktemp("redis")
    path = folder / "socket"
    command = [program("redis-server"), str(DEPLOY / "redis.conf"), "--dir", str(folder)]
    with running([*command, "--port", "0", "--unixsocket", str(path)], path.exists, folder / "log"):
        yield f"unix://{path}"


def test_redis_takes_the_shipped_configuration(redis: str) -> None:
    with Redis.from_url(redis, decode_responses=True) as client:
        settings = client.config_get("maxmemory*", "append*")
    assert settings["maxmemory-policy"] == "noeviction"
    assert int(settings["maxmemory"]) > 0
    assert settings["appendonly"] == "yes"


def test_the_server_of_compose_starts_with_its_flags(redis: str, tmp_path: Path) -> None:
    described = service("server")
    settings = {"DOMAIN": "p2pal.example.org", "TURN_SECRET": "only for this test"}

    def filled(text: str) -> str:
        return re.sub(r"\$\{([A-Z_]+)(?::-([^}]*)|:\?[^}]*)?\}", lambda name: settings.get(name[1]) or name[2], text)

    command, *flags = map(filled, described["command"])
    assert command == "server"
    env = {name: filled(value) for name, value in described["environment"].items()} | {"REDIS_URL": redis}
    server = Server(tmp_path / "server", *flags, "--host=127.0.0.1", "--log-format=text", env=environment(**env))
    try:
        assert json.loads(get(server.port, "/readyz")) == {"status": "ready"}
        created = post(server.port)
        assert created["ice_servers"] == [{"urls": ["stun:p2pal.example.org:3478"]}]
        metrics = get(server.port, "/metrics")
    finally:
        server.end()
    told = set(re.findall(r"\b(?:p2pal|process)_[a-z_]+[a-z]\b", PAGE)) - {"p2pal_", "p2pal_back"}
    known = {name for line in metrics.splitlines() if line.startswith("# TYPE") for name in forms(*line.split()[2:4])}
    assert told - known == set()


def forms(name: str, kind: str) -> Sequence[str]:
    """The names under which a metric can be asked for."""
    return [name, f"{name}_bucket"] if kind == "histogram" else [name]


def post(port: int) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/transfer", b'{"ttl": 60}', {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())
