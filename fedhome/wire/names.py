"""Names under which numbers travel, as Flower's strategies know them."""

EXAMPLES = "num-examples"
"""By what a strategy weights a home's reply."""
