"""pika programs without a broker."""
