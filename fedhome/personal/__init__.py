"""A home's own model: what it ended a run with, kept, and used without network, server or torch."""

from fedhome.personal.model import PersonalModel
from fedhome.personal.opened import load

__all__ = ["PersonalModel", "load"]
