"""CSV files that people open and save in spreadsheets: cells that never run as formulas, and tables in any dialect."""

import codecs
import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import InputError
from common.files import check_readable

_STARTS_FORMULA = re.compile("'*[-=+@\t\r\n\uff0d\uff1d\uff0b\uff20]")  # the last four are full-width forms of - = + @
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_MOST_SHOWN = 80  # characters of a line in an error


@dataclass(frozen=True)
class Line:
    """A line of a table.

    Args:
        number: Line number in the file, from 1.
        cells: Its cells, without surrounding white space.
        separator: Character that separates them.
    """

    number: int
    cells: list[str]
    separator: str

    def __str__(self) -> str:
        """Return the description of the line in errors."""
        text = self.separator.join(self.cells)
        return f"line {self.number}, `{text if len(text) <= _MOST_SHOWN else f'{text[:_MOST_SHOWN]}…'}`,"


def guarded(text: str) -> str:
    """Return a cell that spreadsheets show as text and never run as a formula.

    Text that begins like a formula gets a leading apostrophe. Such text with apostrophes before it gets one more, so
    that `unguarded` restores every text.

    Source:
        OWASP, "CSV Injection".
    """
    return f"'{text}" if _STARTS_FORMULA.match(text) else text


def unguarded(cell: str) -> str:
    """Return the text of a cell that `guarded` made; any other cell is returned as it is."""
    return cell[1:] if cell.startswith("'") and _STARTS_FORMULA.match(cell) else cell


def has_header(path: Path, header: Sequence[str]) -> bool:
    """Return whether a table has these columns, see `read_table`.

    Raises:
        InputError: The file cannot be read.
    """
    first = _first_line(_text_of(path))
    return any(_is_header(first, separator, header) for separator in _SEPARATORS)


def read_table(path: Path, header: Sequence[str]) -> list[Line]:
    """Read a table as spreadsheets save it.

    Cells are separated by commas, semicolons or tabs. The text is UTF-8, or UTF-16 with a byte order mark. Header and
    cells may be quoted, and the header may be in any case. Empty lines, and empty cells at the end of a line, are
    skipped.

    Args:
        path: The CSV file.
        header: Names of the columns, in lower case.

    Returns:
        The lines below the header, at least one, each with a cell for every column.

    Raises:
        InputError: The file cannot be read, has another header or no line below it, or a line has more or fewer cells.
    """
    text = _text_of(path)
    wanted = ",".join(header)
    first = _first_line(text)
    separator = next((s for s in _SEPARATORS if _is_header(first, s, header)), None)
    if separator is None:
        raise InputError(
            f"{path} begins with {first[:_MOST_SHOWN]!r}: give a table with the header `{wanted}`, "
            "separated by commas, semicolons or tabs"
        )
    try:
        _, *lines = _lines(text, separator)
    except csv.Error as error:
        raise InputError(f"{path} cannot be read as a table ({error}): give a CSV file `{wanted}`") from error
    if not lines:
        raise InputError(f"{path} has no line below its header `{wanted}`: write at least one")
    wrong = next((line for line in lines if len(line.cells) != len(header)), None)
    if wrong is not None:
        raise InputError(
            f"{path}, {wrong} has the wrong number of cells: expected {len(header)} ({wanted}), separated by "
            f"{_SEPARATORS[separator]} as in the header; put cells that hold one between double quotes"
        )
    return lines


def _first_line(text: str) -> str:
    """Return the first line that is not empty."""
    return next((line for line in text.splitlines() if line.strip(',;\t "')), "")


def _text_of(path: Path) -> str:
    check_readable(path)
    content = path.read_bytes()
    is_utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if is_utf_16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} cannot be read as text ({error}): save it as CSV in UTF-8") from error


def _lines(text: str, separator: str) -> list[Line]:
    """Split a text into lines, without the empty ones."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    lines = []
    for row in reader:
        cells = [cell.strip() for cell in row]
        while cells and not cells[-1]:
            cells.pop()
        if cells:
            lines.append(Line(reader.line_num, cells, separator))
    return lines


def _is_header(line: str, separator: str, header: Sequence[str]) -> bool:
    try:
        lines = _lines(line, separator)
    except csv.Error:
        return False
    return bool(lines) and [cell.lower() for cell in lines[0].cells] == list(header)
