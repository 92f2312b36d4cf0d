"""A home's own model: what it ended a run with, kept, and used without network, server or torch."""
