"""Standard streams that are closed, full or gone, in processes of their own."""

from __future__ import annotations

import io
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from p2pal.cli.streams import Writer
from p2pal.errors import OutputError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a shell that closes descriptors")


def run(code: str, redirections: str) -> subprocess.CompletedProcess[str]:
    """Run a program with its standard streams as a shell makes them."""
    shell = f'exec "$0" -c "$1" {redirections}'
    return subprocess.run(
        ["sh", "-c", shell, sys.executable, textwrap.dedent(code)],
        capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_what_is_opened_later_never_becomes_a_standard_stream(closed: str, tmp_path: Path) -> None:
    code = """
        import os, sys
        from p2pal.cli import streams
        streams.open_missing()
        with open(sys.argv[1] if len(sys.argv) > 1 else "/dev/null") as file:
            number = file.fileno()
        sys.stderr.write("lost or seen"), sys.stderr.flush()
        with open({path!r}, "w") as report:
            print(number, sys.stdin.read() == "", file=report)
    """
    done = run(code.format(path=str(tmp_path / "report")), closed)
    assert done.returncode == 0
    number, empty = (tmp_path / "report").read_text().split()
    assert int(number) > 2
    assert empty == "True"


@pytest.mark.parametrize("where", [">&-", ">/dev/full"])
def test_results_that_nobody_can_see_are_an_error(where: str) -> None:
    code = """
        import sys
        from p2pal.cli import streams
        from p2pal.errors import OutputError
        streams.open_missing()
        try:
            streams.write_results(["one", "two"])
        except OutputError as error:
            print(error.exit_code, error.message, file=sys.stderr)
        streams.settle()
    """
    done = run(code, where)
    assert done.returncode == 0
    why = "No space left on device" if "full" in where else "Bad file descriptor"
    assert done.stderr == f"1 cannot write to standard output: {why}\n"


def test_a_reader_that_goes_away_is_no_error() -> None:
    code = "from p2pal.cli import streams; streams.write_results(['x' * 100000] * 100); streams.settle()"
    done = run(code, "| head -c 1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "x", "")


class _Full(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def test_a_vital_line_must_be_written() -> None:
    writer = Writer(_Full())
    writer.line("not so important")
    with pytest.raises(OutputError, match="No space left on device"):
        writer.vital_line("important")
    out = io.StringIO()
    Writer(out).vital_line("important")
    assert out.getvalue() == "important\n"


@pytest.mark.parametrize(
    "args",
    [["--version"], ["--help"], ["send", "--help"], ["server", "--help"], ["checkpoint", "list"],
     ["completion", "bash"]],
)  # fmt: skip
@pytest.mark.parametrize("where", [">/dev/full", ">&-", ">/dev/full 2>&1", ">&- 2>&-"])
def test_the_exit_code_tells_that_nothing_was_shown(args: list[str], where: str, tmp_path: Path) -> None:
    shell = f'P2PAL_HOME="$0" exec "$@" {where}'
    done = subprocess.run(
        ["sh", "-c", shell, str(tmp_path), sys.executable, "-m", "p2pal", *args],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    if "2>" not in where:
        assert done.stderr.startswith("p2pal: cannot write to standard output: ")
        assert done.stderr.count("\n") == 1
