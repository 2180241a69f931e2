"""What is counted: every metric of a worker, in one registry."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter as Counts
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

REGISTRY = CollectorRegistry()
"""What the metrics route shows."""


class Tally(Collector):
    """A counter for what happens several times a turn, on one thread: the library's takes a lock each time."""

    def __init__(self, name: str, documentation: str, registry: CollectorRegistry) -> None:
        self.count = 0
        self._shown_as = (name, documentation)
        registry.register(self)

    def inc(self, by: int = 1) -> None:
        """Count on."""
        self.count += by

    def collect(self) -> Iterator[CounterMetricFamily]:
        """What the metrics route shows."""
        yield CounterMetricFamily(*self._shown_as, value=self.count)


class Tallies(Collector):
    """The same for each value of one label."""

    def __init__(self, name: str, documentation: str, label: str, registry: CollectorRegistry) -> None:
        self.counts: Counts[str] = Counts()
        self._shown_as = (name, documentation)
        self._label = label
        registry.register(self)

    def inc(self, value: str) -> None:
        """Count one more of this value."""
        self.counts[value] += 1

    def collect(self) -> Iterator[CounterMetricFamily]:
        """What the metrics route shows."""
        family = CounterMetricFamily(*self._shown_as, labels=[self._label])
        for value, count in self.counts.items():
            family.add_metric([value], count)
        yield family


class Spread(Collector):
    """A histogram of the same kind. `bounds` are the buckets' upper ends, included, in ascending order."""

    def __init__(self, name: str, documentation: str, bounds: Sequence[float], registry: CollectorRegistry) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self._shown_as = (name, documentation)
        registry.register(self)

    def observe(self, value: float) -> None:
        """Count a value in its bucket."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """What the metrics route shows."""
        names = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        buckets = list(zip(names, accumulate(self._counts), strict=True))
        yield HistogramMetricFamily(*self._shown_as, buckets=buckets, sum_value=self._sum)


# ---- executor

_DURATIONS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60, 600)
"""Seconds."""

EXECUTOR_RUNNING = Gauge("parley_executor_running", "Executor threads at work", registry=REGISTRY)
EXECUTOR_QUEUED = Gauge("parley_executor_queued", "Calls that wait for an executor thread", registry=REGISTRY)
EXECUTOR_ABANDONED = Gauge(
    "parley_executor_abandoned", "Cancelled calls that still hold their executor thread", registry=REGISTRY
)
EXECUTOR_ABANDONS = Counter(
    "parley_executor_abandons", "Calls that were cancelled while an executor thread ran them", registry=REGISTRY
)
EXECUTOR_REJECTED = Counter("parley_executor_rejected", "Calls that were refused with ExecutorBusy", registry=REGISTRY)
EXECUTOR_WAIT = Histogram(
    "parley_executor_wait_seconds",
    "How long calls waited for an executor thread",
    buckets=_DURATIONS,
    registry=REGISTRY,
)
EXECUTOR_RUN = Histogram(
    "parley_executor_run_seconds", "How long calls held an executor thread", buckets=_DURATIONS, registry=REGISTRY
)

# ---- a worker as a whole

TASKS = Gauge("parley_tasks", "Asyncio tasks that have not ended", registry=REGISTRY)

# ---- gateway

CONNECTIONS = Gauge("parley_connections", "Open WebSocket connections", registry=REGISTRY)
CLOSES = Counter(
    "parley_closes",
    "Connections that ended, by close code; `client` for codes that are not ours",
    ["code"],
    registry=REGISTRY,
)
FRAMES_IN = Tally("parley_frames_in", "Messages read from clients", registry=REGISTRY)
FRAMES_OUT = Tally("parley_frames_out", "Frames handed to the transports", registry=REGISTRY)
FRAMES_REFUSED = Counter(
    "parley_frames_refused",
    "Frames of clients that were answered with an error, by its code",
    ["code"],
    registry=REGISTRY,
)
RESETS = Counter(
    "parley_resets", "Conversations sent whole because a log did not join up", ["reason"], registry=REGISTRY
)

# ---- runtime

SESSIONS_RUNNING = Gauge("parley_sessions_running", "Sessions whose lease this worker holds", registry=REGISTRY)
BACKGROUND_TASKS = Gauge("parley_background_tasks", "Tasks that handlers started and that still run", registry=REGISTRY)
TURNS = Tallies(
    "parley_turns", "Turns that ended here, by the code of their last event; `finished` if well", "code", REGISTRY
)
TURN_SECONDS = Spread("parley_turn_seconds", "How long handlers took", _DURATIONS, REGISTRY)
LEASES_LOST = Counter("parley_leases_lost", "Leases that were gone at a write", ["reason"], registry=REGISTRY)
TAKEOVERS = Counter("parley_takeovers", "Sessions that were taken from a dead worker", registry=REGISTRY)
HANDOVERS = Counter("parley_handovers", "Sessions that a drain gave away with work in them", registry=REGISTRY)
DRAINING = Gauge("parley_draining", "1 while the worker drains", registry=REGISTRY)

# ---- store

STORE_CALLS = Tally("parley_store_calls", "Calls to the store", registry=REGISTRY)
STORE_PIPELINES = Tally("parley_store_pipelines", "Round trips they took", registry=REGISTRY)
