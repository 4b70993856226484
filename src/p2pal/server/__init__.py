"""The rendezvous: introduces two peers and learns nothing else."""
