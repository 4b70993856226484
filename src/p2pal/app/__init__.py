"""One use case each: send and receive."""
