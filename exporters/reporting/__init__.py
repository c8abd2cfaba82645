"""The report as one page to read: what ``exporters.report`` gathered, as HTML without a network.

``report.schema.json`` beside this file describes the data (JSON Schema, draft 2020-12).
"""

from exporters.reporting.page import PAGE_MOST_BYTES, to_html

__all__ = ["PAGE_MOST_BYTES", "to_html"]
