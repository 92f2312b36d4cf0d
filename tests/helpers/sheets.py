"""Workbooks (.xlsx) written part by part, sound ones and others."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from xml.sax.saxutils import escape

_MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_STYLES = (
    f'<styleSheet {_MAIN}><cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="22"/></cellXfs>'
    "</styleSheet>"
)
Cell = str | float | bool | datetime | None


def cell_xml(cell: Cell) -> str:
    """Return a cell; words stand in it, times are days since 1900."""
    match cell:
        case None:
            return "<c/>"
        case bool():
            return f'<c t="b"><v>{int(cell)}</v></c>'
        case str():
            return f'<c t="inlineStr"><is><t xml:space="preserve">{escape(cell)}</t></is></c>'
        case datetime():
            days = (cell - datetime(1899, 12, 30)).total_seconds() / 86_400  # noqa: DTZ001
            return f'<c s="1"><v>{days!r}</v></c>'
    return f"<c><v>{cell!r}</v></c>"


def sheet_xml(rows: Sequence[Sequence[Cell]]) -> str:
    """Return a sheet of rows of cells."""
    lines = "".join(f"<row>{''.join(map(cell_xml, row))}</row>" for row in rows)
    return f"<worksheet {_MAIN}><sheetData>{lines}</sheetData></worksheet>"


def workbook(sheets: Mapping[str, str], *, hidden: Sequence[str] = (), strings: str = "") -> bytes:
    """Return a workbook.

    Args:
        sheets: XML of each sheet by its name.
        hidden: Names of the sheets that are not shown.
        strings: XML of the shared texts.
    """
    numbers = {name: place for place, name in enumerate(sheets, 1)}
    states = {False: "visible", True: "hidden"}
    listed = "".join(
        f'<sheet name="{name}" sheetId="{number}" r:id="r{number}" '
        f'state="{states[name in hidden]}"/>'
        for name, number in numbers.items()
    )
    related = "".join(
        f'<Relationship Id="r{number}" Type="{_OFFICE}/worksheet" '
        f'Target="worksheets/sheet{number}.xml"/>'
        for number in numbers.values()
    )
    related += f'<Relationship Id="s" Type="{_OFFICE}/styles" Target="styles.xml"/>'
    if strings:
        related += f'<Relationship Id="t" Type="{_OFFICE}/sharedStrings" Target="strings.xml"/>'
    main = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types">'
        f'<Override PartName="/xl/workbook.xml" ContentType="{main}"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="w" '
        f'Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook {_MAIN} xmlns:r="{_OFFICE}"><sheets>{listed}</sheets>'
        "</workbook>",
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE}/relationships">'
        f"{related}</Relationships>",
        "xl/styles.xml": _STYLES,
    }
    parts |= {f"xl/worksheets/sheet{numbers[name]}.xml": xml for name, xml in sheets.items()}
    if strings:
        parts["xl/strings.xml"] = strings
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, xml in parts.items():
            archive.writestr(name, xml)
    return packed.getvalue()
