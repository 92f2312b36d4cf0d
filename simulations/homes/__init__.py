"""Synthetic households: the fleet that `fedhome simulate` learns from where the user names no data.

Every home is drawn by itself from documented distributions: its region and weather, its
building, the people in it and what they switch on. They share physics and habits, so that
learning together pays, and differ in how they react, so that one model for all does not do.
"""

from __future__ import annotations

from fedhome.simulations.homes.synthetic_fleet import COLUMNS, generate, generate_some

__all__ = ["COLUMNS", "generate", "generate_some"]
