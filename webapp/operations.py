"""What operators ask: is it alive, is it ready, how is it doing, what does the API look like."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC
from typing import Any, cast

from flask import Flask, Response, current_app, g, request
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from flask_openapi3.openapi import OpenAPI
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from readerflow.common.errors import ReaderFlowError

from . import models
from .context import site
from .exchange import json_response
from .live import hub
from .problems import MEDIA_TYPE, Busy

METRICS = "readerflow.metrics"  # in app.extensions
BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
ERROR_STATUSES = {
    "400": "A parameter is missing, unknown or wrong.",
    "404": "There is no such wiki, month, title, ranking or view.",
    "409": "Two months, or an article in them, can't be compared as they are now.",
    "410": "The list of a `next` token is no longer kept.",
    "413": "The body is too large.",
    "414": "The address is too long.",
    "503": "Too much is asked of the site now; see Retry-After.",
}

operations = APIBlueprint("operations", __name__, abp_tags=[Tag(name="operations", description="For operators.")])


@operations.get("/healthz", summary="Is the process alive?", responses={200: models.Health})
def healthz(query: models.Nothing) -> Response:
    return json_response({"status": "ok"})


@operations.get("/readyz", summary="Can it answer from its stores?", responses={200: models.Ready})
def readyz(query: models.Nothing) -> Response:
    try:
        months = site().serving.months()
    except Exception as error:
        raise Busy(f"the stores do not answer: {type(error).__name__}") from error
    return json_response({"status": "ready", "months": len(months)})


@operations.get(
    "/metrics",
    summary="Counters of this process, for Prometheus",
    responses={200: {"description": "Text format of Prometheus.", "content": {"text/plain": {}}}},
)
def metrics(query: models.Nothing) -> Response:
    return Response(generate_latest(current_app.extensions[METRICS]), content_type=CONTENT_TYPE_LATEST)


@operations.get(
    "/openapi.json",
    summary="This description",
    responses={200: {"description": "OpenAPI.", "content": {"application/json": {}}}},
)
def openapi(query: models.Nothing) -> Response:
    return json_response(_with_problems(cast(OpenAPI, current_app).api_doc))


def _with_problems(document: dict[str, Any]) -> dict[str, Any]:
    """Describe errors as they are: problem details for every operation."""
    reference = {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}
    errors = {
        status: {"description": description, "content": {MEDIA_TYPE: reference}}
        for status, description in ERROR_STATUSES.items()
    }
    paths = {
        path: {
            method: {**operation, "responses": {**operation["responses"], **errors}}
            for method, operation in item.items()
        }
        for path, item in document["paths"].items()
    }
    schemas = {
        **document.get("components", {}).get("schemas", {}),
        "ProblemDetails": models.ProblemDetails.model_json_schema(),
    }
    return {**document, "paths": paths, "components": {"schemas": schemas}}


class _LiveStreams(Collector):
    def __init__(self, app: Flask) -> None:
        self._app = app

    def collect(self) -> Iterator[Metric]:
        with self._app.app_context():
            yield GaugeMetricFamily("readerflow_live_streams", "Open live streams.", hub().streams.taken)


class _Stream(Collector):
    """How the stream that readers take is doing; nothing while its store does not answer, or not in time."""

    def __init__(self, app: Flask) -> None:
        self._app = app

    def collect(self) -> Iterator[Metric]:
        try:
            with self._app.app_context():
                progress = site().serving.stream()
        except ReaderFlowError:
            return
        if progress is None:
            return
        counts = {
            "records": ("Records taken by the stream", progress.records),
            "rejects": ("Log entries that the stream could not read", progress.rejects),
            "duplicates": ("Log entries that the stream had seen before", progress.duplicates),
            "late": ("Records behind the heartbeat that closed their slot", progress.late),
        }
        for name, (text, count) in counts.items():
            yield CounterMetricFamily(f"readerflow_stream_{name}", f"{text}, in this incarnation.", count)
        if (newest := progress.figures) is None:
            return
        lag = GaugeMetricFamily(
            "readerflow_stream_lag_entries", "Log entries behind the newest micro-batch.", labels=("partition",)
        )
        for partition, entries in newest.lag.items():
            lag.add_metric((str(partition),), entries)
        yield lag
        yield GaugeMetricFamily("readerflow_stream_batch_entries", "Entries of the newest micro-batch.", newest.entries)
        yield GaugeMetricFamily("readerflow_stream_batch_seconds", "Its time until its commit.", newest.seconds)
        at = newest.committed_at.replace(tzinfo=UTC).timestamp()
        yield GaugeMetricFamily("readerflow_stream_committed_timestamp_seconds", "When it was committed.", at)


def measure(app: Flask) -> None:
    """Count requests and their seconds by route; titles and other values do not become labels."""
    registry = CollectorRegistry()
    app.extensions[METRICS] = registry
    requests = Counter("readerflow_requests", "Answered requests.", ("route", "status"), registry=registry)
    seconds = Histogram(
        "readerflow_request_seconds", "Time to the answer's start.", ("route",), registry=registry, buckets=BUCKETS
    )
    registry.register(_LiveStreams(app))
    registry.register(_Stream(app))

    def begin() -> None:
        g.began = time.perf_counter()

    def end(response: Response) -> Response:
        route = request.endpoint or "none"
        requests.labels(route, str(response.status_code)).inc()
        if "began" in g:
            seconds.labels(route).observe(time.perf_counter() - g.began)
        return response

    app.before_request(begin)
    app.after_request(end)
