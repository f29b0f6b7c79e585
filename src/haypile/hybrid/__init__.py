"""One connection over two worlds: some names here, some on a RabbitMQ."""
