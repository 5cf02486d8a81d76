"""Results: named fields, frozen, equal by value, and no tuples."""

from __future__ import annotations

import pickle

import pytest

import fastindex
from fastindex.names.problems import Reason
from fastindex.records import Record


class Point(Record):
    x: int
    y: int = 2


def test_a_record_has_its_fields_by_name_and_nothing_else():
    point = Point(1)
    assert (point.to_dict(), repr(point)) == ({'x': 1, 'y': 2}, 'Point(x=1, y=2)')
    assert point == Point(x=1) == pickle.loads(pickle.dumps(point)) != Point(1, 3)
    assert {point, Point(1)} == {point}
    assert sorted([Point(2), point.replace(y=3), point]) == [point, Point(1, 3), Point(2)]
    with pytest.raises(AttributeError, match='Point is frozen'):
        point.x = 3
    with pytest.raises(AttributeError):
        point.__dict__  # noqa: B018


@pytest.mark.parametrize('values', [(), (1, 2, 3)])
def test_a_record_without_a_value_or_with_one_too_many_is_an_error(values):
    with pytest.raises(TypeError, match='Point: expected values of x, y'):
        Point(*values)


def test_an_unknown_field_is_an_error():
    with pytest.raises(TypeError, match='Point: expected'):
        Point(1, z=2)


RESULTS = [
    'Archive',
    'Change',
    'Changes',
    'Difference',
    'Fault',
    'Finding',
    'Problem',
    'Release',
    'Skip',
    'Summary',
]


@pytest.mark.parametrize('name', RESULTS)
def test_no_result_is_a_tuple_which_a_new_field_would_break(name):
    result = getattr(fastindex, name)
    assert issubclass(result, Record)
    assert not issubclass(result, tuple)


def test_what_the_system_said_is_no_part_of_a_problem():
    assert fastindex.Problem('a', Reason.IO, 5) == fastindex.Problem('a', Reason.IO, 6)
    assert hash(fastindex.Problem('a', Reason.IO, 5)) == hash(fastindex.Problem('a', Reason.IO))
