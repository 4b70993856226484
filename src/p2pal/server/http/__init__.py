"""The HTTP side of the server: routes, limits, origins, metrics, the description of the API."""
