"""Where transfers are kept: in this process's memory, or in Redis for several instances."""
