"""What the documentation says is true of the code, where that can be checked cheaply."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import click
import pytest

from p2pal import errors
from p2pal.app import events
from p2pal.app.options import DEFAULT_SERVER, MAX_CHUNK_KIB, SMALL_CHUNK_KIB
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
DECISIONS: Final = sorted((ROOT / "docs/decisions").glob("[0-9]*.md"))
PAGES: Final = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
README: Final = (ROOT / "README.md").read_text(encoding="utf-8")
PROTOCOL: Final = (ROOT / "docs/protocol.md").read_text(encoding="utf-8")
DESIGN: Final = (ROOT / "docs/design.md").read_text(encoding="utf-8")
THREATS: Final = (ROOT / "docs/threat-model.md").read_text(encoding="utf-8")
CONTRIBUTING: Final = (ROOT / "docs/contributing.md").read_text(encoding="utf-8")
TROUBLE: Final = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")

ERRORS: Final = [
    kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.P2palError)
]

CONSTANTS: Final = {
    "version between client and server": "wire.rendezvous.VERSION",
    "version between peers": "wire.signal.PROTOCOL_VERSION",
    "messages in a log": "wire.rendezvous.MAX_MESSAGES",
    "message of a log": "wire.rendezvous.MAX_BODY",
    "log": "wire.rendezvous.MAX_LOG",
    "WebSocket message": "wire.rendezvous.MAX_FRAME",
    "URLs of STUN and TURN servers": "wire.rendezvous.MAX_ICE_URLS",
    "words of a code, at least": "crypto.codes.MIN_WORDS",
    "words of a code, at most": "crypto.codes.MAX_WORDS",
    "highest slot": "crypto.codes.MAX_SLOT",
    "failed key exchanges": "peer.key_exchange.MAX_GUESSES",
    "element of the key exchange": "crypto.pake.ELEMENT_BYTES",
    "tag of a seal": "crypto.seal.TAG_BYTES",
    "padding of a mailbox message": "crypto.seal.PADDED_TO",
    "sealed frames of a lane and direction": "crypto.seal.MAX_FRAMES",
    "number of the meeting": "peer.sealed_logs.MEETING",
    "SDP": "wire.signal.MAX_SDP",
    "candidate": "wire.signal.MAX_CANDIDATE",
    "candidates of a generation": "link.offer_answer.MAX_CANDIDATES",
    "time of a generation": "link.generations.ATTEMPT_TIMEOUT",
    "time of the first generation": "link.generations.FIRST_ATTEMPT",
    "more time at the follower": "link.generations.FOLLOWER_SLACK",
    "silence of a lane": "session.lane.SILENT_AFTER",
    "head of DATA": "wire.frames.DATA_HEADER",
    "end of the numbers of DATA": "wire.frames.MAX_NUMBER",
    "ranges in an ACK": "wire.frames.MAX_RANGES",
    "lanes in an ACK": "wire.frames.MAX_LANES",
    "reason of CLOSE": "wire.frames.MAX_REASON",
    "window, at least": "session.core.MIN_WINDOW_FRAMES",
    "wait for the answer to CLOSE": "session.core.CLOSE_WAIT",
    "DATA frames for an ACK": "session.lane.ACK_EVERY",
    "delay of an ACK": "session.lane.ACK_DELAY",
    "PING after DATA": "session.lane.PROBE_AFTER",
    "PING when idle": "session.lane.IDLE_PING",
    "PINGs without a PONG": "session.lane.MAX_PONGS",
    "DATA before a control frame": "lanes.base.BUFFER_LIMIT",
    "path, and target of a link": "wire.transfer.MAX_PATH",
    "part of a path": "disk.fs.names.MAX_NAME",
    "entries of an offer": "wire.transfer.MAX_ENTRIES",
    "directories of an offer": "wire.transfer.MAX_DIRECTORIES",
    "top-level entries of an offer": "wire.transfer.MAX_TOPS",
    "offer": "wire.transfer.MAX_OFFER_BYTES",
    "file, and all files of an offer": "wire.transfer.MAX_FILE_SIZE",
    "head of a record": "wire.transfer.RECORD_HEADER",
    "head of a `Chunk`": "wire.transfer.CHUNK_HEADER",
    "entries of an `OfferPart`": "wire.transfer.MAX_PART_ENTRIES",
    "ranges in a `Want`": "wire.transfer.MAX_RANGES",
    "ranges of pieces in all `Want`s": "wire.transfer.MAX_WANTED_RANGES",
    "verdicts in a `Verdicts`": "wire.transfer.MAX_VERDICTS",
    "text beside a reason": "wire.transfer.MAX_TEXT",
    "piece, at least": "wire.pieces.MIN_PIECE_SIZE",
    "piece, at most": "wire.pieces.MAX_PIECE_SIZE",
    "pieces before they grow": "wire.pieces.TARGET_PIECES",
    "repaired pieces": "wire.pieces.MAX_REPAIRS",
    "files without a verdict": "wire.pieces.MAX_UNJUDGED",
    "wait for the last verdicts": "transfer.sender.SETTLE_TIME",
    "receive window": "peer.peer.WINDOW",
    "more silence without retries": "link.retry.CERTAIN",
    "backoff, at most": "link.backoff.MAX_BACKOFF",
    "patience with an outage": "link.backoff.MIN_PATIENCE",
    "lane that has shown that it works": "link.backoff.PROVEN",
    "absence that means nothing": "link.presence.FLAP",
    "wait for what is gone": "link.negotiator.DEFAULT_WAIT",
    "first link": "link.first_link.FIRST_LINK",
    "first link, at most": "link.first_link.FIRST_LINK_MOST",
    "first link, more at the follower": "link.first_link.FIRST_SLACK",
    "absence before the first link": "link.first_link.FIRST_ABSENCE",
    "prompt candidates": "link.first_link.PROMPT",
    "first try after prompt candidates": "link.first_link.FIRST_TRY",
    "offers answered at once": "link.offer_answer.MAX_OFFERS",
    "pause between further offers": "link.offer_answer.OFFER_PAUSE",
    "first look after a new address": "link.path_upgrade.SETTLED",
    "first look while relayed": "link.path_upgrade.FIRST_LOOK",
    "rarest look": "link.path_upgrade.RAREST_LOOK",
    "looks at full pace": "link.path_upgrade.LOOKS",
    "pause between looks": "link.path_upgrade.DISTANCE",
    "time of a look": "link.generations.IMPROVEMENT_TIMEOUT",
    "steady direct path": "link.path_upgrade.STEADY",
    "direct path kept": "link.path_upgrade.KEPT",
    "direct path kept, at most": "link.path_upgrade.KEPT_MOST",
    "calm before that starts over": "link.path_upgrade.CALM",
    "lowest port of a candidate": "lanes.candidate_filter.FIRST_PORT",
    "addresses of a generation": "lanes.candidate_filter.MOST_HOSTS",
    "standing still that counts as sleep": "peer.timer.SLEPT",
    "answer of the server to `ice`": "peer.signaling.ANSWER",
    "answer to a knock": "peer.signaling.KNOCK_LIMIT",
    "knocks that wait together": "peer.signaling.MOST_KNOCKS",
    "wait for the proof of a newcomer": "app.send.PROOF",
}
"""What docs/protocol.md calls a limit, and where the code has it: the page serves implementations in any language."""

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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
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
    if option.name in {"resume", "code_file", "files_from"} or option.default == "":
        return "none"
    if option.name == "chunk_size":
        return f"`{SMALL_CHUNK_KIB}` or `{MAX_CHUNK_KIB}`, by the path"
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
    assert {code for code, _ in table} == {errors.EXIT_OK, *(kind.exit_code for kind in ERRORS)}


def test_environment_variables_are_those_of_the_source() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    read = set(re.findall(r'(?:envvar=|os\.environ\.get\()"([A-Z0-9_]+)"', source)) - {"TERM"}
    told = {name for row in rows(section(README, "Environment variables"), "variable") for name in codes(row[0])}
    assert told >= read
    assert told - read == {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"}


def test_the_example_in_the_readme_is_the_file() -> None:
    assert f"```python\n{(ROOT / 'examples/api.py').read_text(encoding='utf-8')}```\n" in README


def test_the_figures_of_the_readme_are_those_of_the_page_that_tells_how_they_were_measured() -> None:
    page = (ROOT / "docs/performance.md").read_text(encoding="utf-8")
    told = list(rows(section(README, "Performance"), "what"))
    assert len(told) == 3
    assert [[what, figure] for what, figure, _ in rows(section(page, "The README's three figures"), "what")] == told


def test_scripts_that_the_page_of_performance_names_exist() -> None:
    page = (ROOT / "docs/performance.md").read_text(encoding="utf-8")
    scripts = set(re.findall(r"bench/\w+\.py", page))
    assert {"bench/run.py", "bench/wan.py"} < scripts
    assert [script for script in scripts if not (ROOT / script).is_file()] == []


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^(\w+):", makefile, re.MULTILINE))
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert set(re.findall(r"(?:^|[` ])make ([a-z_]+)(?=`|$| {2,})", text, re.MULTILINE)) <= targets, page.name


def holds(value: str, name: str) -> bool:
    """Whether a constant of the code, named below p2pal, has the value that a page tells."""
    module, _, attribute = name.rpartition(".")
    constant: Any = getattr(import_module(f"p2pal.{module}"), attribute)
    return bool(constant == (float(value) if "." in value else int(value.replace(",", ""))))


def test_constants_of_the_protocol_have_the_values_that_are_told() -> None:
    table = [*rows(PROTOCOL, "constant")]
    assert [name for name, _, _ in table] == list(CONSTANTS)
    assert [name for name, value, _ in table if not holds(value, CONSTANTS[name])] == []


def test_constants_of_the_design_have_the_values_that_are_told() -> None:
    table = [*rows(DESIGN, "constant")]
    assert table
    assert [cell for cell, value, _ in table if not holds(value, codes(cell)[0])] == []


def contracts() -> dict[str, dict[str, Any]]:
    """The contracts of import-linter by their names."""
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    return {contract["name"]: contract for contract in tools["importlinter"]["contracts"]}


def test_the_floors_are_those_of_the_contract() -> None:
    floors = [floor.replace("p2pal.", "") for floor in contracts()["The floors"]["layers"]]
    drawn = section(DESIGN, "The floors").split("```")[1]
    assert [re.split(r"\s{2,}", line)[0] for line in drawn.strip().splitlines()] == floors
    assert [
        line.strip() for line in re.findall(r"^    .+$", section(CONTRIBUTING, "The floors"), re.MULTILINE)
    ] == floors


def test_what_is_pure_is_that_of_the_contract() -> None:
    pure = contracts()["Pure floors have no loop, clock, socket, thread or engine"]
    told: set[str] = set()
    for packages, modules in rows(section(CONTRIBUTING, "What is pure"), "package"):
        for package in codes(packages):
            told |= {f"{package}.{module}" for module in codes(modules)} or {package}
    assert told == {name.removeprefix("p2pal.") for name in pure["source_modules"]}
    told_of = section(CONTRIBUTING, "The floors").replace("\n  ", " ")
    assert all(name in told_of for name in set(pure["forbidden_modules"]) - {"webrtc", "wrtc"})


def test_the_table_of_changes_is_that_of_the_tree() -> None:
    source = ROOT / "src/p2pal"
    named: set[Path] = set()
    for change, where, with_it in rows(section(CONTRIBUTING, "Where does my change go"), "change"):
        paths = [code for code in codes(where) if re.search(r"/|\.py$", code)]
        assert paths or not where, change
        named |= {source / path for path in paths}
        assert [path for path in paths if not (source / path).exists()] == [], change
        assert [path for path in codes(with_it) if "/" in path and not (ROOT / path).exists()] == [], change
    packages = {path.parent for path in source.rglob("__init__.py")} - {source}
    assert sorted(packages - named - {path.parent for path in named}) == []


def test_paths_of_the_source_that_pages_name_exist() -> None:
    for page in (*DECISIONS, ROOT / "docs/design.md", ROOT / "docs/contributing.md", ROOT / "docs/resume.md"):
        for path in re.findall(r"`([a-z_]+/[\w/]+\.py)`", page.read_text(encoding="utf-8")):
            assert (ROOT / "src/p2pal" / path).exists() or (ROOT / path).exists(), (page.name, path)


def test_every_package_says_in_two_lines_what_lives_there() -> None:
    for path in (ROOT / "src/p2pal").glob("*/**/__init__.py"):
        told = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        assert told, path
        assert len(told.splitlines()) <= 2, path


def test_every_decision_is_short_and_in_the_index() -> None:
    index = (ROOT / "docs/decisions/README.md").read_text(encoding="utf-8")
    titles: dict[str, str] = {}
    for number, page in enumerate(DECISIONS, 1):
        text = page.read_text(encoding="utf-8")
        title, *parts = _HEADING.findall(text)
        assert page.name.startswith(f"{number:04}-"), page.name
        assert title.startswith(f"{number}. "), page.name
        assert parts == ["Context", "Decision", "Consequences"], page.name
        assert len(text.splitlines()) <= 32, page.name
        titles[title] = page.name
    listed = re.findall(r"^- \[(.+)\]\((.+)\)$", index, re.MULTILINE)
    assert sorted(listed) == sorted(titles.items())


def test_the_protocol_can_be_read_without_the_source() -> None:
    assert set(re.findall(r"src/[\w/.]+", PROTOCOL)) == {"src/p2pal/crypto/words.py"}  # the list of words, as data
    packages = "|".join(path.name for path in (ROOT / "src/p2pal").iterdir() if path.is_dir())
    assert re.findall(rf"`(?:p2pal\.)?(?:{packages})\.[\w.]+`", PROTOCOL) == []


def test_the_words_of_a_farewell_are_short_names_of_errors() -> None:
    told = section(PROTOCOL, "The link: generations").partition("A side that gives up says `bye`")[2]
    assert set(codes(told)) <= {kind.code for kind in ERRORS}
    assert codes(told)


def test_key_labels_are_those_of_the_code() -> None:
    told = {codes(row[0])[0] for row in rows(section(PROTOCOL, "Keys"), "label")}
    assert told == set(re.findall(r"^``(\w+)``", keys.__doc__ or "", re.MULTILINE))


def test_refusals_and_close_codes_are_those_of_the_server() -> None:
    told = {codes(code)[0]: int(status) for code, status, _ in rows(section(PROTOCOL, "Rendezvous over HTTP"), "code")}
    http = {"malformed", "websocket-expected", "not-found", "method-not-allowed", "timeout", "internal", "no-metrics"}
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


def test_troubleshooting_has_every_exit_code_and_every_class() -> None:
    told: dict[int, list[str]] = {}
    for level, heading in re.findall(r"^(##+) (.+)$", TROUBLE, re.MULTILINE):
        if code := re.match(r"Exit (\d+): ", heading):
            told[int(code[1])] = []
        elif level == "###":
            told[next(reversed(told))].append(heading)
    assert list(told) == [code for code, _ in EXIT_CODES]
    kinds = {code: {kind.__name__ for kind in ERRORS if kind.exit_code == code} for code in told}
    assert {code: set(names) for code, names in told.items()} == kinds
    overview = {int(code[1 : code.index("]")]): codes(names) for code, names in rows(TROUBLE, "code")}
    assert overview == told


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_troubleshooting_says_what_each_class_means_and_what_to_do(kind: type[errors.P2palError]) -> None:
    text = section(TROUBLE, kind.__name__)
    assert text.split("\n\n")[1] == f"`{kind.code}`"
    assert re.findall(r"^- \*\*(.+)\*\*: .", text, re.MULTILINE) == ["Means", "Usual cause", "What to do"]
