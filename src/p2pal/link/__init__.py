"""How a link comes up and comes back: roles, generations, retries. Pure."""
