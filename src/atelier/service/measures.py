"""What Prometheus reads at /metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
IMAGES = (1, 2, 4, 8, 16)


class Measures:
    """Counters of one service."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "atelier_requests", "Requests answered.", ("model", "status"), registry=self._registry
        )
        self.seconds = Histogram(
            "atelier_request_seconds",
            "From the whole request to the answer.",
            ("model",),
            buckets=SECONDS,
            registry=self._registry,
        )
        self.pixels = Counter(
            "atelier_pixels",
            "Pixels that networks were asked for.",
            ("model",),
            registry=self._registry,
        )
        self.waiting = Gauge(
            "atelier_waiting", "Pictures that wait for a network.", registry=self._registry
        )
        self.batch = Histogram(
            "atelier_batch_images",
            "Pictures in one pass of a network.",
            buckets=IMAGES,
            registry=self._registry,
        )
        self.version = Gauge(
            "atelier_model_version", "That answers.", ("model",), registry=self._registry
        )
        self.followed = Gauge(
            "atelier_registry_followed", "1; 0 while it can't be asked.", registry=self._registry
        )

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)
