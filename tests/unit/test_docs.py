"""What the documentation says is true of the code, where that can be checked cheaply."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import click
import pytest

from p2pal import errors
from p2pal.app import events
from p2pal.app.options import DEFAULT_SERVER
from p2pal.checkpoint import records
from p2pal.cli.commands import checkpoint
from p2pal.cli.commands.checkpoint_run import json_line
from p2pal.cli.exit import EXIT_CODES
from p2pal.cli.main import COMMANDS
from p2pal.crypto import keys
from p2pal.disk.checkpoints.store import CheckpointSummary
from p2pal.server.state import DENIALS
from p2pal.transfer.states import RECEIVER, SENDER
from p2pal.wire import rendezvous, signal, transfer

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
README: Final = (ROOT / "README.md").read_text(encoding="utf-8")
PROTOCOL: Final = (ROOT / "docs/protocol.md").read_text(encoding="utf-8")
DESIGN: Final = (ROOT / "docs/design.md").read_text(encoding="utf-8")
THREATS: Final = (ROOT / "docs/threat-model.md").read_text(encoding="utf-8")

_FENCE: Final = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK: Final = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])+\]\(([^()\s]+)\)")
_HEADING: Final = re.compile(r"^#+ +(.*)$", re.MULTILINE)
_CODE: Final = re.compile(r"`([^`]+)`")


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in _HEADING.findall(_FENCE.sub("", text)):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        number = 0
        while (unique := f"{slug}-{number}" if number else slug) in found:
            number += 1
        found.add(unique)
    return found


def section(text: str, heading: str) -> str:
    """What stands between a heading and the next one of any level."""
    headings = _FENCE.sub(lambda fence: fence[0].replace("#", " "), text)  # a comment in an example is none
    start = re.search(rf"^#+ +{re.escape(heading)}$", headings, re.MULTILINE)
    assert start is not None, heading
    end = _HEADING.search(headings, start.end())
    return text[start.end() : end.start() if end else len(text)]


def rows(text: str, first: str) -> Iterator[list[str]]:
    """The rows of all tables whose first column is headed so."""
    inside = False
    for line in text.splitlines():
        if not line.startswith("|"):
            inside = False
            continue
        cells = [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if cells[0] == first:
            inside = True
        elif inside and not set(cells[0]) <= {"-", ":"}:
            yield cells


def codes(cell: str) -> list[str]:
    return _CODE.findall(cell)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for link in _LINK.findall(_FENCE.sub("", text)):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), link


def default(option: click.Option) -> str:
    """What a flag table says of an option's default."""
    if option.is_flag:
        return "`false`"
    if option.name == "server":
        return f"`${option.envvar}`, else `{DEFAULT_SERVER}`"
    if option.envvar:
        return f"`${option.envvar}`"
    if option.multiple:
        return "none"
    if option.name == "serve":
        return "off"
    if option.name == "resume" or option.default == "":
        return "none"
    if option.name == "out":
        return "`.`, or where the transfer was"
    return f"`{option.default}`"


@pytest.mark.parametrize("name", ["send", "recv", "server", "doctor"])
def test_flag_tables_are_those_of_the_commands(name: str) -> None:
    command: click.Command = getattr(import_module(f"p2pal.cli.commands.{name}"), name)
    options = [param for param in command.params if isinstance(param, click.Option) and not param.hidden]
    table = [(codes(flag)[0], value) for flag, value, _ in rows(section(README, f"p2pal {name}"), "flag")]
    assert table == [(option.opts[0], default(option)) for option in options]


def test_every_command_is_in_the_readme() -> None:
    for name in COMMANDS:
        assert f"`p2pal {name}" in README


def test_every_checkpoint_command_is_in_the_readme() -> None:
    table = [codes(command)[0].split()[2] for command, _ in rows(section(README, "p2pal checkpoint"), "command")]
    assert table == list(checkpoint.COMMANDS)


def test_every_key_of_the_list_of_checkpoints_is_told() -> None:
    told = codes(section(README, "Scripting").partition("`checkpoint list --json` has")[2])
    assert set(told) == {*json.loads(json_line(CheckpointSummary("a" * 26, "send"))), "send", "receive"}


def test_every_kind_of_event_is_told() -> None:
    scripting = section(README, "Scripting")
    for kind in tags(events.AnyEvent):
        assert f"`{kind}`" in scripting or f'"event":"{kind}"' in scripting, kind


def test_exit_codes_are_those_of_the_help_and_of_the_errors() -> None:
    table = [(int(code), meaning) for code, meaning in rows(section(README, "Exit codes"), "code")]
    assert table == list(EXIT_CODES)
    classes = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.P2palError)]
    assert {code for code, _ in table} == {errors.EXIT_OK, *(each.exit_code for each in classes)}


def test_environment_variables_are_those_of_the_source() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    read = set(re.findall(r'(?:envvar=|os\.environ\.get\()"([A-Z0-9_]+)"', source)) - {"TERM"}
    told = {name for row in rows(section(README, "Environment variables"), "variable") for name in codes(row[0])}
    assert told >= read
    assert told - read == {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"}


def test_the_example_in_the_readme_is_the_file() -> None:
    assert f"```python\n{(ROOT / 'examples/api.py').read_text(encoding='utf-8')}```\n" in README


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^(\w+):", makefile, re.MULTILINE))
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert set(re.findall(r"(?:^|[` ])make ([a-z_]+)(?=`|$| {2,})", text, re.MULTILINE)) <= targets, page.name


def test_constants_have_the_values_that_are_told() -> None:
    table = [*rows(section(PROTOCOL, "Limits and constants"), "constant")]
    for heading in ("Congestion control", "Checkpoints and resuming", "Staying connected"):
        table += rows(section(DESIGN, heading), "constant")
    assert table
    for cell, value, _ in table:
        module, _, name = codes(cell)[0].rpartition(".")
        constant: Any = getattr(import_module(f"p2pal.{module}"), name)
        assert constant == (float(value) if "." in value else int(value.replace(",", ""))), cell


def test_key_labels_are_those_of_the_code() -> None:
    told = {codes(row[0])[0] for row in rows(section(PROTOCOL, "Keys"), "label")}
    assert told == set(re.findall(r"^``(\w+)``", keys.__doc__ or "", re.MULTILINE))


def test_refusals_and_close_codes_are_those_of_the_server() -> None:
    told = {codes(code)[0]: int(status) for code, status, _ in rows(section(PROTOCOL, "Rendezvous over HTTP"), "code")}
    http = {"malformed", "websocket-expected", "not-found", "method-not-allowed", "timeout", "internal"}
    assert {code: status for code, status in told.items() if code not in http} == {
        code: status for code, (status, _) in DENIALS.items()
    }
    closes = {int(code) for code, _, _ in rows(section(PROTOCOL, "The mailbox over WebSocket"), "code")}
    assert closes == set(rendezvous.CloseCode)


def tags(kinds: Any) -> set[str]:
    return {str(kind.__struct_config__.tag) for kind in kinds.__args__}


def test_messages_are_those_of_the_code() -> None:
    mailbox = section(PROTOCOL, "The mailbox over WebSocket")
    for heading, kinds in (
        ("client sends", rendezvous.ClientMessage),
        ("server sends", rendezvous.ServerMessage),
    ):
        assert {codes(row[0])[0] for row in rows(mailbox, heading)} == tags(kinds)
    exchange = {codes(row[0])[0] for row in rows(section(PROTOCOL, "Key exchange"), "`t`")}
    assert exchange == tags(signal.PakeMessage)
    assert {codes(row[0])[0] for row in rows(section(PROTOCOL, "Signaling messages"), "`t`")} == tags(
        signal.SignalMessage
    )


def test_records_and_reasons_are_those_of_the_code() -> None:
    told = {int(number, 16): codes(name)[0] for number, name, *_ in rows(section(PROTOCOL, "The transfer"), "type")}
    kinds = {number: kind.__name__ for number, kind in transfer._TYPES.items()}
    assert told == kinds | {transfer._CHUNK: "Chunk"}
    reasons = {int(number): codes(name)[0] for number, name, _ in rows(section(PROTOCOL, "The transfer"), "reason")}
    assert reasons == {reason.value: reason.name for reason in transfer.Reason}


def test_checkpoint_records_are_those_of_the_code() -> None:
    told = {int(number): codes(name)[0] for number, name, *_ in rows(section(DESIGN, "The checkpoint's file"), "tag")}
    assert told == {kind.__struct_config__.tag: kind.__name__ for kind in records.CheckpointRecord.__args__}


def test_states_are_those_of_the_code() -> None:
    states = section(PROTOCOL, "States")
    for heading, table in (("sender's state", SENDER), ("receiver's state", RECEIVER)):
        told = {codes(state)[0]: (text, set(codes(records))) for state, text, records in rows(states, heading)}
        assert told == {
            state.name: (state.value, {each.__name__ for each in inputs if not isinstance(each, str)})
            for state, inputs in table.items()
        }


def test_the_vectors_that_are_listed_exist() -> None:
    told = {codes(row[0])[0] for row in rows(section(PROTOCOL, "Test vectors"), "file")}
    assert told == {path.name for path in (ROOT / "tests/vectors").glob("*.json")}


def test_the_attacks_name_tests_that_exist() -> None:
    attacks = list(rows(THREATS, "attack"))
    assert attacks
    for *_, shown in attacks:
        source = ""
        for name in codes(shown):
            if name.endswith(".py"):
                path = ROOT / name if "/" in name else ROOT / "tests/security" / name
                source = path.read_text(encoding="utf-8")
            else:
                assert f"def {name}(" in source, name
        assert source or shown == "none needed", shown


def spelled(message: ast.expr) -> Iterator[str]:
    """The fixed parts of a message in the source, as long as they say something."""
    match message:
        case ast.Constant(str(text)):
            yield text
        case ast.JoinedStr(parts):
            yield "…".join(
                "" if isinstance(part, ast.FormattedValue) else str(ast.literal_eval(part)) for part in parts
            )
        case ast.IfExp(_, yes, no):
            yield from spelled(yes)
            yield from spelled(no)


def messages() -> Iterator[str]:
    """What the source gives to the errors that a user can meet; what a peer does wrong is one row for all."""
    kinds = {name for name, kind in vars(errors).items() if isinstance(kind, type)} - {"ProtocolError"}
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in kinds and node.args:
                yield from spelled(node.args[0])


def test_every_error_message_is_explained() -> None:
    start, end = README.index("## Troubleshooting"), README.index("## Limits and platforms")
    explained = README[start:end]
    parts = {part.strip() for message in messages() for part in re.split(r"…|'", message)}
    assert {part for part in parts if len(part) > 6 and part not in explained} == set()
