"""The private names of pika that ``seam`` touches, with their parameters.

Owns: that list, for the test that looks for each of them in the installed pika; no connection needs it.
Must not know: what they are used for.
"""

from __future__ import annotations

#: Private methods of pika by class, with their parameters.
METHODS: dict[str, dict[str, tuple[str, ...]]] = {
    "pika.connection.Connection": {
        "_adapter_connect_stream": ("self",),
        "_adapter_disconnect_stream": ("self",),
        "_adapter_emit_data": ("self", "data"),
        "_send_method": ("self", "channel_number", "method", "content"),
        "_adapter_add_callback_threadsafe": ("self", "callback"),
        "_adapter_call_later": ("self", "delay", "callback"),
        "_adapter_remove_timeout": ("self", "timeout_id"),
        "_on_stream_connected": ("self",),
        "_on_stream_terminated": ("self", "error"),
        "_process_frame": ("self", "frame_value"),
        "_set_connection_state": ("self", "connection_state"),
        "_deliver_frame_to_channel": ("self", "value"),
    },
    "pika.channel.Channel": {
        "_on_deliver": ("self", "method_frame", "header_frame", "body"),
        "_set_state": ("self", "connection_state"),
    },
    "pika.adapters.blocking_connection.BlockingConnection": {
        "_create_connection": ("self", "configs", "impl_class"),
        "_flush_output": ("self", "waiters"),
        "_cleanup": ("self",),
        "_dispatch_connection_events": ("self",),
        "_dispatch_channel_events": ("self",),
    },
    "pika.adapters.base_connection.BaseConnection": {
        "_unshim_connection_workflow_callback": ("user_on_done", "shim_or_exc"),
    },
    "pika.adapters.utils.connection_workflow.AMQPConnector": {
        "_on_overall_timeout": ("self",),
        "_on_transport_establishment_done": ("self", "result"),
    },
    "pika.adapters.select_connection.IOLoop": {
        "_get_poller": ("get_wait_seconds", "process_timeouts"),
    },
    "pika.adapters.select_connection.PollPoller": {
        "_get_interrupt_pair": (),
        "_dispatch_fd_events": ("self", "fd_event_map"),
    },
    "pika.adapters.blocking_connection.BlockingChannel": {
        "_flush_output": ("self", "waiters"),
        "_on_consumer_message_delivery": ("self", "_channel", "method", "properties", "body"),
        "_process_data_events": ("self", "time_limit"),
        "_dispatch_events": ("self",),
        "_remove_pending_deliveries": ("self", "consumer_tag"),
    },
}
#: Private methods that only an installed Twisted lets one look at.
TWISTED_METHODS: dict[str, tuple[str, ...]] = {
    "_on_connection_ready": ("self", "_connection"),
    "_on_connection_closed": ("self", "_connection", "exception"),
}
#: Private classes, with the parameters of their constructors.
CLASSES: dict[str, tuple[str, ...]] = {
    "pika.adapters.asyncio_connection._AsyncioIOServicesAdapter": ("loop",),
    "pika.adapters.base_connection._StreamingProtocolShim": ("conn",),
    "pika.adapters.blocking_connection._ConsumerDeliveryEvt": ("method", "properties", "body"),
    "pika.adapters.blocking_connection._ConsumerCancellationEvt": ("method_frame",),
    "pika.adapters.gevent_connection._GeventSelectorIOLoop": ("gevent_hub",),
    "pika.adapters.gevent_connection._GeventSelectorIOServicesAdapter": ("native_loop",),
    "pika.adapters.twisted_connection._TwistedConnectionAdapter": (
        "parameters",
        "on_open_callback",
        "on_open_error_callback",
        "on_close_callback",
        "custom_reactor",
    ),
}
#: Private attributes of their instances.
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "pika.connection.Connection": ("_channels",),
    "pika.channel.Channel": ("_consumers", "_cancelled", "_cookie", "_state"),
    "pika.adapters.utils.connection_workflow.AMQPConnector": (
        "_STATE_INIT",
        "_STATE_TRANSPORT",
        "_addr_record",
        "_conn_factory",
        "_conn_params",
        "_nbio",
        "_on_done",
        "_stack_timeout_ref",
        "_state",
        "_task_ref",
    ),
    "pika.adapters.blocking_connection.BlockingConnection": (
        "_impl",
        "_closed_result",
        "_event_dispatch_suspend_depth",
        "_ready_events",
        "_channels_pending_dispatch",
    ),
    "pika.adapters.select_connection.IOLoop": ("_poller", "_timer", "_callbacks"),
    "pika.adapters.select_connection._Timer": ("_timeout_heap",),
    "pika.adapters.select_connection.PollPoller": ("_poll", "_fd_handlers", "_MAX_POLL_TIMEOUT"),
    "pika.adapters.blocking_connection.BlockingChannel": (
        "_impl",
        "_connection",
        "_closing_reason",
        "_delivery_confirmation",
        "_message_confirmation_result",
        "_basic_getempty_result",
        "_puback_return",
        "_CONSUMER_CANCELLED_CB_KEY",
        "_consumer_infos",
        "_pending_events",
    ),
}
