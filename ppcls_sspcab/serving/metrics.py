"""What Prometheus reads of the service."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ppcls_sspcab.serving.inspections.record import Inspection
from ppcls_sspcab.serving.models import ServedModel

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_RECENT = 1000  # pictures over which the drift is taken
_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """Counters and histograms of one service, in a registry of its own.

    ``sspcab_inspections_total{model,verdict}``, ``sspcab_stage_seconds{model,stage}`` (``decode``,
    ``queue``, ``network``), ``sspcab_request_seconds{route,status}``,
    ``sspcab_storage_failures_total``, ``sspcab_queue_pictures{model}``,
    ``sspcab_model_info{model,version,backend,precision}``, and of the last 1,000 judged pictures of
    each model ``sspcab_recent_normalized_score{model}`` (their mean; at calibration it lay where
    good pictures lie, below 0.5) and ``sspcab_recent_alarm_share{model}``.
    """

    def __init__(self, models: Mapping[str, ServedModel]) -> None:
        self._registry = CollectorRegistry()
        self._inspections = Counter(
            "sspcab_inspections",
            "Pictures, by verdict",
            ["model", "verdict"],
            registry=self._registry,
        )
        for model in models:
            for verdict in ("good", "anomalous", "unjudged"):
                self._inspections.labels(model, verdict)
        self._stages = Histogram(
            "sspcab_stage_seconds",
            "Where a picture's time goes",
            ["model", "stage"],
            registry=self._registry,
            buckets=_SECONDS,
        )
        self._requests = Histogram(
            "sspcab_request_seconds",
            "Time to a request's answer",
            ["route", "status"],
            registry=self._registry,
            buckets=_SECONDS,
        )
        self._storage_failures = Counter(
            "sspcab_storage_failures",
            "Requests whose verdicts could not be stored",
            registry=self._registry,
        )
        self._recent = _Recent()
        self._registry.register(self._recent)
        self._registry.register(_Models(models))

    def inspected(self, inspection: Inspection) -> None:
        """Counts a stored inspection."""
        model = inspection.model
        self._inspections.labels(model, inspection.verdict).inc()
        for stage in ("decode", "queue", "network"):
            seconds = getattr(inspection, f"{stage}_ms") / 1000
            self._stages.labels(model, stage).observe(seconds)
        self._recent.add(inspection)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Counts an answer.

        Args:
            route: the route's template, such as ``/v1/models/{name}/predict``, never the address
                itself, of which there are any number.
        """
        self._requests.labels(route, str(status)).observe(seconds)

    def not_stored(self) -> None:
        """Counts a request whose verdicts could not be stored."""
        self._storage_failures.inc()

    def text(self) -> bytes:
        """All of it in Prometheus's text format."""
        return generate_latest(self._registry)


class _Recent(Collector):
    """Mean normalized score and share of alarms of the last pictures of each model."""

    def __init__(self) -> None:
        self._scores: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_RECENT))

    def add(self, inspection: Inspection) -> None:
        if inspection.normalized_score is not None:
            self._scores[inspection.model].append(inspection.normalized_score)

    def collect(self) -> Iterator[Metric]:
        mean = GaugeMetricFamily(
            "sspcab_recent_normalized_score", f"Mean of the last {_RECENT}", labels=["model"]
        )
        share = GaugeMetricFamily(
            "sspcab_recent_alarm_share", f"Anomalies among the last {_RECENT}", labels=["model"]
        )
        for model, scores in list(self._scores.items()):
            values = list(scores)
            mean.add_metric([model], sum(values) / len(values))
            share.add_metric([model], sum(value > 0.5 for value in values) / len(values))
        yield mean
        yield share


class _Models(Collector):
    """Each model's version and queue."""

    def __init__(self, models: Mapping[str, ServedModel]) -> None:
        self._models = models

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        depth = GaugeMetricFamily(
            "sspcab_queue_pictures", "Pictures waiting or running", labels=["model"]
        )
        labels = ["model", "version", "backend", "precision"]
        info = GaugeMetricFamily("sspcab_model_info", "1", labels=labels)
        for name, model in self._models.items():
            depth.add_metric([name], model.batcher.depth)
            info.add_metric([name, model.version, model.predictor.backend, model.precision], 1)
        yield depth
        yield info
