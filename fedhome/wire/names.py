"""Names that both ends know: of numbers, as Flower's strategies call them, and of questions."""

EXAMPLES = "num-examples"
"""By what a strategy weights a home's reply."""
SHAPE, BUNDLE, HELP = "query", "query.bundle", "query.help"
"""Questions that keep the protocol going: for widths, one-time keys, and a member's help."""
ENROL, DIRECTORY = "query.enrol", "query.directory"
"""Questions that a simulation alone asks."""
