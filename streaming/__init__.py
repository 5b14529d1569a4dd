"""The speed layer: event log -> realtime views."""
