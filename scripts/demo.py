"""The main job, in front of your eyes: a server, a sender and a receiver, each a process of its own, on loopback.

Sends a small tree and a 64 MiB file, shows the bars that a user sees, compares every byte, says how fast
it was and over which path, and cleans up after itself. Nothing leaves this machine.
"""

from __future__ import annotations

import filecmp
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

P2PAL = [sys.executable, "-m", "p2pal"]
ENV = os.environ | {"P2PAL_ONLY_LOOPBACK": "1"}
DEADLINE = 120.0


def make_tree(root: Path) -> None:
    """Write a small tree with what real trees have: scripts of the world, empty files, links, modes."""
    album = root / "photos"
    (album / "2026 Zürich" / "été").mkdir(parents=True)
    (album / "empty folder").mkdir()
    (album / "2026 Zürich" / "日本語.txt").write_text("こんにちは\n", encoding="utf-8")
    (album / "2026 Zürich" / "été" / "plage.jpg").write_bytes(os.urandom(300_000))
    (album / "notes.txt").write_text("direct, ephemeral\n", encoding="utf-8")
    (album / "empty").touch()
    (album / "run.sh").write_text("#!/bin/sh\n", encoding="utf-8")
    (album / "run.sh").chmod(0o755)
    (album / "latest").symlink_to("2026 Zürich")
    for number in range(50):
        (album / f"thumb-{number:03}.bin").write_bytes(os.urandom(1000 + number))
    block = os.urandom(1 << 20)
    with (root / "disk.img").open("wb") as file:
        for number in range(64):
            file.write(number.to_bytes(8, "big") + block[8:])


def differences(left: Path, right: Path) -> list[str]:
    """Return what differs between two trees: names, kinds, bytes, modes, times."""
    found = []
    names = {p.relative_to(left) for p in left.rglob("*")} | {p.relative_to(right) for p in right.rglob("*")}
    for name in sorted(names):
        a, b = left / name, right / name
        if not (os.path.lexists(a) and os.path.lexists(b)):
            found.append(f"{name}: only on one side")
        elif a.is_symlink() or b.is_symlink():
            if not (a.is_symlink() and b.is_symlink() and os.readlink(a) == os.readlink(b)):
                found.append(f"{name}: the links differ")
        elif a.is_file() and not (b.is_file() and filecmp.cmp(a, b, shallow=False)):
            found.append(f"{name}: the bytes differ")
        elif a.stat().st_mode != b.stat().st_mode or a.stat().st_mtime_ns != b.stat().st_mtime_ns:
            found.append(f"{name}: mode or time differ")
    return found


def end(process: subprocess.Popen[str]) -> None:
    """Stop a process that we started."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def first_match(process: subprocess.Popen[str], pattern: str) -> str:
    """Read a process's lines until one matches, and return the match."""
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(pattern, line):
            return found.group(0)
    message = f"{process.args!r} ended without saying {pattern!r}"
    raise SystemExit(message)


def main() -> int:
    """Run the demo; return the exit code."""
    work = Path(tempfile.mkdtemp(prefix="p2pal-demo-"))
    processes: list[subprocess.Popen[str]] = []

    def give_up() -> None:
        for process in processes:
            process.kill()

    watchdog = threading.Timer(DEADLINE, give_up)
    watchdog.daemon = True
    watchdog.start()
    try:
        source, target = work / "source", work / "target"
        source.mkdir()
        target.mkdir()
        make_tree(source)

        print("1. a signaling server on a free loopback port:  p2pal server --host 127.0.0.1 --port 0", flush=True)
        server = subprocess.Popen(
            [*P2PAL, "server", "--host", "127.0.0.1", "--port", "0"], stderr=subprocess.STDOUT, stdout=subprocess.PIPE,
            text=True, env=ENV,
        )  # fmt: skip
        processes.append(server)
        url = "http://127.0.0.1:" + first_match(server, r"(?<= port=)\d+")
        threading.Thread(target=server.communicate, daemon=True).start()

        names = ["photos", "disk.img"]
        print(f"2. the sender:  p2pal send -y -r {' '.join(names)}", flush=True)
        sender = subprocess.Popen(
            [*P2PAL, "send", "-server", url, "-stun", "none", "-y", "-r", "--json", *names],
            cwd=source, stdout=subprocess.PIPE, text=True, env=ENV,
        )  # fmt: skip
        processes.append(sender)
        assert sender.stdout is not None
        code = ""
        for line in sender.stdout:
            event = json.loads(line)
            if event["event"] == "code":
                code = event["code"]
                break
        print(f"   Join code: {code}", flush=True)

        print(f"3. the receiver:  p2pal recv -y {code}\n", flush=True)
        started = time.monotonic()
        receiver = subprocess.Popen(
            [*P2PAL, "recv", "-server", url, "-stun", "none", "-y", "-out", str(target), code], text=True, env=ENV
        )
        processes.append(receiver)
        summary = {}
        for line in sender.stdout:
            event = json.loads(line)
            if event["event"] in ("summary", "error"):
                summary = event
        codes = receiver.wait(), sender.wait()
        seconds = time.monotonic() - started

        print()
        if codes != (0, 0) or not summary.get("ok"):
            print(f"the transfer failed: receiver exit {codes[0]}, sender exit {codes[1]}, {summary}")
            return 1
        wrong = differences(source, target)
        if wrong:
            print("the trees differ:", *wrong, sep="\n  ")
            return 1
        print(f"4. every byte, name, mode and time is the same: {summary['files']} files, {summary['total']:,} bytes")
        print(f"   {summary['rate'] / 1e6:.0f} MB/s ({summary['path']}),", end=" ")
        print(f"{seconds:.1f} s from Enter to the end")
        return 0
    finally:
        watchdog.cancel()
        for process in reversed(processes):
            end(process)
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
