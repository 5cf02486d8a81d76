"""Names that Windows cannot hold: the standard library's word on devices."""

from __future__ import annotations

import warnings
from itertools import product
from pathlib import PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastindex.names.windows import judge_for_windows

DEVICES = [
    'con',
    'PRN',
    'aux',
    'Nul',
    'com1',
    'COM9',
    'lpt1',
    'lpt²',
    'com0',
    'com',
    'co',
    'auxa',
    'aux-b',
    '_aux',
]


def is_device(name: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', DeprecationWarning)  # of Python 3.13, which has another way
        return PureWindowsPath(name).is_reserved()


def test_devices_are_those_of_the_standard_library_whatever_follows():
    for device, rest in product(DEVICES, ['', '.times.npy', '.npy', '.a.b.c']):
        assert ('is a device' in judge_for_windows(device + rest)) == is_device(device + rest), device + rest


@given(st.from_regex(r'[a-zA-Z0-9_]{1,4}(\.[a-z0-9]{1,3}){0,3}', fullmatch=True))
def test_of_plain_names_none_but_devices_are_wrong(name):
    assert bool(judge_for_windows(name)) == is_device(name)


@pytest.mark.parametrize('name', ['alf.', 'a ', *(f'a{character}b' for character in ':?*\\"|<>\x1f\n')])
def test_names_with_what_windows_takes_for_something_else_are_wrong(name):
    assert judge_for_windows(name)
