"""Measured work, each beside its peer or its limit: `python -m bench NAME [--json]`, `make bench` for all."""
