"""The whole command, in this process where nothing is lost by it, else as a process."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from p2pal._version import __version__
from p2pal.cli.exit import EXIT_CODES
from p2pal.cli.main import COMMANDS, main

HEAVY = [
    "aiohttp",
    "rich",
    "webrtc",
    "wrtc",
    "msgspec",
    "cryptography",
    "spake2",
    "uvloop",
    "asyncio",
    "p2pal.app.options",
]


@pytest.fixture(autouse=True)
def _own_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is started in this process writes its log to a stream that is closed with the test."""
    monkeypatch.setattr("p2pal.server.logs.LOGGER.handlers", [])
    monkeypatch.setattr("p2pal.server.logs.LOGGER.propagate", True)


def process(*args: str, env: dict[str, str] | None = None, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "p2pal", *args],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **(env or {})},
    )


@pytest.mark.parametrize("args", [["--help"], ["-h"], ["-help"]])
def test_help_lists_the_commands_and_the_exit_codes(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(args) == 0
    text = capsys.readouterr().out
    for name in COMMANDS:
        assert f"\n  {name} " in text
    for code, meaning in EXIT_CODES:
        assert str(code) in text
        assert meaning in text


@pytest.mark.parametrize("args", [["--version"], ["-version"], ["-V"]])
def test_version(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(args) == 0
    assert capsys.readouterr().out == f"p2pal {__version__}\n"


@pytest.mark.parametrize(
    "args", [["--help"], ["--version"], ["send", "--help"], ["snd"], ["checkpoint", "list", "--help"]]
)
def test_nothing_heavy_is_loaded_before_a_command_runs(args: list[str]) -> None:
    code = f"import sys; from p2pal.cli.main import main; main({args!r}); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    loaded = set(done.stderr.split())
    if args[0] == "send":
        loaded -= {"p2pal.app.options"}
    assert not loaded & set(HEAVY)


@pytest.mark.parametrize(
    ("args", "line"),
    [
        ([], "a command is missing; try 'p2pal send FILE', 'p2pal recv CODE' or 'p2pal --help'"),
        (["snd"], "there is no command 'snd'; did you mean 'send'?"),
        (["receive"], "there is no command 'receive'; did you mean 'recv'?"),
        (["upload"], "there is no command 'upload'; see 'p2pal --help'"),
        (["--vresion"], "there is no option '--vresion'; did you mean --version?"),
        (["send"], "missing argument 'FILE...'; name what to send, or go on with an earlier transfer: --resume ID"),
        (["send", "-servr", "x"], "there is no option '-servr'; did you mean -server?"),
        (["send", "--serve", "-server", "http://a", "x"], "-server and --serve exclude each other; leave one out"),
        (["send", "-ttl", "0", "x"], "-ttl must be at least 1s; write -ttl 5m"),
        (
            ["send", "-turn", "turn:ann:secret@a", "-turn-user", "ann", "-turn-pass", "secret", "x"],
            (
                "-turn takes a TURN URL, without user name and password; "
                "write -turn turn:HOST:PORT, or turns: for TLS; ?transport=udp or ?transport=tcp may follow"
            ),
        ),
        (["recv", "zebra-luna-47"], "there is no terminal to ask at; add -y to accept what is offered"),
        (["recv", "-y"], "the join code is missing; write p2pal recv zebra-luna-47, or pipe the code in"),
        (["recv", "zebra-luna-47", "extra"], "got unexpected extra argument (extra); see 'p2pal recv --help'"),
        (["server", "--port", "http"], "--port takes a whole number from 0 to 65535, not 'http'; write --port NUMBER"),
        (
            ["server", "--host", "192.0.2.77"],
            "'192.0.2.77' is no address of this machine; choose another with --host and --port",
        ),
        (["checkpoint"], "a command is missing; try 'p2pal checkpoint list' or 'p2pal checkpoint --help'"),
        (["checkpoint", "lst"], "there is no command 'lst'; did you mean 'list'?"),
        (["checkpoint", "go"], "there is no command 'go'; see 'p2pal checkpoint --help'"),
        (["checkpoint", "clean", "-jsn"], None),
        (["checkpoint", "delete"], "missing argument 'ID'; see 'p2pal checkpoint delete --help'"),
        (["checkpoint", "delete", "../x"], "'../x' is no id of a checkpoint; 'p2pal checkpoint list' shows the ids"),
        (["server", "--log-format", "xml"], None),
        (["completion", "tcsh"], None),
    ],
)
def test_usage_errors_are_one_line_and_exit_2(
    args: list[str], line: str | None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert main(args) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("p2pal: ")
    assert captured.err.count("\n") == 1
    if line is not None:
        assert captured.err == f"p2pal: {line}\n"


def test_json_tells_of_usage_errors_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recv", "--json", "zebra-luna-47"]) == 2
    captured = capsys.readouterr()
    assert captured.out == (
        '{"event":"error","code":"usage","message":"--json asks no questions",'
        '"hint":"add -y to accept what is offered","exit_code":2}\n'
    )
    assert captured.err == "p2pal: --json asks no questions; add -y to accept what is offered\n"


def test_a_mistyped_code_is_exit_4_and_costs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recv", "-y", "qqqqqq-luna-47"]) == 4
    assert "word 1 of the join code" in capsys.readouterr().err


def test_no_server_is_exit_3(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    done = process("send", "-yq", "-stun", "none", "-server", "http://127.0.0.1:1", str(tmp_path / "a"))
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("p2pal: ")
    assert done.stderr.count("\n") == 1


def test_debug_is_taken_before_and_after_the_command() -> None:
    for args in (["--debug", "recv"], ["recv", "-debug"]):
        done = process(*args)
        assert done.returncode == 2
        assert "Traceback" in done.stderr
        assert done.stderr.endswith("p2pal: there is no terminal to ask at; add -y to accept what is offered\n")


def test_a_reader_that_goes_away_is_no_error_aloud() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as gone:
        done = subprocess.run(
            [sys.executable, "-m", "p2pal", "--help"], stdout=gone, stderr=subprocess.PIPE, timeout=60, check=False
        )
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("shell", "no_space"), [("zsh", "space=(-S '')"), ("fish", ""), ("bash", "compopt -o nospace")]
)
def test_completion_scripts(shell: str, no_space: str) -> None:
    done = process("completion", shell)
    assert done.returncode == 0
    assert "_P2PAL_COMPLETE" in done.stdout
    assert no_space in done.stdout


@pytest.mark.parametrize(
    ("words", "index", "found", "missing"),
    [
        ("p2pal ", 1, ["plain,send", "plain,recv", "plain,server", "plain,completion"], []),
        ("p2pal send -ser", 2, ["plain,-server"], ["plain,--serve", "plain,--server"]),
        ("p2pal send --ser", 2, ["plain,--server", "plain,--serve"], ["plain,-server"]),
        ("p2pal send -r -server http://a rep", 5, ["file,rep"], []),
        ("p2pal send --serve rep", 3, ["file,rep"], []),
        ("p2pal recv zeb", 2, ["plain,zebra-"], []),
        ("p2pal recv zebra-lun", 2, ["plain,zebra-luna-"], []),
        ("p2pal recv -out dow", 3, ["file,dow"], []),
        ("p2pal completion z", 2, ["plain,zsh"], ["plain,bash"]),
    ],
)
def test_what_a_shell_is_told(words: str, index: int, found: list[str], missing: list[str]) -> None:
    done = process(env={"_P2PAL_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(index)})
    lines = done.stdout.splitlines()
    assert set(found) <= set(lines), lines
    assert not set(missing) & set(lines)
    assert done.stderr == ""
