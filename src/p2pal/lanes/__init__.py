"""Ways for frames to travel: WebRTC data channels, and memory for tests."""
