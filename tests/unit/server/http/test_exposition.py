from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.unit.server.kit import Kit, serving

from p2pal.server.config import ServerConfig
from p2pal.wire import rendezvous as wire


async def scrape(kit: Kit) -> dict[str, float]:
    """Everything that the server counts, by name and labels."""
    async with kit.session.get(kit.server.url + "/metrics") as response:
        assert response.status == 200
        assert response.content_type == "text/plain"
        text = await response.text()
    return {
        ",".join([sample.name, *(f"{key}={value}" for key, value in sorted(sample.labels.items()))]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_a_transfer_is_counted_from_its_beginning_to_its_end() -> None:
    async with serving() as kit:
        created, sender, receiver = await kit.pair()
        await sender.send(wire.Append(0, b"12345", 1))
        await receiver.expect(wire.LogMessage)
        await receiver.send(wire.Append(0, b"123"))
        await sender.expect(wire.LogMessage)
        await sender.send(wire.Append(7, b"1", 1))
        assert (await sender.expect(wire.Error)).code == "gap"
        counts = await scrape(kit)
        assert counts["p2pal_transfers,state=ready"] == 1
        assert counts["p2pal_transfers,state=active"] == 0
        assert counts["p2pal_sockets"] == counts["p2pal_sockets_opened_total"] == 2
        assert counts["p2pal_mailbox_messages_total"] == counts["p2pal_relayed_messages_total"] == 2
        assert counts["p2pal_mailbox_bytes_total"] == counts["p2pal_relayed_bytes_total"] == 8
        assert counts["p2pal_denials_total,code=gap"] == 1
        await sender.send(wire.ClientAccept(1))
        await sender.send(wire.Release(1, "a-reason-of-my-own"))
        assert await receiver.close_code() == wire.CloseCode.RELEASED
        await kit.request("DELETE", f"/api/transfer/{created.rendezvous_id}", token=created.token)
        assert await sender.close_code() == wire.CloseCode.OVER
        await kit.request("GET", "/my/secret/path")
        counts = await scrape(kit)
        for event, count in {
            "created": 1, "joined": 1, "served": 1, "accepted": 1, "aborted": 1, "completed": 0, "met": 0, "expired": 0
        }.items():  # fmt: skip
            assert counts[f"p2pal_events_total,event={event}"] == count, event
        assert counts["p2pal_releases_total,reason=other"] == 1
        assert counts["p2pal_http_requests_total,method=POST,route=/api/transfer,status=2xx"] == 1
        assert counts["p2pal_http_requests_total,method=DELETE,route=/api/transfer/{id},status=2xx"] == 1
        assert counts["p2pal_http_requests_total,method=GET,route=none,status=4xx"] == 1
        assert counts["p2pal_denials_total,code=not-found"] == 1
        assert counts["p2pal_store_duration_seconds_count,operation=create"] == 1
        assert counts["p2pal_store_duration_seconds_bucket,le=+Inf,operation=join"] == 1
        assert counts["p2pal_store_duration_seconds_sum,operation=execute"] > 0
        names = "\n".join(counts)
        for secret in (created.rendezvous_id, created.token, "secret", "my-own", "127.0.0.1", f"={created.slot}\n"):
            assert secret not in names


async def test_closed_sockets_are_counted_by_their_code() -> None:
    async with serving() as kit:
        wrong = await kit.hello("0" * 32)
        assert await wrong.close_code() == wire.CloseCode.UNAUTHORISED
        odd = await kit.socket()
        await odd.ws.close(code=3999)
        counts = await scrape(kit)
        while counts["p2pal_sockets"]:
            counts = await scrape(kit)
        assert counts["p2pal_sockets_closed_total,code=4401"] == 1
        assert counts["p2pal_sockets_closed_total,code=other"] == 1


async def test_two_servers_in_one_process_count_for_themselves() -> None:
    async with serving() as kit, serving() as other:
        await kit.create()
        assert (await scrape(kit))["p2pal_events_total,event=created"] == 1
        assert (await scrape(other))["p2pal_events_total,event=created"] == 0
        assert (await scrape(kit))["process_resident_memory_bytes"] > 0


async def test_openmetrics_for_who_accepts_it() -> None:
    async with serving(ServerConfig(port=0)) as kit:
        headers = {"Accept": "application/openmetrics-text; version=1.0.0"}
        async with kit.session.get(kit.server.url + "/metrics", headers=headers) as response:
            assert response.content_type == "application/openmetrics-text"
            assert (await response.text()).endswith("# EOF\n")


async def test_the_metrics_that_the_page_for_operators_names_are_there() -> None:
    page = (Path(__file__).parents[4] / "docs/self-hosting.md").read_text(encoding="utf-8")
    lines = [line for line in page.splitlines() if line.startswith("| `p2pal_") or "expr: " in line]
    named = {name.removesuffix("_bucket") for name in re.findall(r"\bp2pal_[a-z_]+\b", "\n".join(lines))}
    assert "p2pal_transfers" in named
    async with serving() as kit:
        await kit.hello("0" * 32)
        counts = await scrape(kit)
        while "p2pal_sockets_closed_total,code=4401" not in counts:
            counts = await scrape(kit)
        assert named <= {name.partition(",")[0].removesuffix("_bucket") for name in counts}


@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_metrics_are_only_read(method: str) -> None:
    async with serving() as kit:
        status, body = await kit.request(method, "/metrics")
        assert (status, body["error"]["code"]) == (405, "method-not-allowed")
