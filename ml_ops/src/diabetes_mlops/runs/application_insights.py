"""Sends the telemetry of one job run to Application Insights, by Azure Monitor's OpenTelemetry exporter."""

import logging
import math
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from importlib.metadata import version
from typing import Any

from azure.monitor.opentelemetry.exporter import (
    AzureMonitorLogExporter,
    AzureMonitorMetricExporter,
    AzureMonitorTraceExporter,
)
from opentelemetry._logs import SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode

SCOPE = "diabetes_mlops"
# After this time an answer is not waited for; what is refused for now (429, 500) is sent twice more.
EXPORT = {
    "timeout": 4,
    "read_timeout": 4,
    "retry_total": 2,
    "retry_backoff_factor": 0.2,
    # It would keep telemetry in the driver's temporary folder.
    "disable_offline_storage": True,
}
# What the exporter would otherwise report of itself, to other addresses than the one that it was given.
QUIET = ("STATSBEAT_DISABLED_ALL", "SDKSTATS_DISABLED", "CONTROLPLANE_DISABLED")
for _name in (*QUIET, "OPENTELEMETRY_RESOURCE_METRIC_DISABLED"):
    os.environ.setdefault(f"APPLICATIONINSIGHTS_{_name}", "true")
# The notebook shows one line for all that they complain about.
logging.getLogger("azure.monitor.opentelemetry.exporter").propagate = False
logging.getLogger("azure.monitor.opentelemetry.exporter").addHandler(logging.NullHandler())


class Session:
    """The telemetry of one job run: its own providers, so that nothing of it reaches another run."""

    def __init__(self, connection_string: str, attributes: Mapping[str, str]) -> None:
        self._attributes = dict(attributes)
        self._all_sent = True
        options = {"connection_string": connection_string, **EXPORT}
        # All of them first: a wrong connection string is refused before a thread is started.
        exporters = (AzureMonitorTraceExporter, AzureMonitorLogExporter, AzureMonitorMetricExporter)
        spans, records, metrics = (self._watched(exporter(**options)) for exporter in exporters)

        resource = Resource({"service.name": SCOPE, "service.version": version(SCOPE)})
        self._traces = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._traces.add_span_processor(BatchSpanProcessor(spans))
        self._logs = LoggerProvider(resource=resource, shutdown_on_exit=False)
        self._logs.add_log_record_processor(BatchLogRecordProcessor(records))
        # Metrics go once, at the end.
        reader = PeriodicExportingMetricReader(metrics, export_interval_millis=math.inf)
        self._metrics = MeterProvider([reader], resource=resource, shutdown_on_exit=False)

        self._tracer, self._meter = self._traces.get_tracer(SCOPE), self._metrics.get_meter(SCOPE)
        self._job_span: Span | None = None
        self._recorded: BaseException | None = None

    @contextmanager
    def job(self, name: str) -> Iterator[None]:
        """Report the job as a request, with its duration as a metric too."""
        start = time.monotonic()
        try:
            with self._span(name, SpanKind.SERVER) as self._job_span:
                yield
        finally:
            self.count({"duration": time.monotonic() - start})

    def step(self, name: str) -> AbstractContextManager[Span]:
        """Report a step as what the job depends on."""
        return self._span(name, SpanKind.INTERNAL)

    def describe(self, attributes: Mapping[str, str]) -> None:
        """Add attributes to the job, and to all that begins after this."""
        self._attributes |= attributes
        if self._job_span:
            self._job_span.set_attributes(attributes)

    def count(self, numbers: Mapping[str, float]) -> None:
        """Report each number under its name."""
        for name, number in numbers.items():
            self._meter.create_gauge(name).set(number, self._attributes)

    def log(self, text: str) -> None:
        """Report a milestone, as part of the step that is under way."""
        self._logs.get_logger(SCOPE).emit(
            timestamp=time.time_ns(),
            severity_number=SeverityNumber.INFO,
            severity_text="INFO",
            body=text,
            attributes=self._attributes,
        )

    def close(self, seconds: float) -> bool:
        """Send what is left, for so long at most; tells whether all was sent."""
        sending = threading.Thread(target=self._shut_down, name="telemetry", daemon=True)
        sending.start()
        sending.join(seconds)
        return self._all_sent and not sending.is_alive()

    @contextmanager
    def _span(self, name: str, kind: SpanKind) -> Iterator[Span]:
        with self._tracer.start_as_current_span(
            name,
            kind=kind,
            attributes=self._attributes,
            # Done below: the library records an error once a span, without attributes, and no interrupt.
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield span
            except BaseException as error:
                span.set_status(StatusCode.ERROR, type(error).__name__)
                if error is not self._recorded:
                    span.record_exception(error, self._attributes)
                    self._recorded = error
                raise

    def _shut_down(self) -> None:
        self._traces.shutdown()
        self._logs.shutdown()
        self._metrics.force_flush()
        self._metrics.shutdown()

    def _watched(self, exporter: Any) -> Any:
        """Let an exporter note down what it could not send."""
        export = exporter.export

        def watch(*args: Any, **options: Any) -> Any:
            result = export(*args, **options)
            self._all_sent &= result.name == "SUCCESS"
            return result

        exporter.export = watch
        return exporter
