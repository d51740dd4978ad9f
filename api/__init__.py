"""The REST API of glbpy."""
