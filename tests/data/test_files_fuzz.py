"""Foreign bytes under every suffix: read or refused, in bounded memory and without a traceback."""

from __future__ import annotations

import gzip
import io
import random
import resource
import zipfile
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fedhome.data.files import data_files
from fedhome.data.files.data_files import Raw, read_files
from fedhome.errors import SourceError
from helpers.rewritten import rewrite
from helpers.sheets import sheet_xml, workbook

pytest.importorskip("python_calamine", reason="workbooks need the extra xlsx")

QUICK, MANY = 330, 11_200  # inputs of each kind
MOST_BYTES = 100 * 2**20  # that reading an input of some KB may take on top
START = datetime(2024, 1, 1)  # noqa: DTZ001  (sheets know no zones)
TEXTS = [
    "time,load\n" + "".join(f"2024-01-{day:02d},0.{day}\n" for day in range(1, 25)),
    "sep=;\r\nZeit;Verbrauch (kWh);Qualität;\r\n01.01.2024 00:00;0,474;L1;\r\n" * 4,
    'Name,"J D"\n\ntime,load,mode\n,kWh,\n2024-01-01 00:00,"1,5","a ""b""\nc"\n2024,,\nTotal,,3\n',
    "#group,false,false,true\n#datatype,string,dateTime:RFC3339,double\n#default,mean,,\n"
    ",result,_time,_value\n,,2024-01-01T00:00:00Z,1.5\n,,2024-01-01T01:00:00Z,1.5\n\n" * 2,
    "a\tb\tc\r1\t2\t3\r\r4\t5\t6\r#x\r",
]
SIGNS = [b",", b";", b"\t", b"|", b'"', b'""', b"\n", b"\r\n", b"\r", b"\n\n", b"#", b"sep=",
         b'\\"', b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\xfc", b"\xc3\xbc", b"2024-01-01", b"1,5",
         b"time", b"<", b"{", b"#default", b"1e999", b" ", b"\xe2\x80\xa8", b"\x1f\x8b", b"PK\3\4",
         b"PAR1", b"Total"]  # fmt: skip


def _parquet() -> bytes:
    content = io.BytesIO()
    columns = {
        "time": pa.array([START + place * timedelta(hours=1) for place in range(20)]),
        "load": [0.5 * place for place in range(20)],
        "mode": pa.array(["heat", "off"] * 10).dictionary_encode(),
        "list": [[1, 2]] * 20,
    }
    pq.write_table(pa.table(columns), content, row_group_size=9)
    return content.getvalue()


def _workbook() -> bytes:
    rows = [["time", "load"], *([START + place * timedelta(hours=1), 1.5] for place in range(9))]
    strings = "<sst><si><t>a</t></si></sst>"
    shared = sheet_xml(rows).replace("</sheetData>", '<row><c t="s"><v>0</v></c></row></sheetData>')
    return workbook({"a": shared, "b": sheet_xml(rows)}, hidden=["b"], strings=strings)


def _zipped(content: bytes, packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", packing) as archive:
        archive.writestr("a.csv", content)
        archive.writestr("b.csv", content)
    return packed.getvalue()


def _repacked(content: bytes, changed: Callable[[bytes], bytes]) -> bytes:
    """Return an archive with one of its parts changed, as whole as before."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(packed, "w") as new:
        names = old.namelist()
        chosen = names[len(content) % len(names)]
        for name in names:
            part = old.read(name)
            new.writestr(name, changed(part) if name == chosen else part)
    return packed.getvalue()


def mutated(rng: random.Random, data: bytes, *, signs: bool) -> bytes:
    """Return data with a few bytes changed, cut out, doubled, or put in."""
    found = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 4, 12])):
        place = rng.randrange(len(found) + 1)
        match rng.randrange(6):
            case 0 if found:
                found[place % len(found)] = rng.randrange(256)
            case 1:
                del found[place : place + rng.choice([1, 2, 30])]
            case 2:
                found[place:place] = found[place : place + rng.choice([1, 8, 60])]
            case 3 if signs:
                found[place:place] = rng.choice(SIGNS) * rng.choice([1, 1, 1, 3, 500])
            case 4:
                del found[place:]
            case _ if found:
                found[place % len(found)] ^= 1 << rng.randrange(8)
    return bytes(found)


def texts(rng: random.Random) -> tuple[str, bytes]:
    codec = rng.choice(["utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
    data = mutated(rng, rng.choice(TEXTS).encode(codec), signs=True)
    return rng.choice(["h.csv", "h.tsv", "h.txt"]), data


def soups(rng: random.Random) -> tuple[str, bytes]:
    data = b"".join(rng.choices([*SIGNS, b"1", b"2.5", b"x", b"load"], k=rng.randrange(60)))
    return "h.csv", data


def noise(rng: random.Random) -> tuple[str, bytes]:
    start = rng.choice([b"", b"PK\3\4", b"PAR1", b"\x1f\x8b\x08\0", b"\xff\xfe", b"a,b\n"])
    name = rng.choice(["h.csv", "h.csv.gz", "h.zip", "h.xlsx", "h.parquet", "h.json"])
    return name, start + rng.randbytes(rng.randrange(400))


def packed(rng: random.Random) -> tuple[str, bytes]:
    plain = mutated(rng, rng.choice(TEXTS).encode(), signs=True)
    if rng.randrange(2):
        data, name = gzip.compress(plain, 1), "h.csv.gz"
    else:
        data, name = _zipped(plain), "h.zip"
    return name, mutated(rng, data, signs=False) if rng.randrange(3) else data


def parquets(rng: random.Random) -> tuple[str, bytes]:
    return "h.parquet", mutated(rng, PARQUET, signs=False)


def sheets(rng: random.Random) -> tuple[str, bytes]:
    if rng.randrange(3):
        return "h.xlsx", _repacked(WORKBOOK, lambda part: mutated(rng, part, signs=True))
    return "h.xlsx", mutated(rng, WORKBOOK, signs=False)


PARQUET, WORKBOOK = _parquet(), _workbook()
KINDS = [texts, soups, noise, packed, parquets, sheets, texts, texts, texts]


def outcomes(folder: Path, count: int, seed: int) -> Iterator[tuple[str, bytes, object]]:
    """Yield inputs, and what reading each came to."""
    for number, kind in enumerate(KINDS):
        rng = random.Random(100 * seed + number)  # noqa: S311 - not for secrets
        for _ in range(count):
            name, data = kind(rng)
            path = folder / name
            rewrite(path, data)
            try:
                yield name, data, read_files(path)
            except SourceError as error:
                yield name, data, error
            except BaseException as error:
                shown = data.hex() if len(data) < 3000 else f"{len(data)} bytes"
                raise AssertionError(f"{name} raised {error!r} for {shown}") from error


def fuzz(folder: Path, count: int, seed: int) -> int:
    total = read = 0
    peak = _peak()
    for name, data, found in outcomes(folder, count, seed):
        total += 1
        grown, peak = _peak() - peak, _peak()
        assert grown < MOST_BYTES, f"{name} took {grown} bytes for {data[:3000].hex()}"
        if isinstance(found, Raw):
            read += 1
            assert found.rows.num_rows == 0 or found.location(found.rows.num_rows - 1)
            assert len(set(found.rows.column_names)) == found.rows.num_columns
        else:
            assert isinstance(found, SourceError)
            assert found.hint
    assert total // 10 < read < total
    return total


def _peak() -> int:
    """Return the largest resident set so far; Arrow's memory and the libraries' are in it."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.long
def test_foreign_bytes_are_read_or_refused(tmp_path: Path) -> None:
    assert fuzz(tmp_path, QUICK, seed=1) >= 2900


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_very_many_foreign_bytes(tmp_path: Path) -> None:
    assert fuzz(tmp_path, MANY, seed=2) >= 100_000


def test_it_finds_what_is_not_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def torn(_: object) -> None:
        raise KeyError("torn")

    monkeypatch.setattr(data_files, "read_text", torn)
    with pytest.raises(AssertionError, match="raised KeyError"):
        fuzz(tmp_path, 10, seed=1)
