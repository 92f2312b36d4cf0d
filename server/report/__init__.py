"""The report of one run, or the comparison of several, as one file that needs no network."""

from __future__ import annotations

from fedhome.server.report.html import write_report

__all__ = ["write_report"]
