"""One module for each noun. Each has a ``router``."""
