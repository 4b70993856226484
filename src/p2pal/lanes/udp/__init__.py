"""The datagram lane: a reliable, ordered lane over UDP sockets of our own. Pure machines, and a thin shell."""
