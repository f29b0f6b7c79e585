"""Store and forward between queues of this host and a RabbitMQ."""
