"""Spreadsheets read the CSV of the commands as docs/sql.md says: every text stays that text.

`--format spreadsheet` is for opening the file, `--format csv` for an import that can keep text.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from mirror.cli import output
from mirror.queries.results import ReleaseRequest
from tests.support.reader_programs import NODE_MODULES, missing, node

NUMBERS = (
    "+15551234567",
    "15551234567",
    "+1 555 123 4567",
    "(555) 123",
    "-5",
    "00123",
    "12e3",
    "3/4",
    "2024-01-10",
    "50%",
    "$5",
)
FORMULAS = (
    "=1+1",
    "+1+1+A1",
    "-2+3+A1",
    "@SUM(A1)",
    "\t(1)",
    '=HYPERLINK("http://x.example","y")',
    "=cmd|' /C calc'!A0",
)
TEXTS = (*NUMBERS, *FORMULAS, "número, 1", "plain")

Cells = list[tuple[str, str]]
"""Type and text of the cells of a column."""


def file(folder: Path, output_format: str, *texts: str) -> Path:
    """Write requests whose reasons are texts, as a command does; return the file."""
    now = datetime(2024, 1, 10, 14, 30, tzinfo=UTC)
    rows = [
        ReleaseRequest(
            "id", "prod", "+1", None, "pending", text, None, now, None, None, now, now, None
        )
        for text in texts or TEXTS
    ]
    path = folder / "requests.csv"
    with path.open("w", encoding="utf-8", newline="") as out:
        output.write_rows(rows, ReleaseRequest, output_format, out)
    return path


def program(name: str, package: str) -> str:
    """Find a program of Debian, or skip the test."""
    return shutil.which(name) or missing("DRIVERS", f"apt-get install {package}")


def reasons(book: Path) -> Cells:
    """The cells of the column `reason` of an OpenDocument spreadsheet."""
    office = "{urn:oasis:names:tc:opendocument:xmlns:office:1.0}"
    table = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
    with zipfile.ZipFile(book) as content:
        root = ET.fromstring(content.read("content.xml"))  # noqa: S314 (our own file)
    column = []
    for row in root.iter(f"{table}table-row"):
        cells: list[Any] = []
        for cell in row.iter(f"{table}table-cell"):
            cells += [cell] * min(int(cell.get(f"{table}number-columns-repeated", "1")), 20)
        if len(cells) > 5 and cells[5].get(f"{office}value-type"):
            text = "".join(content_of(part) for part in cells[5])
            column.append((cells[5].get(f"{office}value-type"), text))
    assert column[0] == ("string", "reason")
    return column[1:]


def content_of(element: ET.Element) -> str:
    """The text of an element; tabs and spaces are elements, too."""
    _, _, name = element.tag.rpartition("}")
    inner = "".join(content_of(child) + (child.tail or "") for child in element)
    return {"tab": "\t", "s": " "}.get(name, "") + (element.text or "") + inner


def in_libreoffice(path: Path, import_filter: str = "44,34,UTF8,1,") -> Cells:
    """Convert a file by LibreOffice."""
    libreoffice(path, import_filter)
    return reasons(path.with_suffix(".ods"))


def libreoffice(path: Path, import_filter: str) -> None:
    """Convert a file by LibreOffice, with separators and formats of columns."""
    soffice = program("soffice", "libreoffice-calc-nogui")
    subprocess.run(
        [
            soffice,
            f"-env:UserInstallation={(path.parent / 'profile').as_uri()}",
            "--headless",
            "--convert-to",
            "ods",
            f"--infilter=CSV:{import_filter}",
            "--outdir",
            path.parent,
            path,
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )


def in_gnumeric(path: Path) -> Cells:
    """Convert a file by Gnumeric."""
    book = path.with_suffix(".ods")
    ssconvert = program("ssconvert", "gnumeric")
    subprocess.run([ssconvert, path, book], check=True, capture_output=True, timeout=120)
    return reasons(book)


SHEETJS = """
const { readFile } = require('xlsx');
const [path, options] = JSON.parse(process.argv[1]);
const sheet = Object.values(readFile(path, options).Sheets)[0];
const column = Object.keys(sheet).filter((cell) => /^F\\d+$/.test(cell)).map((cell) => sheet[cell]);
const type = (cell) => (cell.t === 's' ? 'string' : cell.f ? 'formula' : cell.t);
console.log(JSON.stringify(column.map((cell) => [type(cell), String(cell.v)])));
"""


def in_sheetjs(path: Path, **options: Any) -> Cells:
    """Read a file by SheetJS."""
    done = subprocess.run(
        [node(), "-e", SHEETJS, json.dumps([str(path), options])],
        cwd=NODE_MODULES.parent,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return [(kind, text) for kind, text in json.loads(done.stdout)][1:]


def as_text(texts: tuple[str, ...]) -> Cells:
    """The cells that hold the texts."""
    return [("string", text) for text in texts]


@pytest.mark.parametrize("read", [in_libreoffice, in_gnumeric, in_sheetjs])
def test_a_spreadsheet_is_opened(read: Callable[[Path], Cells], tmp_path: Path) -> None:
    """Every text stays one; an apostrophe before a formula is shown, except by Gnumeric."""
    apostrophe = "" if read is in_gnumeric else "'"
    texts = [apostrophe + text if text in FORMULAS else text for text in TEXTS]
    assert read(file(tmp_path, "spreadsheet")) == as_text((*texts,))


@pytest.mark.parametrize("separators", ["9/44/59", "59"])
def test_other_separators_make_no_formula(tmp_path: Path, separators: str) -> None:
    """A program that splits cells at tabs or semicolons finds no formula within a text either."""
    path = file(tmp_path, "spreadsheet", "gone;=1+1", "gone\t=1+1", "gone\n=1+1", "gone; =1+1;x")
    libreoffice(path, f"{separators},34,UTF8,1,")
    with zipfile.ZipFile(path.with_suffix(".ods")) as content:
        formulas = re.findall('table:formula="([^"]*)"', content.read("content.xml").decode())
    assert not [formula for formula in formulas if "1+1" in formula]


def test_csv_is_imported_by_libreoffice(tmp_path: Path) -> None:
    """Columns of the format 2, text, stay what they are."""
    columns = "/".join(f"{number}/2" for number in range(1, 14))
    assert in_libreoffice(file(tmp_path, "csv"), f"44,34,UTF8,1,{columns}") == as_text(TEXTS)


def test_csv_is_imported_by_sheetjs(tmp_path: Path) -> None:
    """Raw cells stay what they are; the code page is that of UTF-8."""
    assert in_sheetjs(file(tmp_path, "csv"), raw=True, codepage=65001) == as_text(TEXTS)


@pytest.mark.parametrize("read", [in_libreoffice, in_gnumeric, in_sheetjs])
def test_csv_is_opened(read: Callable[[Path], Cells], tmp_path: Path) -> None:
    """Why there is another format: opened without more ado, numbers lose their plus."""
    cells = dict(zip(TEXTS, read(file(tmp_path, "csv")), strict=True))
    assert cells["+15551234567"] != ("string", "+15551234567")
