"""WebRTC lanes: all that knows the engine, its SDP and its statistics."""
