"""The client's side of the signaling server."""
