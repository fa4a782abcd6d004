"""Interfaces of other servers, for their clients."""
