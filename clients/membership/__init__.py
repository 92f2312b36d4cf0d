"""How a device becomes a home of a fleet, what it agreed to, and how it leaves."""
