# SPDX-License-Identifier: Apache-2.0
"""Run folders -> one self-contained HTML page, without torch and without a network."""

from __future__ import annotations

from .export import export_figures
from .page import build_report

__all__ = ["build_report", "export_figures"]
