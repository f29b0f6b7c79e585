"""``haypile metrics``: what Prometheus asks for.

Owns: the names of metrics, RabbitMQ's where it has them.
Must not know: where the numbers come from (``admin.looking``).

https://www.rabbitmq.com/docs/prometheus; deps/rabbitmq_prometheus/metrics.md. What RabbitMQ has no per-queue name
for is called ``haypile_…``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from haypile.cli.place import Place, failures, with_place

if TYPE_CHECKING:
    from haypile.broker.ports import VhostTarget

#: Metric of a queue: the column of a row (``admin.looking``), what it is.
GAUGES = {
    "rabbitmq_queue_messages_ready": ("messages_ready", "Messages ready to be delivered to consumers"),
    "rabbitmq_queue_messages_unacked": (
        "messages_unacknowledged",
        "Messages delivered to consumers but not yet acknowledged",
    ),
    "rabbitmq_queue_messages": ("messages", "Sum of ready and unacknowledged messages - total queue depth"),
    "rabbitmq_queue_consumers": ("consumers", "Consumers on a queue"),
    "haypile_queue_memory_bytes": ("memory", "Memory of the queue's messages and its kernel queue"),
    "haypile_queue_lane_depth": ("lane_depth", "Messages in the queue's kernel queue"),
}
COUNTERS = {
    "rabbitmq_queue_messages_published": ("published", "Total number of messages published to queues"),
    "rabbitmq_queue_messages_delivered": ("delivered", "Total number of messages delivered to consumers"),
    "rabbitmq_queue_messages_acked": ("acked", "Total number of messages acknowledged by consumers"),
    "rabbitmq_queue_messages_redelivered": ("redelivered", "Total number of messages redelivered to consumers"),
    "haypile_queue_messages_dead_lettered": ("dead_lettered", "Total number of messages dead-lettered from the queue"),
    "haypile_queue_messages_expired": ("expired", "Total number of messages that expired in the queue"),
}
MISSING = "haypile metrics needs the Prometheus client: pip install prometheus_client"


class Collector:
    """What ``prometheus_client`` asks at every scrape."""

    def __init__(self, target: VhostTarget) -> None:
        self.target = target

    def collect(self) -> Iterator[Any]:
        """See prometheus_client."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily  # noqa: PLC0415 - optional

        from haypile.admin.looking import look_at  # noqa: PLC0415 - the broker is not needed for --help

        with look_at(self.target) as look:
            queues = look.rows("queues")
            connections, exchanges = len(look.rows("connections")), len(look.rows("exchanges"))
        for names, family in ((GAUGES, GaugeMetricFamily), (COUNTERS, CounterMetricFamily)):
            for name, (column, about) in names.items():
                metric = family(name, about, labels=["vhost", "queue"])
                for row in queues:
                    metric.add_metric([self.target.vhost, row["name"]], row[column])
                yield metric
        totals = {
            "rabbitmq_connections": (connections, "Connections currently open"),
            "rabbitmq_queues": (len(queues), "Queues available"),
            "rabbitmq_consumers": (sum(row["consumers"] for row in queues), "Consumers currently connected"),
            "haypile_exchanges": (exchanges, "Exchanges available"),
        }
        for name, (value, about) in totals.items():
            metric = GaugeMetricFamily(name, about, labels=["vhost"])
            metric.add_metric([self.target.vhost], value)
            yield metric


@click.command(short_help="Counters and depths in Prometheus' format.")
@click.option("--port", type=click.IntRange(0, 65535), help="Serve them over HTTP on this port, until Ctrl-C.")
@click.option("--host", default="127.0.0.1", show_default=True, help="With --port: the address to listen on.")
@click.option(
    "--file",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write them to this file, whole or not at all (node_exporter's textfile collector).",
)
@with_place
def metrics(place: Place, port: int | None, host: str, path: Path | None) -> None:
    """Print the metrics of a vhost in Prometheus' text format, under RabbitMQ's names where it has them.

    Counters are of all processes together and outlive them. They begin anew with the vhost.
    """
    try:
        import prometheus_client  # noqa: PLC0415 - optional
    except ImportError:
        raise click.ClickException(MISSING) from None
    target = place.needs_here("read metrics", "turn on the plugin rabbitmq_prometheus there")
    registry = prometheus_client.CollectorRegistry()
    with failures():
        registry.register(Collector(target))
        if port is not None:
            server, thread = prometheus_client.start_http_server(port, host, registry)
            click.echo(f"metrics on http://{host}:{server.server_port}/metrics", err=True)
            try:
                while thread.is_alive():
                    time.sleep(1)
            except KeyboardInterrupt:
                server.shutdown()
        elif path is not None:
            prometheus_client.write_to_textfile(str(path), registry)
        else:
            click.echo(prometheus_client.generate_latest(registry), nl=False)
