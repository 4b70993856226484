"""Send a file through the Python API, and receive it in the same process.

p2pal server &
python examples/api.py report.pdf inbox
"""

import asyncio
import sys
from pathlib import Path

import p2pal
from p2pal import events

SERVER = sys.argv[3] if len(sys.argv) > 3 else "http://localhost:8080"
CONNECT = p2pal.ConnectOptions(server=SERVER, stun=None)  # no STUN: both sides are on this machine


async def send(path: str, code: asyncio.Future[str]) -> None:
    """Send one file, and tell the join code as soon as there is one."""
    async with p2pal.send([path], options=p2pal.SendOptions(ttl=60), connect=CONNECT) as transfer:
        async for event in transfer:
            if isinstance(event, events.Code):
                code.set_result(event.code)
            elif isinstance(event, events.Progress):
                print(f"sent {event.done:,} of {event.total:,} bytes")
            elif isinstance(event, events.Summary):
                print(f"{event.files} file at {event.rate / 1e6:.0f} MB/s, {event.path}")


async def decide(offer: events.Offered, existing: list[str]) -> p2pal.Decision:
    """Accept up to 10 GB; keep what exists already (the new file gets another name)."""
    return p2pal.Decision(accept=offer.total <= 10_000_000_000, replace=False)


async def receive(code: asyncio.Future[str], folder: Path) -> None:
    """Receive into a folder."""
    options = p2pal.ReceiveOptions(out=folder)
    async with p2pal.receive(await code, options=options, connect=CONNECT, decide=decide) as transfer:
        async for event in transfer:
            if isinstance(event, events.FileDelivered):
                print(f"received {event.name}, verified")


async def main(path: str, folder: Path) -> int:
    """Run both sides; return an exit code."""
    code: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    failures: list[BaseException] = []
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(send(path, code))
            tasks.create_task(receive(code, folder))
    except* p2pal.P2palError as group:
        failures.extend(group.exceptions)
    for error in failures:
        print(f"it failed: {error}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    target = Path(sys.argv[2])
    target.mkdir(exist_ok=True)
    sys.exit(asyncio.run(main(sys.argv[1], target)))
