"""The job engine: a small port, its DBOS implementation, and the in-memory fake.

Nothing is imported here; only ``dbos_engine`` loads dbos.
"""
