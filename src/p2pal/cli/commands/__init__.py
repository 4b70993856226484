"""One module for each command's flags, and one for what it does once they are understood (``*_run``)."""
