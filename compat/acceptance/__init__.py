"""pika's own acceptance suite over each transport. The suite is pika's and is not here: name its folder."""
