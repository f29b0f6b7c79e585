"""Plain pika programs, each run on every transport and compared: the proof that haypile is pika."""
