"""The metrics in the formats that Prometheus reads. Loaded when somebody asks for them: the library takes its time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from p2pal._version import __version__
from p2pal.server.metrics import BUCKETS, Metrics
from p2pal.server.stores.base import Store
from p2pal.server.ws.hub import Hub
from p2pal.wire.rendezvous import State

_LIVE: Final = (State.PENDING, State.READY, State.ACTIVE)  # those that are over have no socket
_BOUNDS: Final = (*map(str, BUCKETS), "+Inf")


class Exposition(Collector):
    """One server instance's registry, with its process's memory, CPU and file descriptors."""

    def __init__(self, metrics: Metrics, store: Store, hub: Hub) -> None:
        self._metrics = metrics
        self._store = store
        self._hub = hub
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def render(self, accept: str) -> tuple[bytes, str]:
        """Return the text and its content type: OpenMetrics for who accepts it, else the classic format."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def collect(self) -> Iterator[Metric]:
        """Return everything as it stands now."""
        metrics = self._metrics
        build = GaugeMetricFamily("p2pal_build_info", "The version that runs.", labels=["version"])
        build.add_metric([__version__], 1)
        yield build
        census = self._store.census()
        transfers = GaugeMetricFamily(
            "p2pal_transfers", "Transfers whose sender is connected to this instance.", labels=["state"]
        )
        for state in _LIVE:
            transfers.add_metric([str(state)], census[state])
        yield transfers
        yield _counter("p2pal_events", "What happened to transfers.", "event", metrics.events)
        yield _counter("p2pal_releases", "Attempts that ended before their transfer.", "reason", metrics.releases)
        yield _counter("p2pal_denials", "Requests and commands that were refused.", "code", metrics.denials)
        yield _requests(metrics)
        yield GaugeMetricFamily("p2pal_sockets", "WebSockets that are open.", len(self._hub))
        yield CounterMetricFamily("p2pal_sockets_opened", "WebSockets that began.", metrics.sockets_opened)
        yield _counter("p2pal_sockets_closed", "WebSockets that ended.", "code", metrics.sockets_closed)
        yield CounterMetricFamily(
            "p2pal_mailbox_messages", "Messages put into mailboxes, repeats included.", metrics.stored
        )
        yield CounterMetricFamily("p2pal_mailbox_bytes", "Bytes of their bodies.", metrics.stored_bytes)
        yield CounterMetricFamily(
            "p2pal_relayed_messages", "Mailbox messages sent to clients, repeats included.", metrics.relayed
        )
        yield CounterMetricFamily("p2pal_relayed_bytes", "Bytes of their bodies.", metrics.relayed_bytes)
        yield _steps(metrics)


def _counter(name: str, text: str, label: str, counts: Mapping[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=[label])
    for key, count in counts.items():
        family.add_metric([key], count)
    return family


def _requests(metrics: Metrics) -> CounterMetricFamily:
    family = CounterMetricFamily("p2pal_http_requests", "HTTP requests.", labels=["method", "route", "status"])
    for labels, count in metrics.requests.items():
        family.add_metric(labels, count)
    return family


def _steps(metrics: Metrics) -> HistogramMetricFamily:
    family = HistogramMetricFamily(
        "p2pal_store_duration_seconds", "What the store took for a step.", labels=["operation"]
    )
    for name, histogram in metrics.steps.items():
        buckets = list(zip(_BOUNDS, accumulate(map(float, histogram.counts)), strict=True))
        family.add_metric([name], buckets, histogram.total)
    return family
