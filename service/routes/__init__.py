"""The routes of the REST API, one file per topic; each exports a ``router``."""
