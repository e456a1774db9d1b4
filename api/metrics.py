"""`/metrics`: what was measured, in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import falcon.asgi

from api.service import Service
from engine.measures import MEASURES, OVERFLOW, SUM, Found, Labels, Measure

if TYPE_CHECKING:
    from prometheus_client import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Said here, so that the library is imported with the first scrape and not before: it is memory."""


class Metrics:
    """The route."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        resp.data = written(await self._service.measured())
        resp.content_type = CONTENT_TYPE
        resp.set_header("Cache-Control", "no-store")

    on_head = on_get


def written(found: Found) -> bytes:
    """The exposition. A family that nobody knows anything of is left out."""
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.registry import Collector

    class Once(Collector):
        def collect(self) -> Iterator[Metric]:
            for name, samples in found.items():
                yield _family(MEASURES[name], samples)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Once())
    return generate_latest(registry)


def _family(measure: Measure, samples: Mapping[Labels, float]) -> Metric:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    if measure.kind == "histogram":
        histogram = HistogramMetricFamily(measure.name, measure.about, labels=measure.labels)
        for labels in sorted({labels[:-1] for labels in samples}):
            histogram.add_metric(labels, _cumulated(measure, labels, samples), samples.get((*labels, SUM), 0))
        return histogram
    kind = CounterMetricFamily if measure.kind == "counter" else GaugeMetricFamily
    family = kind(measure.name, measure.about, labels=measure.labels)
    for labels, value in sorted(samples.items()):
        family.add_metric(labels, value)
    return family


def _cumulated(measure: Measure, labels: Labels, samples: Mapping[Labels, float]) -> list[tuple[str, float]]:
    """The buckets as Prometheus has them: each holds those below it, too."""
    total, buckets = 0.0, []
    for bound in [*map(str, measure.buckets), OVERFLOW]:
        total += samples.get((*labels, bound), 0)
        buckets.append((bound, total))
    return buckets
