from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pal.cli import config
from p2pal.cli.commands.checkpoint import checkpoint
from p2pal.cli.commands.completion import completion
from p2pal.cli.commands.doctor import doctor
from p2pal.cli.commands.recv import recv
from p2pal.cli.commands.send import send
from p2pal.cli.commands.server import server
from p2pal.cli.commands.server_config import Flags
from p2pal.cli.options import Command, canonical
from p2pal.errors import UsageError


def parsed(command: click.Command, *args: str, env: dict[str, str] | None = None) -> dict[str, Any]:
    """What click hands to the command."""
    with command.make_context("p2pal", list(args)) as context:
        return context.params


def canon(*args: str, command: click.Command = send) -> list[str]:
    with click.Context(command) as context:
        return canonical(command.get_params(context), list(args))


@pytest.mark.parametrize(
    "args",
    [
        ["-server", "http://a", "x"],
        ["--server", "http://a", "x"],
        ["-server=http://a", "x"],
        ["--server=http://a", "x"],
        ["x", "-server", "http://a"],
    ],
)
def test_one_dash_or_two_space_or_equals(args: list[str]) -> None:
    assert parsed(send, *args)["server"] == "http://a"


@pytest.mark.parametrize("args", [["-r", "-y"], ["-ry"], ["-yr"], ["--r", "--y"], ["-r", "--y"]])
def test_short_flags_alone_together_and_with_two_dashes(args: list[str]) -> None:
    params = parsed(send, *args, "x")
    assert params["recursive"] is True
    assert params["yes"] is True
    assert params["quiet"] is False


def test_every_flag_of_send() -> None:
    params = parsed(
        send,
        "a",
        "-serve=h:1",
        "-ttl",
        "1h30m",
        "-rxyq",
        "-skip-errors",
        "-chunk-size",
        "255",
        "-max-retries=0",
        "-retry-backoff",
        "250ms",
        "-wait=1h",
        "-checkpoint-ttl",
        "7d",
        "-stun",
        "none",
        "-turn",
        "turn:a",
        "--turn=turn:b",
        "-turn-user",
        "u",
        "-turn-pass",
        "p",
        "-lane",
        "udp",
        "-json",
        "-code-file",
        "c",
        "-qr",
        "-files-from",
        "-",
        "-exclude",
        "*.o",
        "-exclude=/build",
        "-exclude-from",
        "f",
        "-git",
        "-words",
        "4",
        "b",
    )
    files = params.pop("files")
    assert [str(path) for path in files] == ["a", "b"]
    assert params == {
        "server": None,
        "serve": "h:1",
        "ttl": 5400.0,
        "recursive": True,
        "yes": True,
        "quiet": True,
        "skip_errors": True,
        "one_file_system": True,
        "chunk_size": 255,
        "max_retries": 0,
        "retry_backoff": 0.25,
        "wait": 3600.0,
        "checkpoint_ttl": 7 * 86400.0,
        "resume": None,
        "stun": "none",
        "turn": ("turn:a", "turn:b"),
        "turn_user": "u",
        "turn_pass": "p",
        "relay_only": False,
        "no_relay": False,
        "lane": ("udp",),
        "as_json": True,
        "code_file": Path("c"),
        "qr": True,
        "files_from": "-",
        "exclude": ("*.o", "/build"),
        "exclude_from": ("f",),
        "git": True,
        "words": 4,
    }


def test_defaults_of_send(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("P2PAL_SERVER", "TURN_USER", "TURN_PASS"):
        monkeypatch.delenv(name, raising=False)
    params = parsed(send, "x")
    params.pop("files")
    assert params == {
        "server": None,
        "serve": None,
        "ttl": 300.0,
        "recursive": False,
        "yes": False,
        "quiet": False,
        "skip_errors": False,
        "one_file_system": False,
        "chunk_size": None,
        "max_retries": 3,
        "retry_backoff": 1.0,
        "wait": 600.0,
        "checkpoint_ttl": 168 * 3600.0,
        "resume": None,
        "stun": "stun:stun.l.google.com:19302",
        "turn": (),
        "turn_user": None,
        "turn_pass": None,
        "relay_only": False,
        "no_relay": False,
        "lane": (),
        "as_json": False,
        "code_file": None,
        "qr": False,
        "files_from": None,
        "exclude": (),
        "exclude_from": (),
        "git": False,
        "words": 2,
    }


def test_every_flag_of_recv() -> None:
    params = parsed(
        recv,
        "-out",
        "d",
        "-overwrite",
        "-yq",
        "--json",
        "-verify",
        "--checkpoint-ttl=2h",
        "--wait",
        "0",
        "zebra-luna-47",
    )
    assert (params["verify"], params["checkpoint_ttl"], params["wait"]) == (True, 7200.0, 0.0)
    assert str(params["out"]) == "d"
    assert params["overwrite"] is True
    assert params["code"] == "zebra-luna-47"
    assert parsed(recv)["code"] is None
    assert parsed(recv)["out"] is None
    assert parsed(recv)["verify"] is False


def test_flags_of_server() -> None:
    assert set(parsed(server)) == {*Flags.__annotations__, "quiet"}
    assert parsed(server, "-host=::1", "-port", "0", "-log-format", "json", "-q")["log_format"] == "json"


def test_environment_stands_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("P2PAL_SERVER", "http://env")
    monkeypatch.setenv("TURN_USER", "u")
    monkeypatch.setenv("TURN_PASS", "p")
    params = parsed(recv, "c")
    assert (params["server"], params["turn_user"], params["turn_pass"]) == ("http://env", "u", "p")
    assert parsed(recv, "c", "-server", "http://flag")["server"] == "http://flag"


def test_double_dash_ends_the_options() -> None:
    assert [str(path) for path in parsed(send, "-r", "--", "-y", "--server")["files"]] == ["-y", "--server"]


@pytest.mark.parametrize(
    ("args", "serve", "files"),
    [
        (["--serve", "report.pdf"], "", ["report.pdf"]),
        (["report.pdf", "--serve"], "", ["report.pdf"]),
        (["--serve", "192.0.2.5:9000", "report.pdf"], "192.0.2.5:9000", ["report.pdf"]),
        (["-serve", "[::1]:0", "x"], "[::1]:0", ["x"]),
        (["-serve", ":9000", "x"], ":9000", ["x"]),
        (["--serve=localhost:1", "x"], "localhost:1", ["x"]),
        (["--serve", "-r", "x"], "", ["x"]),
        (["--serve", "./odd:80"], "", ["./odd:80"]),
    ],
)
def test_serve_takes_an_address_but_never_a_file(args: list[str], serve: str, files: list[str]) -> None:
    params = parsed(send, *args)
    assert params["serve"] == serve
    assert list(params["files"]) == [Path(file) for file in files]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["-servr", "x"], r"'-servr'; did you mean -server\?"),
        (["--sever=x"], r"'--sever'; did you mean -server\?"),
        (["-chunksize", "1"], r"did you mean -chunk-size\?"),
        (["--skiperrors"], r"did you mean -skip-errors\?"),
        (["-jsn"], r"did you mean --json\?"),
        (["-rz"], "no option '-rz'"),
        (["---server", "x"], "no option '---server'"),
        (["-\x1b[2J"], r"no option '-\\x1b\[2J'"),
        (["-ttl", "--"], "-ttl needs a value; write -ttl=DURATION"),
        (["--server", "-r"], "--server needs a value"),
        (["--server", "--"], "--server needs a value"),
        (["-y=1"], "-y takes no value"),
        (["--json=yes"], "--json takes no value"),
    ],
)
def test_mistakes_are_named_with_the_way_out(args: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        canon(*args, "file")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["-ttl", "5"], "-ttl takes a duration, not '5'"),
        (["-retry-backoff", "soon"], "-retry-backoff takes a duration"),
        (["-chunk-size", "3"], "whole number of KiB from 4 to 255, not '3'"),
        (["-chunk-size", "256"], "from 4 to 255"),
        (["-chunk-size", "1e2"], "from 4 to 255"),
        (["-max-retries", "-1"], "-max-retries takes a whole number from 0"),
        (["-max-retries", "many"], "'many'; write -max-retries NUMBER, or -max-retries inf"),
        (["--wait", "long"], "--wait takes a duration, not 'long'"),
        (["-checkpoint-ttl", "7"], "write it as 90s, 10m, 1h30m or 7d"),
        (["--resume", "k7x2!"], "'k7x2!' is no id of a checkpoint"),
        (["--resume", " "], "is no id of a checkpoint"),
        (["--resume", "a" * 27], "is no id of a checkpoint"),
        (["--words", "9"], "from 2 to 8"),
    ],
)
def test_bad_values_say_what_is_good(args: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parsed(send, *args, "x")


COMMANDS = [send, recv, server, doctor, completion, *checkpoint.commands.values()]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
@pytest.mark.parametrize("before", [[], ["--"], ["file"], ["file", "--", "file"]])
def test_an_empty_argument_is_an_error_everywhere(command: click.Command, before: list[str]) -> None:
    with pytest.raises(UsageError, match="an argument is empty; leave it out, or see why: a variable in it may not be"):
        canon(*before, "", "file", command=command)


WITH_VALUE = [
    (command, spelling)
    for command in COMMANDS
    for param in command.params
    if isinstance(param, click.Option) and not param.is_flag and not param.count
    for spelling in param.opts
]


@pytest.mark.parametrize(("command", "spelling"), WITH_VALUE, ids=lambda each: getattr(each, "name", each))
def test_an_empty_value_is_an_error_everywhere(command: click.Command, spelling: str) -> None:
    with pytest.raises(UsageError, match=f"^{spelling} needs a value; leave .* out, or see why it is empty"):
        canon(f"{spelling}=", "file", command=command)
    wrong = "an argument is empty" if spelling.endswith("-serve") else f"{spelling} needs a value"
    with pytest.raises(UsageError, match=wrong):
        canon(spelling, "", "file", command=command)


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [param.envvar for command in (send, server) for param in command.params if param.envvar]
    assert {"P2PAL_SERVER", "TURN_USER", "TURN_PASS", "REDIS_URL", "TURN_SECRET"} == set(names)
    for name in [*names, "P2PAL_HOME", "P2PAL_ONLY_LOOPBACK"]:
        monkeypatch.delenv(str(name), raising=False)
    before = (parsed(send, "x"), parsed(server), config.home(), config.only_loopback())
    for name in [*names, "P2PAL_HOME", "P2PAL_ONLY_LOOPBACK"]:
        monkeypatch.setenv(str(name), "")
    assert (parsed(send, "x"), parsed(server), config.home(), config.only_loopback()) == before


def test_a_value_is_missing_at_the_end() -> None:
    with pytest.raises(UsageError, match="-ttl needs a value; write -ttl=DURATION"):
        canon("file", "-ttl")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["-r"], "missing argument 'FILE...'; name what to send, or go on with an earlier transfer: --resume ID"),
        (["--resume", "k7x2m2qa", "x"], "FILE and --resume exclude each other; leave the files out"),
    ],
)
def test_files_or_a_checkpoint_are_needed(args: list[str], message: str) -> None:
    with send.make_context("p2pal", args) as context, pytest.raises(UsageError, match=re.escape(message)):
        send.invoke(context)


@pytest.mark.parametrize("spelling", ["-resume", "--resume"])
def test_a_checkpoint_instead_of_files(spelling: str) -> None:
    params = parsed(send, spelling, " K7X2M2qa ")
    assert (params["files"], params["resume"]) == ((), "k7x2m2qa")


def test_retries_without_end() -> None:
    assert parsed(send, "-max-retries", "inf", "x")["max_retries"] is None
    assert parsed(recv, "--max-retries=INF", "x")["max_retries"] is None


def test_a_lone_dash_is_a_name() -> None:
    assert canon("-", "x") == ["-", "x"]


@given(st.lists(st.text(st.sampled_from("-=:rysx1. \x1bé"), max_size=6), max_size=6))
@settings(max_examples=300, deadline=None)
def test_any_arguments_are_rewritten_or_refused(args: list[str]) -> None:
    try:
        result = canon(*args)
    except UsageError:
        return
    assert canon(*result) == result or "--" in args


@given(st.lists(st.text(st.sampled_from("-=rsv"), max_size=6), max_size=5))
@settings(max_examples=200, deadline=None)
def test_completion_never_raises(args: list[str]) -> None:
    with click.Context(send) as context:
        canonical(send.get_params(context), args, lenient=True)


@pytest.mark.parametrize(
    ("begun", "found"), [("-se", ["-server"]), ("--se", ["--server", "--serve"]), ("--js", ["--json"])]
)
def test_options_complete_in_the_spelling_that_was_begun(begun: str, found: list[str]) -> None:
    with send.make_context("p2pal", [], resilient_parsing=True) as context:
        assert [item.value for item in send.shell_complete(context, begun)] == found


def test_code_words_complete() -> None:
    with recv.make_context("p2pal", [], resilient_parsing=True) as context:
        (argument,) = (param for param in recv.params if isinstance(param, click.Argument))
        assert "zebra-" in [item.value for item in argument.shell_complete(context, "zeb")]


@pytest.mark.parametrize("command", [send, recv, server, completion, *checkpoint.commands.values()])
def test_help_shows_each_option_once_and_the_exit_codes(command: click.Command) -> None:
    assert isinstance(command, Command)
    with command.make_context("p2pal", [], resilient_parsing=True) as context:
        text = command.get_help(context)
    assert "Exit codes:" in text
    assert "130" in text
    for param in command.params:
        if isinstance(param, click.Option):
            assert f"  {param.opts[0]}" in text
            other = next(
                name for name in param.opts if name.lstrip("-") == param.opts[0].lstrip("-") and name != param.opts[0]
            )
            assert f"{other} " not in text.replace(param.opts[0], "")


@pytest.mark.parametrize(
    "shown",
    [
        "-server URL",
        "--serve [HOST:PORT]",
        "-ttl DURATION",
        "-r  ",
        "-y  ",
        "-q  ",
        "-skip-errors",
        "-chunk-size KIB",
        "-max-retries N|inf",
        "--wait DURATION",
        "-checkpoint-ttl DURATION",
        "--resume ID",
        "-retry-backoff DURATION",
        "-stun URL",
        "-turn URL",
        "-turn-user NAME",
        "-turn-pass SECRET",
        "--json",
    ],
)
def test_help_of_send_spells_options_as_the_table_does(shown: str) -> None:
    with send.make_context("p2pal", [], resilient_parsing=True) as context:
        assert f"\n  {shown}" in send.get_help(context)


def test_a_kind_of_lane_is_one_of_a_list() -> None:
    with pytest.raises(UsageError, match="-lane takes auto, udp or webrtc, not 'quic'") as raised:
        parsed(send, "-lane", "quic", "x")
    assert "-lane auto" in raised.value.hint
