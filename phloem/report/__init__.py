"""The report of a run: one HTML page that needs no network."""

from phloem.report.page import write_report

__all__ = ["write_report"]
