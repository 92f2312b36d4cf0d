"""wisdm51: activities of 50 people from the accelerometer of a smartwatch."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fedhome.data.table import HomeTable
from fedhome.errors import SourceError
from fedhome.simulations.datasets.dataset import DataSet, Remote
from fedhome.simulations.datasets.upstream import as_classes, find, read_columns

ACTIVITIES = {
    "A": "walking",
    "B": "jogging",
    "C": "stairs",
    "D": "sitting",
    "E": "standing",
    "F": "typing",
    "G": "teeth",
    "H": "soup",
    "I": "chips",
    "J": "pasta",
    "K": "drinking",
    "L": "sandwich",
    "M": "kicking",
    "O": "catch",
    "P": "dribbling",
    "Q": "writing",
    "R": "clapping",
    "S": "folding",
}
_CLASSES = tuple(sorted(ACTIVITIES.values()))
FEATURES = (
    *(f"{axis}{number}" for axis in "XYZ" for number in range(10)),
    *(f"{axis}{what}" for what in ("AVG", "PEAK", "ABSOLDEV", "STANDDEV", "VAR") for axis in "XYZ"),
    *(f"{axis}MFCC{number}" for axis in "XYZ" for number in range(13)),
    *(f"{pair}{what}" for what in ("COS", "COR") for pair in ("XY", "XZ", "YZ")),
    "RESULTANT",
)


def read(path: Path) -> Iterator[HomeTable]:
    """Read one home per person from the archive, or from its folder.

    Raises:
        SourceError: Not the archive, or a file of another form.
    """
    for name, content in find(path, r"data_\d+_accel_watch\.arff").items():
        person = re.findall(r"data_(\d+)_", name)[-1]
        header, rows = _split(name, content)
        columns, texts = read_columns(
            name, rows, numbers=FEATURES, text=("ACTIVITY",), header=header
        )
        codes = [code.strip() for code in texts["ACTIVITY"]]
        if not set(codes) <= set(ACTIVITIES):
            raise SourceError(
                f"{name}: it has an activity other than A to S", hint="download it again"
            )
        yield HomeTable(
            home=person,
            time_s=np.arange(len(codes), dtype=np.int64),
            columns=columns
            | {"activity": as_classes([ACTIVITIES[code] for code in codes], _CLASSES)},
            labels={"activity": _CLASSES},
        )


def _split(name: str, content: bytes) -> tuple[list[str], bytes]:
    """Return an ARFF file's column names, and its rows as CSV below one line without a meaning."""
    head, *rows = re.split(rb"^@data.*$", content, maxsplit=1, flags=re.IGNORECASE | re.MULTILINE)
    names = re.findall(
        r"""^@attribute\s+["']?([^"'\s{]+)""",
        head.decode("latin-1"),
        flags=re.IGNORECASE | re.MULTILINE,
    )
    if not rows or not names:
        raise SourceError(f"{name} is not an ARFF file", hint="download it again")
    return names, b"@data\n" + rows[0].strip()


WISDM = DataSet(
    name="wisdm51",
    title="18 household activities of 50 people, features of a smartwatch's accelerometer",
    about=(
        "Each row sums up ten seconds; rows have no time of their own and keep the order of the "
        "files. The archive names 51 people, but holds no file for number 1614. People differ "
        "much: a global model alone is far worse than a personal one."
    ),
    homes=50,
    rows=18_211,
    columns=dict.fromkeys(FEATURES[:30], "share of the readings in one of ten bins of an axis")
    | dict.fromkeys(FEATURES[30:45], "mean, peak distance, deviation or variance of an axis")
    | dict.fromkeys(FEATURES[45:84], "mel-frequency cepstral coefficient of an axis")
    | dict.fromkeys(FEATURES[84:90], "cosine distance or correlation of two axes")
    | {
        "RESULTANT": "mean length of the acceleration",
        "activity": "what the person does (18 classes)",
    },
    train=(
        "data.target=activity",
        "task.kind=multi-class",
        "data.horizon=0",
        "data.lags=[]",
        "data.calendar=false",
        "data.split_by=class",
        "data.gap=0",
        "train.learning_rate=0.05",
    ),
    citation=(
        "G. M. Weiss, K. Yoneda, T. Hayajneh. Smartphone and smartwatch-based biometrics using "
        "activities of daily living. IEEE Access 7 (2019) 133190-133202"
    ),
    licence="CC BY 4.0",
    page=(
        "https://archive.ics.uci.edu/dataset/507/"
        "wisdm+smartphone+and+smartwatch+activity+and+biometrics+dataset"
    ),
    remotes=(
        Remote(
            url=(
                "https://archive.ics.uci.edu/static/public/507/"
                "wisdm+smartphone+and+smartwatch+activity+and+biometrics+dataset.zip"
            ),
            name="wisdm.zip",
        ),
    ),
    timed=False,
    read=read,
)
