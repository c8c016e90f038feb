"""Adapters for servers and applications that run the bundle."""
