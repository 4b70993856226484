from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

import pytest
from aiohttp import web
from tests.unit.rendezvous.proxy import Proxy, proxy_to
from tests.unit.server.kit import Kit, odd_server, serving

from p2pal import errors
from p2pal.rendezvous import events as e
from p2pal.rendezvous import mailbox as mailbox_module
from p2pal.rendezvous.client import RendezvousClient
from p2pal.rendezvous.mailbox import Mailbox
from p2pal.server.config import ServerConfig
from p2pal.wire import rendezvous as wire
from p2pal.wire.rendezvous import State

E = TypeVar("E", bound=e.MailboxEvent)


async def expect(mailbox: Mailbox, kind: type[E]) -> E:
    async with asyncio.timeout(30):
        while True:
            event = await mailbox.get()
            if isinstance(event, kind):
                return event


@dataclass
class Pair:
    kit: Kit
    proxy: Proxy
    created: wire.Created
    sender: Mailbox
    receiver: Mailbox
    sender_run: asyncio.Task[None]
    receiver_run: asyncio.Task[None]


@asynccontextmanager
async def pair(patience: float | None = 120.0) -> AsyncIterator[Pair]:
    """Two mailboxes through one proxy, attempt 1 served."""
    async with serving() as kit, proxy_to(kit.server.port) as proxy, RendezvousClient(proxy.url) as client:
        created = await kit.create()
        joined = await kit.join(created.slot)
        sender = client.mailbox("send", created.token, patience=patience)
        receiver = client.mailbox("receive", joined.token, patience=patience)
        runs = asyncio.create_task(sender.run()), asyncio.create_task(receiver.run())
        try:
            assert await expect(sender, e.AttemptServed) == e.AttemptServed(1)
            yield Pair(kit, proxy, created, sender, receiver, *runs)
        finally:
            await sender.close()
            await receiver.close()
            for run in runs:
                with suppress(errors.P2palError):
                    await run


async def test_messages_accept_ice_and_completion() -> None:
    async with pair() as p:
        assert p.sender.append(1, b"a0") == 0
        assert await expect(p.receiver, e.PeerMessage) == e.PeerMessage(1, 0, b"a0")
        assert p.receiver.append(1, b"b0") == 0
        assert await expect(p.sender, e.PeerMessage) == e.PeerMessage(1, 0, b"b0")
        p.sender.ask_ice()
        assert await expect(p.sender, e.IceServersOffered) == e.IceServersOffered(())
        p.sender.accept(1)
        while (await expect(p.receiver, e.StateReported)).state is not State.ACTIVE:
            pass
        p.sender.complete()
        await p.sender_run
        await p.receiver_run
        with pytest.raises(errors.ServerRefused):
            await expect(p.receiver, e.ServerOffline)


async def test_cuts_lose_and_repeat_nothing() -> None:
    async with pair() as p:
        sent = [b"%d" % n for n in range(60)]
        for n, body in enumerate(sent):
            p.sender.append(1, body)
            p.receiver.append(1, body)
            if n % 20 == 10:
                p.proxy.cut()
                await expect(p.sender, e.ServerOnline)
        got = [await expect(p.receiver, e.PeerMessage) for _ in sent]
        assert [(message.index, message.body) for message in got] == list(enumerate(sent))


async def test_a_cut_is_told_and_patience_ends() -> None:
    async with pair(patience=0.0) as p:
        p.proxy.refusing = True
        p.proxy.cut()
        with pytest.raises(errors.ServerUnreachable):
            await p.sender_run
        with pytest.raises(errors.ServerUnreachable):
            await p.receiver_run


async def test_offline_then_online() -> None:
    async with pair() as p:
        p.proxy.refusing = True
        p.proxy.cut()
        assert (await expect(p.sender, e.ServerOffline)).seconds == 0
        p.sender.append(1, b"meanwhile")
        p.proxy.refusing = False
        await expect(p.sender, e.ServerOnline)
        assert (await expect(p.receiver, e.PeerMessage)).body == b"meanwhile"


async def test_who_waits_is_told_of_an_outage_that_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    told: asyncio.Queue[float] = asyncio.Queue()
    async with serving() as kit, proxy_to(kit.server.port) as proxy, RendezvousClient(proxy.url) as client:
        created = await kit.create()
        mailbox = client.mailbox("send", created.token, waiting=told.put_nowait)
        run = asyncio.create_task(mailbox.run())
        await expect(mailbox, e.StateReported)
        proxy.cut()  # over in a moment
        await expect(mailbox, e.ServerOnline)
        monkeypatch.setattr(mailbox_module, "TOLD_AFTER", 0.3)
        proxy.refusing = True
        proxy.cut()
        async with asyncio.timeout(20):
            assert await told.get() == 119.7
            proxy.refusing = False
            assert await told.get() == 0.0
        proxy.refusing = True
        proxy.cut()
        await expect(mailbox, e.ServerOffline)
        await mailbox.close()
        await run
        assert told.empty()


async def test_without_a_limit_the_mailbox_does_not_give_up() -> None:
    async with pair(patience=None) as p:
        p.proxy.refusing = True
        p.proxy.cut()
        for _ in range(3):
            await expect(p.sender, e.ServerOffline)
        p.proxy.refusing = False
        await expect(p.sender, e.ServerOnline)


async def test_renewing_loses_and_repeats_nothing() -> None:
    async with pair() as p:
        sent = [b"%d" % n for n in range(60)]
        for n, body in enumerate(sent):
            p.sender.append(1, body)
            p.receiver.append(1, body)
            if n % 10 == 5:
                p.sender.renew()
                p.receiver.renew()
                await expect(p.sender, e.ServerOnline)
        got = [await expect(p.receiver, e.PeerMessage) for _ in sent]
        assert [(message.index, message.body) for message in got] == list(enumerate(sent))


async def test_renewing_does_not_wait_for_a_server_that_is_silent() -> None:
    async with pair() as p:
        p.proxy.frozen = True
        p.sender.append(1, b"before")
        p.proxy.forget()
        p.sender.renew()
        await expect(p.sender, e.ServerOnline)
        p.receiver.renew()
        assert (await expect(p.receiver, e.PeerMessage)).body == b"before"


async def test_renewing_ends_the_wait_before_the_next_try() -> None:
    async with pair() as p:
        p.proxy.refusing = True
        p.proxy.cut()
        for _ in range(4):
            await expect(p.sender, e.ServerOffline)
        p.proxy.refusing = False
        p.sender.renew()
        await expect(p.sender, e.ServerOnline)


async def test_a_socket_that_is_silently_dead_is_noticed_on_both_ends() -> None:
    async with (
        serving(ServerConfig(port=0, heartbeat=0.1, drain=0.2)) as kit,
        proxy_to(kit.server.port) as proxy,
        RendezvousClient(proxy.url) as client,
        RendezvousClient(kit.server.url) as direct,
    ):
        created = await kit.create()
        joined = await kit.join(created.slot)
        observer = direct.mailbox("receive", joined.token, heartbeat=0.1)
        sender = client.mailbox("send", created.token, heartbeat=0.1)
        runs = asyncio.create_task(sender.run()), asyncio.create_task(observer.run())
        await expect(sender, e.AttemptServed)
        assert (await expect(observer, e.PeerOnline)).online
        proxy.frozen = True
        await expect(sender, e.ServerOffline)
        while (await expect(observer, e.PeerOnline)).online:
            pass
        proxy.forget()
        sender.renew()
        await expect(sender, e.ServerOnline)
        while not (await expect(observer, e.PeerOnline)).online:
            pass
        await sender.close()
        await observer.close()
        await asyncio.gather(*runs)


async def test_the_mailboxes_of_a_meeting() -> None:
    async with serving() as kit, RendezvousClient(kit.server.url) as client:
        meeting = "a2" * 13
        sent, received = await client.meet(meeting, "send"), await client.meet(meeting, "receive")
        sender = client.mailbox("send", sent.token, patience=None)
        first = client.mailbox("receive", received.token, patience=None)
        runs = [asyncio.create_task(mailbox.run()) for mailbox in (sender, first)]
        assert await expect(sender, e.AttemptServed) == e.AttemptServed(1)
        first.append(1, b"from the receiver")
        assert (await expect(sender, e.PeerMessage)).body == b"from the receiver"
        sender.append(1, b"from the sender")
        assert (await expect(first, e.PeerMessage)).body == b"from the sender"
        received = await client.meet(meeting, "receive")
        assert await expect(first, e.AttemptReleased) == e.AttemptReleased(1, "renewed")
        second = client.mailbox("receive", received.token, patience=None)
        runs.append(asyncio.create_task(second.run()))
        assert await expect(sender, e.AttemptReleased) == e.AttemptReleased(1, "renewed")
        assert await expect(sender, e.AttemptServed) == e.AttemptServed(2)
        sender.complete()
        await asyncio.gather(*runs)


async def test_close_flushes_what_is_queued() -> None:
    async with pair() as p:
        p.sender.append(1, b"wrong")
        p.sender.release(1, "wrong-code")
        await p.sender.close()
        assert (await expect(p.receiver, e.PeerMessage)).body == b"wrong"
        assert await expect(p.receiver, e.AttemptReleased) == e.AttemptReleased(1, "wrong-code")
        await p.receiver_run
        await p.sender_run


async def test_a_receiver_leaves() -> None:
    async with pair() as p:
        p.receiver.leave()
        assert await expect(p.sender, e.AttemptReleased) == e.AttemptReleased(1, "left")
        await p.receiver_run


async def test_a_deleted_transfer_is_unknown_to_the_receiver() -> None:
    async with pair() as p:
        async with RendezvousClient(p.kit.server.url) as client:
            await client.delete(p.created.rendezvous_id, p.created.token)
        with pytest.raises(errors.CodeUnknown):
            await p.receiver_run


async def test_an_expired_transfer() -> None:
    async with serving(ServerConfig(port=0, min_ttl=0.01)) as kit, RendezvousClient(kit.server.url) as client:
        created = await client.create(0.1)
        with pytest.raises(errors.CodeExpired):
            await client.mailbox("send", created.token).run()


async def test_a_token_that_nobody_knows() -> None:
    async with serving() as kit, RendezvousClient(kit.server.url) as client:
        for token in ("0" * 32 + ".0." + "x" * 32, "y" * 40):
            with pytest.raises(errors.CodeUnknown):
                await client.mailbox("send", token).run()


async def test_close_without_a_server_or_a_run_returns() -> None:
    async with serving() as kit, proxy_to(kit.server.port) as proxy, RendezvousClient(proxy.url) as client:
        created = await client.create(60)
        proxy.refusing = True
        proxy.cut()
        mailbox = client.mailbox("send", created.token)
        await mailbox.close()
        mailbox = client.mailbox("send", created.token)
        run = asyncio.create_task(mailbox.run())
        await expect(mailbox, e.ServerOffline)
        mailbox.complete()
        await mailbox.close()
        await run


async def test_no_mailbox_at_that_address() -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=404)

    async with odd_server(answer) as url, RendezvousClient(url) as client:
        with pytest.raises(errors.ServerRefused):
            await client.mailbox("send", "t" * 32).run()


@pytest.mark.parametrize(
    "said",
    [
        b"nonsense",
        b'{"type":"message","attempt":1,"index":0,"body":""}',
        b'{"type":"welcome","state":"dancing","expires_in":1}',
        b'{"type":"error","code":"\\u001b[2J"}',
        b'{"x":' + b"[" * 50_000,
        b" " * (wire.MAX_FRAME + 1),
    ],
)
async def test_a_server_that_speaks_nonsense(said: bytes) -> None:
    async def answer(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        await ws.receive()
        await ws.send_str(said.decode())
        await ws.receive()
        return ws

    async with odd_server(answer) as url, RendezvousClient(url) as client:
        with pytest.raises(errors.ServerRefused) as caught:
            await client.mailbox("send", "t" * 32).run()
        assert "\x1b" not in str(caught.value)


class Doorkeeper:
    """A server that refuses the first sockets, closes the next with this code, and tells others that it is over."""

    def __init__(self, *refusals: web.Response, close: int = wire.CloseCode.GOING_AWAY) -> None:
        self.refusals = list(refusals)
        self.closes: list[int] = [close]
        self.asked: list[float] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(asyncio.get_running_loop().time())
        if self.refusals:
            return self.refusals.pop(0)
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        await ws.receive()
        state, code = (State.PENDING, self.closes.pop()) if self.closes else (State.COMPLETED, wire.CloseCode.OVER)
        await ws.send_str(wire.encoder.encode(wire.Welcome(state, 5.0)).decode())
        await ws.close(code=code)
        return ws


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_a_refused_socket_is_tried_again_no_sooner_than_the_server_wants(status: int) -> None:
    keeper = Doorkeeper(web.Response(status=status, headers={"Retry-After": "1"}))
    async with odd_server(keeper.handle) as url, RendezvousClient(url) as client:
        mailbox = client.mailbox("send", "t" * 32)
        running = asyncio.create_task(mailbox.run())
        await expect(mailbox, e.ServerOnline)
        await mailbox.close()
        await running
    assert keeper.asked[1] - keeper.asked[0] >= 1.0


@pytest.mark.parametrize("after", ["1000000000", "-3", "soon", ""])
async def test_an_odd_wish_changes_nothing(after: str) -> None:
    keeper = Doorkeeper(web.Response(status=503, headers={"Retry-After": after}))
    async with asyncio.timeout(10), odd_server(keeper.handle) as url, RendezvousClient(url) as client:
        mailbox = client.mailbox("send", "t" * 32)
        running = asyncio.create_task(mailbox.run())
        await expect(mailbox, e.ServerOnline)
        await mailbox.close()
        await running


@pytest.mark.parametrize(("status", "cause"), [(429, "no more connections from this address"), (503, "not ready")])
async def test_what_the_server_wants_does_not_stretch_our_patience(status: int, cause: str) -> None:
    refused = [web.Response(status=status, headers={"Retry-After": "30"}) for _ in range(50)]
    keeper = Doorkeeper(*refused)
    async with asyncio.timeout(20), odd_server(keeper.handle) as url, RendezvousClient(url) as client:
        with pytest.raises(errors.ServerUnreachable, match=cause):
            await client.mailbox("send", "t" * 32, patience=0.5).run()


@pytest.mark.parametrize("code", [wire.CloseCode.GOING_AWAY, wire.CloseCode.TRY_AGAIN])
async def test_after_some_closes_it_comes_again(code: int) -> None:
    keeper = Doorkeeper(close=code)
    async with odd_server(keeper.handle) as url, RendezvousClient(url) as client:
        await client.mailbox("send", "t" * 32).run()
    assert len(keeper.asked) == 2
