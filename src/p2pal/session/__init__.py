"""The durable session: one ordered stream of frames over lanes that come and go. Pure."""
