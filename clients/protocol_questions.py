"""The other questions of a server: they keep the protocol going, and nothing of them is summed.

Together with :data:`fedhome.questions.question_table.SUMMED` these are all that a home answers.
"""

from __future__ import annotations

from fedhome.questions.question import ConsentWords, Question
from fedhome.wire.names import BUNDLE, DIRECTORY, ENROL, EXAMPLES, HELP, SHAPE

_WIDTHS = (
    "how many inputs and outputs its model has; or in one word that its readings cannot be used, "
    "or do not have the plan's inputs"
)

PROTOCOL: dict[str, Question] = {
    row.name: row
    for row in (
        Question(
            name=SHAPE,
            often="run",
            consent=ConsentWords(when="before the first round", secure=_WIDTHS, plain=_WIDTHS),
            clear={
                EXAMPLES: "1, always: Flower wants one",
                "features": "how many numbers go into its model",
                "outputs": "how many come out",
            },
        ),
        Question(
            name=BUNDLE,
            often="sum",
            consent=ConsentWords(
                when="ahead of a sum", secure="one-time keys", plain="one-time keys"
            ),
        ),
        Question(
            name=HELP,
            often="sum",
            consent=ConsentWords(
                when="to open a sum", secure="a member's help", plain="a member's help"
            ),
        ),
        # A real home takes its fleet's keys from its owner alone.
        Question(name=ENROL, asker="simulation", often="run", consent=ConsentWords(when="never")),
        Question(
            name=DIRECTORY, asker="simulation", often="run", consent=ConsentWords(when="never")
        ),
    )
}
"""Every question that keeps the protocol going, by the type of its messages."""
