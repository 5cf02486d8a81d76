"""Ids, and the text that they are made of."""

from __future__ import annotations

import pytest

from fastindex.names import ids
from fastindex.names.ids import Text


@pytest.mark.parametrize(
    'make',
    [
        lambda: Text.join([b'abcd', b'efg']),
        lambda: Text.repeat([b'abc'], [3]),
        lambda: Text.repeat([b'a', b'bcd'], [2, 2]),
        lambda: Text.cut(b'abcdefgh', 2),
    ],
)
def test_text_that_arrow_cannot_count_is_refused_and_not_written_with_negative_offsets(monkeypatch, make):
    monkeypatch.setattr(ids, 'MAX_TEXT_BYTES', 10)
    make()
    monkeypatch.setattr(ids, 'MAX_TEXT_BYTES', 6)
    with pytest.raises(OverflowError, match='Arrow counts to 6'):
        make()
