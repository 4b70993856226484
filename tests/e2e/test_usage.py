"""Command lines that cannot work end with exit code 2 and one line that says why; all spellings of flags work."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.e2e.conftest import Start
from tests.e2e.kit import Commands
from tests.e2e.trees import make_tree, tree_equal, write


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["send"], "missing argument 'FILE...'; name what to send, or go on with an earlier transfer: --resume ID"),
        (["send", "{file}", "-resume", "k7x2m2qa"], "FILE and --resume exclude each other"),
        (["send", "--resume", "../k7x2"], "'../k7x2' is no id of a checkpoint"),
        (["send", "{file}", "--wait", "long"], "--wait takes a duration, not 'long'"),
        (["send", "{file}", "-max-retries", "many"], "-max-retries inf to try without end"),
        (["send", "-r", "{dir}", "-zip"], "there is no option '-zip'"),
        (["send", "{dir}"], "is a directory; use -r to send directories"),
        (["send", "{file}", "-ttl", "soon"], "-ttl takes a duration, not 'soon'"),
        (["send", "{file}", "-ttl=0"], "-ttl must be at least 1s"),
        (["send", "{file}", "-chunk-size", "256"], "-chunk-size takes a whole number of KiB from 4 to 255, not '256'"),
        (["send", "{file}", "-max-retries", "-1"], "-max-retries"),
        (["send", "{file}", "-server", "example.org"], "-server takes an http:// or https:// URL, not 'example.org'"),
        (["send", "{file}", "-stun", "http://example.org"], "-stun takes a STUN URL"),
        (["send", "{file}", "-turn", "turn:example.org"], "-turn needs credentials"),
        (["send", "{file}", "-server", "http://127.0.0.1:1", "--serve"], "-server and --serve exclude each other"),
        (["recv", "-y", "a", "b"], "unexpected extra argument"),
        (["recv", "-y", "-out", "{dir}/new/", "zebra-luna-47"], "there is no such directory"),
        (["recv", "-overwrite=yes", "zebra-luna-47"], "-overwrite takes no value"),
        (["recieve", "zebra-luna-47"], "there is no command 'recieve'"),
        (["server", "--port", "99999"], "--port takes a whole number from 0 to 65535"),
        (
            ["server", "--redis-url", "http://:hunter2@127.0.0.1"],
            "--redis-url is no URL of a Redis: it does not begin with redis://",
        ),
        (["server", "--turn", "turn:127.0.0.1"], "--turn needs a secret; set $TURN_SECRET"),
        (["server", "-stun=http://a"], "--stun takes a STUN URL"),
        (["server", "--tls-cert", "{file}"], "give both --tls-cert and --tls-key"),
        (["server", "--tls-cert", "{file}", "--tls-key", "{file}"], "has no certificate in it"),
        (["server", "-trusted-proxy", "10.0.0.7/8"], "write it as 10.0.0.0/8"),
        (["server", "--origin", "example.org"], "--origin takes an origin, not 'example.org'"),
        (["server", "--create-rate", "many"], "--create-rate takes COUNT/DURATION, not 'many'"),
        (["server", "--max-message", "1MB"], "--max-message takes a size from 20KiB to 64KiB, not '1MB'"),
        (["server", "--max-sokets", "1"], "did you mean --max-sockets?"),
        (["checkpoint"], "a command is missing"),
        (["checkpoint", "lits"], "did you mean 'list'?"),
        (["checkpoint", "list", "all"], "unexpected extra argument"),
        (["checkpoint", "delete"], "missing argument 'ID'"),
        (["checkpoint", "clean-all"], "there is no terminal to ask at; add -y"),
        ([], "a command is missing"),
    ],
)
def test_a_wrong_command_line(commands: Commands, tmp_path: Path, args: list[str], message: str) -> None:
    (tmp_path / "dir").mkdir()
    file = write(tmp_path / "file", "x")
    command = commands.run(*(arg.format(dir=tmp_path / "dir", file=file) for arg in args))
    assert command.wait() == 2
    assert message in command.err
    assert command.err.startswith("p2pal: ")
    assert "hunter2" not in command.err
    assert len(command.err.splitlines()) == 1
    assert command.out == ""


@pytest.mark.parametrize("form", ["-{name} {value}", "-{name}={value}", "--{name} {value}", "--{name}={value}"])
def test_every_spelling_of_a_flag(commands: Commands, tmp_path: Path, out: Path, form: str) -> None:
    def flags(**values: str) -> list[str]:
        return [part for name, value in values.items() for part in form.format(name=name, value=value).split(" ")]

    tree = make_tree(tmp_path / "tree")
    dashes = form.split("{", maxsplit=1)[0]
    connection = flags(server=commands.url, stun="none")
    sent = commands.run("send", *connection, *flags(ttl="1m30s"), f"{dashes}r", f"{dashes}y", tree)
    received = commands.run("recv", f"{dashes}y", *connection, sent.code(), *flags(out=str(out)))
    assert (received.wait(), sent.wait()) == (0, 0)
    assert "TTL: 1m30s" in sent.out
    assert tree_equal(tree, out / "tree")


def test_the_server_comes_from_the_environment(commands: Commands, sender: Start, tmp_path: Path, out: Path) -> None:
    from tests.e2e.kit import environment

    source = write(tmp_path / "file", "x")
    env = environment(P2PAL_SERVER=commands.url)
    sent = commands.run("send", "-stun", "none", source, env=env)
    received = commands.run("recv", "-stun", "none", "-y", "-out", out, sent.code(), env=env)
    assert (received.wait(), sent.wait()) == (0, 0)
    assert tree_equal(source, out / "file")


@pytest.mark.parametrize("command", [[], ["send"], ["recv"], ["server"], ["checkpoint"], ["completion"]])
def test_help_lists_the_exit_codes(commands: Commands, command: list[str]) -> None:
    for flag in ("--help", "-help", "-h"):
        shown = commands.run(*command, flag)
        assert shown.wait() == 0
        assert "130" in shown.out or command == ["completion"]


@pytest.mark.parametrize("width", [60, 100])
def test_the_help_of_the_server_fits(commands: Commands, width: int) -> None:
    from tests.e2e.kit import environment

    shown = commands.run("server", "--help", env=environment(COLUMNS=str(width)))
    assert shown.wait() == 0
    assert all(len(line) <= width for line in shown.out.splitlines())
    assert shown.out.index("--redis-url") < shown.out.index("--create-rate") < shown.out.index("--debug")


def test_version(commands: Commands) -> None:
    import p2pal

    shown = commands.run("--version")
    assert shown.wait() == 0
    assert shown.out == f"p2pal {p2pal.__version__}\n"


def test_a_port_in_use(commands: Commands) -> None:
    server = commands.server()
    second = commands.run("server", "--host", "127.0.0.1", "--port", str(server.port))
    assert second.wait() == 3
    assert f"port {server.port} is in use" in second.err
