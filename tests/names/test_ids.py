"""Ids, and the text that they are made of."""

from __future__ import annotations

import uuid
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastindex import twins
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


@pytest.fixture(params=twins.TWINS)
def twin(request):
    if request.param not in ids.TWINS:
        pytest.skip('the kernel is not compiled: python hatch_build.py')
    return ids.TWINS[request.param]


def expected(namespace, name):
    return uuid.uuid3(uuid.UUID(bytes=namespace), name.decode()).bytes


def test_ids_are_those_of_the_standard_library_at_every_length(twin):
    namespaces = [uuid.uuid4().bytes for _ in range(3)]
    names = [b'a' * length for length in range(300)] + [b'b' * 5000, b'', 'größe.npy'.encode()]
    counts = [100, 0, len(names) - 100]
    found = twin.uuid3s(namespaces, counts, names)
    assert found == [expected(namespaces[0 if i < 100 else 2], name) for i, name in enumerate(names)]


@pytest.mark.long
def test_ids_are_those_of_the_standard_library_for_any_names(twin):
    @given(
        st.lists(st.tuples(st.binary(min_size=16, max_size=16), st.lists(st.text(max_size=99), max_size=9)))
    )
    def check(parts):
        encoded = [(namespace, [name.encode() for name in names]) for namespace, names in parts]
        found = twin.uuid3s(
            [namespace for namespace, _ in encoded],
            [len(names) for _, names in encoded],
            [name for _, names in encoded for name in names],
        )
        assert found == [expected(namespace, name) for namespace, names in encoded for name in names]

    check()


@pytest.mark.skipif('compiled' not in ids.TWINS, reason='the kernel is not compiled')
@pytest.mark.parametrize(
    'wrong', [([b'n'], [2], [b'a']), ([b'n'], [0], [b'a']), ([b'n'], [-1], []), ([], [], [b'a'])]
)
def test_compiled_ids_refuse_counts_that_are_not_those_of_the_names(wrong):
    with pytest.raises(ValueError, match='counts'):
        ids.TWINS['compiled'].uuid3s(*wrong)


@pytest.mark.skipif('compiled' not in ids.TWINS, reason='the kernel is not compiled')
@pytest.mark.parametrize(
    'wrong', [(['n'], [1], [b'a']), ([b'n'], ['1'], [b'a']), ([b'n'], [1], ['a']), ([b'n'], [], [b'a'])]
)
def test_compiled_ids_refuse_other_types(wrong):
    with pytest.raises((TypeError, IndexError)):
        ids.TWINS['compiled'].uuid3s(*wrong)


def test_characters_are_those_of_the_standard_library(twin):
    made = [bytes(range(first, first + 16)) for first in range(0, 240, 8)]
    assert twin.to_characters(b''.join(made)).decode() == ''.join(str(uuid.UUID(bytes=one)) for one in made)
    assert twin.to_characters(b'') == b''
    with pytest.raises(ValueError, match=r'\d'):
        twin.to_characters(b'17 bytes are none')


def test_ends_are_sums_of_lengths(twin):
    ends = array('I', twin.find_ends([b'abc', b'', b'\0' * 70_000]))
    assert list(ends) == [0, 3, 3, 70_003]
    assert twin.find_ends([]) == bytes(4)


@pytest.mark.skipif('compiled' not in ids.TWINS, reason='the kernel is not compiled')
@pytest.mark.parametrize(
    ('make', 'wrong'), [('to_characters', 'text'), ('find_ends', [b'a', 'text']), ('find_ends', b'bytes')]
)
def test_compiled_text_refuses_other_types(make, wrong):
    with pytest.raises(TypeError):
        getattr(ids.TWINS['compiled'], make)(wrong)
