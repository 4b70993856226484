"""The WebSocket side of the server: one mailbox for each socket, and the hub that reaches them."""
