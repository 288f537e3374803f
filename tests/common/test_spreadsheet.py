"""Text in CSV files never runs as a formula, and is read back as it was."""

import pytest

from common.spreadsheet import guarded, unguarded

FORMULA_STARTS = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"


@pytest.mark.parametrize("first", FORMULA_STARTS)
def test_no_cell_begins_like_a_formula(first):
    for text in (first, f"{first}1+1", f"'{first}x", f"''{first}"):
        assert guarded(text)[0] == "'"
        assert unguarded(guarded(text)) == text


@pytest.mark.parametrize("text", ["", "'", "a=b", "'a", "2015-02-16", " =1", "it's"])
def test_other_text_stays_as_it_is(text):
    assert guarded(text) == unguarded(text) == text


def test_texts_stay_different():
    texts = ["=a", "'=a", "''=a", "a", "'a"]
    assert len(set(map(guarded, texts))) == len(texts)
