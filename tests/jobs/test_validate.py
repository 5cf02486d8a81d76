"""Findings: each code with a tree that has it, and the client's word on names."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
import termios
from contextlib import suppress
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from one.alf import io as alfio
from one.alf.exceptions import ALFWarning
from one.api import One

import fastindex
from fastindex import RULES, EmptyTreeError, Finding, RootError, Severity, Skip, UsageError
from fastindex.jobs.validate.npy import BadHeaderError, read_shape
from fastindex.jobs.validate.sessions import CheckTask
from fastindex.names.alf import SkipReason
from fastindex.tables.publish import iter_problems
from fastindex.text import MAX_FINDINGS, escape, to_text
from fastindex.trees import open_tree
from tests.support.cases import cases
from tests.support.trees import SESSION, Fifo, Link, Mode, Socket, digest_of, grow

DATE = 'lab/Subjects/s1/2024-01-01'
SUBJECT = 'lab/Subjects/s1'
GOOD = {f'{SESSION}/alf/spikes.times.npy': b''}
UUID_4 = '6cdb7b06-3fd2-4e1c-9d6e-2e4a8a4f1c11'


def validate(root, **options) -> list[Finding]:
    return list(fastindex.validate(root, **{'workers': 1, **options}))


def found(root, **options) -> list[tuple[str, str, str]]:
    return [(finding.code, finding.path, finding.fix) for finding in validate(root, **options)]


# Each code: a tree that has it, and exactly that finding with that fix

CASES = {
    'ALF104': [
        ({'trials.pqt': b''}, 'trials.pqt', ''),
        ({'.hidden.pqt': b''}, '.hidden.pqt', ''),
        ({'_ibl_trials.table.pqt': b''}, '_ibl_trials.table.pqt', ''),
    ],
    'ALF105': [
        ({'lab2/s1/2024-01-01/001/a.b.npy': b''}, 'lab2/s1', 'lab2/Subjects/s1'),
    ],
    'ALF111': [
        ({'code/tools/': None}, 'code', ''),
        ({'lab/histology/': None}, 'lab/histology', ''),
        ({'lab2/subjects/s1/2024-01-01/001/a.b.npy': b''}, 'lab2/subjects', 'lab2/Subjects'),
        ({'lab/s2/2024-01-01/001/a.b.npy': b''}, 'lab/s2', 'lab/Subjects/s2'),
        ({'lab/s1/2024-01-01/001/a.b.npy': b''}, 'lab/s1', ''),  # lab/Subjects/s1 is there
        ({'old/lab2/Subjects/s1/2024-01-01/001/a.b.npy': b''}, 'old/lab2', 'lab2'),
    ],
    'ALF112': [
        ({'my-lab/Subjects/s2/2024-01-01/001/a.b.npy': b''}, 'my-lab', 'my_lab'),
        ({'my-lab/Subjects/s2/2024-01-01/001/a.b.npy': b'', 'my_lab/Subjects/s3/2024-01-01/001/a.b.npy': b''},
         'my-lab', ''),
    ],
    'ALF113': [
        ({'lab/Subjects/my mouse/2024-01-01/001/a.b.npy': b''},
         'lab/Subjects/my mouse', 'lab/Subjects/my_mouse'),
        ({'my mouse/2024-01-01/002/a.b.npy': b''}, 'my mouse', 'my_mouse'),
    ],
    'ALF114': [
        ({f'{SUBJECT}/2024-1-2/001/a.b.npy': b''}, f'{SUBJECT}/2024-1-2', f'{SUBJECT}/2024-01-02'),
        ({f'{SUBJECT}/20240102/001/a.b.npy': b''}, f'{SUBJECT}/20240102', f'{SUBJECT}/2024-01-02'),
        ({f'{SUBJECT}/٢٠٢١-٠١-٠٢/001/a.b.npy': b''}, f'{SUBJECT}/٢٠٢١-٠١-٠٢', f'{SUBJECT}/2021-01-02'),
        ({f'{SUBJECT}/2024-1-1/001/a.b.npy': b''}, f'{SUBJECT}/2024-1-1', ''),  # 2024-01-01 is there
        ({f'{SUBJECT}/histology/': None}, f'{SUBJECT}/histology', ''),
        ({'s2/2024-1-2/001/a.b.npy': b''}, 's2/2024-1-2', 's2/2024-01-02'),  # no date at all in s2
    ],
    'ALF115': [
        ({f'{SUBJECT}/2021-02-30/001/a.b.npy': b''}, f'{SUBJECT}/2021-02-30', ''),
        ({f'{SUBJECT}/2021-30-01/001/a.b.npy': b''}, f'{SUBJECT}/2021-30-01', f'{SUBJECT}/2021-01-30'),
    ],
    'ALF116': [
        ({f'{DATE}/0002/a.b.npy': b''}, f'{DATE}/0002', f'{DATE}/002'),
        ({f'{DATE}/0001/a.b.npy': b''}, f'{DATE}/0001', ''),  # 001 is there
        ({f'{DATE}/1000/a.b.npy': b''}, f'{DATE}/1000', ''),
        ({f'{DATE}/alf/': None}, f'{DATE}/alf', ''),
        ({f'{DATE}/٠٠٣/a.b.npy': b''}, f'{DATE}/٠٠٣', f'{DATE}/003'),
    ],
    'ALF117': [
        ({f'{DATE}/2/a.b.npy': b''}, f'{DATE}/2', f'{DATE}/002'),
        ({f'{DATE}/02/a.b.npy': b''}, f'{DATE}/02', f'{DATE}/002'),
        ({'s1/2024-01-02/7/a.b.npy': b''}, 's1/2024-01-02/7', 's1/2024-01-02/007'),
    ],
    'ALF121': [
        ({f'{DATE}/1/a.b.npy': b''}, f'{DATE}/1', f'{DATE}/002'),
        ({f'{DATE}/1/a.b.npy': b'', f'{DATE}/002/a.b.npy': b''}, f'{DATE}/1', f'{DATE}/003'),
    ],
    'ALF122': [
        ({'lab_b/Subjects/s1/2024-01-01/001/a.b.npy': b''}, 'lab_b/Subjects/s1/2024-01-01/001', ''),
        ({'s1/2024-01-01/001/a.b.npy': b''}, 's1/2024-01-01/001', ''),
    ],
    'ALF123': [
        ({f'{SESSION}/2024-01-02/001/a.b.npy': b''},
         f'{SESSION}/2024-01-02/001', f'{SUBJECT}/2024-01-02/001'),
        ({f'{SESSION}/alf/2024-01-02/1/a.b.npy': b''},
         f'{SESSION}/alf/2024-01-02/1', f'{SUBJECT}/2024-01-02/001'),
        ({f'{SESSION}/2024-01-01/001/a.b.npy': b''}, f'{SESSION}/2024-01-01/001', ''),  # is there
        ({f'{SESSION}/lab_c/Subjects/s9/2024-01-02/001/a.b.npy': b''},
         f'{SESSION}/lab_c/Subjects/s9/2024-01-02/001', 'lab_c/Subjects/s9/2024-01-02/001'),
    ],
    'ALF124': [({f'{DATE}/002/': None}, f'{DATE}/002', ''), ({f'{DATE}/002/alf/': None}, f'{DATE}/002', '')],
    'ALF125': [
        ({f'{DATE}/spikes.times.npy': b''}, f'{DATE}/spikes.times.npy', ''),
        ({f'{SUBJECT}/spikes.times.npy': b''}, f'{SUBJECT}/spikes.times.npy', ''),
        ({'lab/spikes.times.npy': b''}, 'lab/spikes.times.npy', ''),
    ],
    'ALF201': [
        ({f'{SESSION}/alf/probe 00/a.b.npy': b''}, f'{SESSION}/alf/probe 00', f'{SESSION}/alf/probe_00'),
        ({f'{SESSION}/probe(1)/deep/a.b.npy': b''}, f'{SESSION}/probe(1)', f'{SESSION}/probe_1'),
        ({f'{SESSION}/p 0/a.b.npy': b'', f'{SESSION}/p_0/a.b.npy': b''}, f'{SESSION}/p 0', ''),  # is there
        ({f'{SESSION}/cafe\u0301/a.b.npy': b''}, f'{SESSION}/cafe\u0301', f'{SESSION}/caf\u00e9'),
    ],
    'ALF202': [
        ({f'{SESSION}/#2024-05-06/a.b.npy': b''}, f'{SESSION}/#2024-05-06', f'{SESSION}/#2024-05-06#'),
        ({f'{SESSION}/2024-05-06#/a.b.npy': b''}, f'{SESSION}/2024-05-06#', f'{SESSION}/#2024-05-06#'),
        ({f'{SESSION}/#may 6#/a.b.npy': b''}, f'{SESSION}/#may 6#', f'{SESSION}/#may_6#'),
        ({f'{SESSION}/##/a.b.npy': b''}, f'{SESSION}/##', ''),
    ],
    'ALF203': [
        ({f'{SESSION}/#a#/raw/a.b.npy': b''}, f'{SESSION}/#a#/raw', f'{SESSION}/raw/#a#'),
        ({f'{SESSION}/alf/#a#/raw/a.b.npy': b''}, f'{SESSION}/alf/#a#/raw', f'{SESSION}/alf/raw/#a#'),
        ({f'{SESSION}/#a#/#b#/a.b.npy': b''}, f'{SESSION}/#a#/#b#', ''),
        ({f'{SESSION}/#a#/raw/a.b.npy': b'', f'{SESSION}/raw/#a#/c.d.npy': b''}, f'{SESSION}/#a#/raw', ''),
    ],
    'ALF204': [
        ({f'{SESSION}/.snapshot/a.b.npy': b''}, f'{SESSION}/.snapshot', ''),
        ({'.Trash-0/': None}, '.Trash-0', ''),
        ({'lab/Subjects/.git/': None}, 'lab/Subjects/.git', ''),
    ],
    'ALF205': [({f'{SESSION}/x.zarr/0/0.0.0': b''}, f'{SESSION}/x.zarr', '')],
    'ALF206': [
        ({f'{SESSION}/@eaDir/a.b.npy': b''}, f'{SESSION}/@eaDir', ''),
        ({f'{SESSION}/alf/__MACOSX/a.b.npy': b''}, f'{SESSION}/alf/__MACOSX', ''),
        ({'lab/Subjects/#recycle/2024-01-01/001/a.b.npy': b''}, 'lab/Subjects/#recycle', ''),
        ({'lab/Subjects/s1/2024-01-01/~snapshot/': None}, 'lab/Subjects/s1/2024-01-01/~snapshot', ''),
        ({'lost+found/': None}, 'lost+found', ''),
        ({'System Volume Information/s1/2024-01-01/001/a.b.npy': b''}, 'System Volume Information', ''),
    ],
    'ALF207': [({'.fastindexignore': b'raw/', f'{SESSION}/raw/a b': b''}, f'{SESSION}/raw', '')],
    'ALF301': [
        ({f'{SESSION}/spikes_depths.npy': b''},
         f'{SESSION}/spikes_depths.npy', f'{SESSION}/spikes.depths.npy'),
        ({f'{SESSION}/notes.txt': b''}, f'{SESSION}/notes.txt', ''),
        ({f'{SESSION}/README': b''}, f'{SESSION}/README', ''),
    ],
    'ALF302': [
        ({f'{SESSION}/a..b.npy': b''}, f'{SESSION}/a..b.npy', f'{SESSION}/a.b.npy'),
        ({f'{SESSION}/a.b.npy.': b''}, f'{SESSION}/a.b.npy.', f'{SESSION}/a.b.npy'),
        ({f'{SESSION}/a..npy': b''}, f'{SESSION}/a..npy', ''),
    ],
    'ALF303': [
        ({f'{SESSION}/spikes._times.npy': b''},
         f'{SESSION}/spikes._times.npy', f'{SESSION}/spikes.times.npy'),
        ({f'{SESSION}/spikes.times_.npy': b''},
         f'{SESSION}/spikes.times_.npy', f'{SESSION}/spikes.times.npy'),
    ],
    'ALF304': [
        ({f'{SESSION}/my file.v1.txt': b''}, f'{SESSION}/my file.v1.txt', f'{SESSION}/my_file.v1.txt'),
        ({f'{SESSION}/_ibl_my-trials.goCue-times.npy': b''},
         f'{SESSION}/_ibl_my-trials.goCue-times.npy', f'{SESSION}/_ibl_my_trials.goCue_times.npy'),
        ({f'{SESSION}/a.caf\u00e9.npy': b''}, f'{SESSION}/a.caf\u00e9.npy', f'{SESSION}/a.cafe.npy'),
        ({f'{SESSION}/spikes.times.npy\n': b''},
         f'{SESSION}/spikes.times.npy\n', f'{SESSION}/spikes.times.npy'),
        ({f'{SESSION}/-.-.-': b''}, f'{SESSION}/-.-.-', ''),
    ],
    'ALF305': [
        ({f'{SESSION}/_ibltrials.a.npy': b''}, f'{SESSION}/_ibltrials.a.npy', f'{SESSION}/ibltrials.a.npy'),
        ({f'{SESSION}/__ibl_trials.a.npy': b''},
         f'{SESSION}/__ibl_trials.a.npy', f'{SESSION}/_ibl_trials.a.npy'),
        ({f'{SESSION}/_ibl__trials.a.npy': b''},
         f'{SESSION}/_ibl__trials.a.npy', f'{SESSION}/_ibl_trials.a.npy'),
    ],
    'ALF306': [
        ({f'{SESSION}/alf/Spikes.times.npy': b''}, f'{SESSION}/alf/spikes.times.npy', ''),
        ({f'{SESSION}/Alf/a.b.npy': b''}, f'{SESSION}/alf', ''),
        ({f'{SUBJECT}/2024-01-02/001/a.b.npy': b'', 'lab/Subjects/S1/2024-01-03/001/a.b.npy': b''},
         SUBJECT, ''),
        ({'Lab/Subjects/s2/2024-01-01/001/a.b.npy': b''}, 'lab', ''),
        ({'lab/subjects/s2/2024-01-01/001/a.b.npy': b''}, 'lab/subjects', ''),
    ],
    'ALF307': [
        ({f'{SESSION}/alf/spikes.times.csv': b''}, f'{SESSION}/alf/spikes.times.npy', ''),
        ({f'{SESSION}/alf/_ibl_spikes.times.npy': b''}, f'{SESSION}/alf/spikes.times.npy', ''),
        ({f'{SESSION}/alf/{name}.a_bpod.x.npy': b'' for name in ('_ibl_trials', '_me_trials')},
         f'{SESSION}/alf/_me_trials.a_bpod.x.npy', ''),
    ],
    'ALF308': [
        ({f'{SESSION}/{name}': b''}, f'{SESSION}/{name}', '')
        for name in (
            *('.x.swp', '.spikes.times.npy.swp', 'x~', 'spikes.times.npy~', '#x#', '._x', '._x.a.b', '.#x'),
            *('Thumbs.db', 'desktop.ini', '.DS_Store', 'spikes.times.npy.tmp', 'spikes.times.npy.part'),
            *('.spikes.times.npy.a1B2c3', '.nfs0000000012ab', '~$notes.docx'),
        )
    ] + [
        ({f'{DATE}/._x': b''}, f'{DATE}/._x', ''),
        ({f'{SESSION}/.#x': Link('user@host.1234')}, f'{SESSION}/.#x', ''),  # Emacs locks by such links
    ],
    'ALF315': [
        ({f'{SESSION}/alf/{name}': b''}, f'{SESSION}/alf/{name}', '')  # beside the original, which is GOOD
        for name in (
            *('spikes.times.npy.6eF1b2A0', 'spikes.times.sync-conflict-20240506-123456-ABCDEFG.npy'),
            *("spikes.times (Bob's conflicted copy 2024-05-06).npy", 'spikes.times - Copy.npy'),
        )
    ],
    'ALF316': [({f'{SESSION}/a.b.{UUID_4}.npy': b''}, f'{SESSION}/a.b.{UUID_4}.npy', '')],
    'ALF413': [
        ({f'{SESSION}/{name}': b''}, f'{SESSION}/{name}', '')
        for name in ('.a.b.npy.icloud', '._ibl_a.b.npy.icloud', 'a.b.npy.nextcloud', '.notes.txt.icloud')
    ] + [
        ({f'{SESSION}/a.b.npy': Link('../.git/annex/objects/1J/k0/E/E')}, f'{SESSION}/a.b.npy', ''),
    ],
    'ALF309': [({f'{SESSION}/.gitignore': b''}, f'{SESSION}/.gitignore', '')],
    'ALF402': [
        ({f'{SESSION}/a.b.npy': Link('nowhere')}, f'{SESSION}/a.b.npy', ''),
        ({f'{SESSION}/raw': Link('nowhere')}, f'{SESSION}/raw', ''),
        ({f'{DATE}/002': Link('nowhere')}, f'{DATE}/002', ''),
    ],
    'ALF403': [
        ({f'{SESSION}/a.b.npy': Link('a.b.npy')}, f'{SESSION}/a.b.npy', ''),
        ({f'{SESSION}/again': Link('.')}, f'{SESSION}/again', ''),
        ({f'{DATE}/002': Link('002')}, f'{DATE}/002', ''),
    ],
    'ALF404': [
        ({f'{SESSION}/a.b.npy': Fifo()}, f'{SESSION}/a.b.npy', ''),
        ({'s9/2024-01-01/001/a.b.npy': Socket()}, 's9/2024-01-01/001/a.b.npy', ''),  # a short path
    ],
    'ALF405': [
        ({SESSION.encode() + b'/caf\xe9.b.npy': b''},
         f'{SESSION}/caf\\xe9.b.npy', f'{SESSION}/caf\u00e9.b.npy'),
        ({SESSION.encode() + b'/\xe9 x.b.npy': b''}, f'{SESSION}/\\xe9 x.b.npy', f'{SESSION}/\u00e9_x.b.npy'),
        ({SESSION.encode() + b'/\xe9.txt': b''}, f'{SESSION}/\\xe9.txt', ''),
        ({SESSION.encode() + b'/caf\xe9/a.b.npy': b''}, f'{SESSION}/caf\\xe9', f'{SESSION}/caf\u00e9'),
        ({b'lab/Subjects/\xe9/2024-01-01/001/a.b.npy': b''}, 'lab/Subjects/\\xe9', 'lab/Subjects/\u00e9'),
    ],
    'ALF406': [({f'{SESSION}/{"d/" * 70}': None}, f'{SESSION}/{"d/" * 64}'[:-1], '')],
    'ALF412': [
        ({f'{SESSION}/aux.times.npy': b''}, f'{SESSION}/aux.times.npy', ''),
        ({f'{SESSION}/nul/a.b.npy': b''}, f'{SESSION}/nul', ''),
        ({f'{SESSION}/raw./a.b.npy': b''}, f'{SESSION}/raw.', f'{SESSION}/raw'),
        ({f'{SESSION}/alf./a.b.npy': b''}, f'{SESSION}/alf.', ''),  # alf is there
        ({'COM1/Subjects/s2/2024-01-01/001/a.b.npy': b''}, 'COM1', ''),
        ({'lab/Subjects/prn.2/2024-01-01/001/a.b.npy': b''}, 'lab/Subjects/prn.2', ''),
        ({f'{SESSION}/{"a" * 150}/{"b" * 90}.c.npy': b''}, f'{SESSION}/{"a" * 150}/{"b" * 90}.c.npy', ''),
    ],
}  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize(
    ('code', 'tree', 'path', 'fix'),
    [(code, *case) for code, cases in CASES.items() for case in cases],
    ids=[f'{code}-{i}' for code, cases in CASES.items() for i in range(len(cases))],
)
def test_each_code_has_a_tree_with_exactly_that_finding_and_fix(make_tree, code, tree, path, fix):
    root = make_tree({**GOOD, **tree})
    assert found(root) == [(code, path, fix)]


def test_names_that_are_one_to_the_eye_are_twins_and_none_is_the_fix_of_the_other(make_tree):
    root = make_tree({**GOOD, f'{SESSION}/e\u0301/a.b.npy': b'', f'{SESSION}/\u00e9/a.b.npy': b''})
    assert found(root) == [
        ('ALF201', f'{SESSION}/e\u0301', ''),
        ('ALF306', f'{SESSION}/\u00e9', ''),
    ]


def test_no_two_sessions_get_the_same_number(make_tree):
    root = make_tree(
        {**GOOD, f'{DATE}/01/a.b.npy': b'', f'{DATE}/1/a.b.npy': b'', 's2/2024-01-01/1/a.b.npy': b''}
    )
    grow(root, {'s2/2024-01-01/0001/': None})
    assert found(root) == [
        ('ALF121', f'{DATE}/01', f'{DATE}/002'),
        ('ALF121', f'{DATE}/1', f'{DATE}/003'),
        ('ALF116', 's2/2024-01-01/0001', ''),
        ('ALF117', 's2/2024-01-01/1', 's2/2024-01-01/001'),
    ]


def test_a_session_whose_datasets_the_client_cannot_name_has_none(make_tree):
    root = make_tree({**GOOD, f'{DATE}/002/a b/c.d.npy': b''})
    assert [code for code, *_ in found(root)] == ['ALF124', 'ALF201']


def test_the_files_of_one_recording_of_spikeglx_belong_together(make_tree):
    root = make_tree(
        {f'{SESSION}/_spikeglx_ephysData_g0_t0.imec.ap.{e}': b'' for e in ('cbin', 'ch', 'meta')}
    )
    assert found(root) == []


# The root


@pytest.mark.parametrize(
    ('start', 'code', 'right'),
    [
        ('..', 'ALF101', '.'),
        ('lab', 'ALF102', '.'),
        ('lab/Subjects', 'ALF102', '.'),
        ('lab/Subjects/s1', 'ALF102', '.'),
        (DATE, 'ALF102', '.'),
        (SESSION, 'ALF102', '.'),
        (f'{SESSION}/alf', 'ALF102', '.'),
        ('empty', 'ALF103', None),
    ],
)
def test_a_wrong_root_is_the_one_finding_and_names_the_right_one(make_tree, start, code, right):
    root = make_tree({**GOOD, 'empty/': None})
    expected = '' if right is None else str(root)
    assert found(root / start) == [(code, '.', expected)]


def test_a_root_in_a_session_path_is_a_finding_beside_sessions_that_are_found(make_tree):
    root = make_tree({'s1/2024-01-01/001/' + path: content for path, content in GOOD.items()})
    assert found(root / 's1/2024-01-01/001') == [('ALF102', '.', str(root))]


def test_dates_that_are_all_wrong_are_named_though_no_session_is_left(make_tree):
    root = make_tree({'s1/2024-1-1/001/a.b.npy': b'', 's2/': None})
    assert found(root) == [
        ('ALF103', '.', ''),
        ('ALF114', 's1/2024-1-1', 's1/2024-01-01'),
        ('ALF111', 's2', ''),
    ]


def test_a_date_without_sessions_makes_no_other_root_of_this_one(make_tree):
    assert found(make_tree({'s1/2024-01-01/': None})) == [('ALF103', '.', '')]


def test_a_root_that_is_no_folder_is_an_error(tmp_path):
    with pytest.raises(RootError, match='no such folder'):
        fastindex.validate(tmp_path / 'nowhere')


# What the file system says


def test_an_unreadable_folder_is_a_finding_with_errno_and_the_rest_is_checked(open_folder):
    folders = {f'{DATE}/002/': Mode(0), f'{SESSION}/raw/': Mode(0), 'lab2/': Mode(0)}
    root = grow(open_folder, {**GOOD, **folders, f'{SESSION}/x': b''})
    denied = 'the system says: Permission denied (errno 13)'
    assert [(finding.code, finding.path, finding.message) for finding in validate(root)] == [
        ('ALF401', f'{SESSION}/raw', denied),
        ('ALF301', f'{SESSION}/x', 'no dot, where object.attribute.extension has two'),
        ('ALF401', f'{DATE}/002', denied),
        ('ALF401', 'lab2', denied),
    ]


@pytest.mark.parametrize('name', ['a.b.npy', 'folder', '\udce9.b.npy'])
@pytest.mark.parametrize('above', [SESSION, 'lab/Subjects', f'{SESSION}/alf'])
@pytest.mark.parametrize('target', ['../no where/\x1b\udce9', '/nowhere', 'itself'])
def test_a_link_that_cannot_be_followed_says_where_it_leads(make_tree, name, above, target):
    target = name if target == 'itself' else target
    root = make_tree({**GOOD, f'{above}/{name}': Link(target)})
    finding = next(finding for finding in validate(root) if finding.code in ('ALF402', 'ALF403'))
    (problem,) = fastindex.build(root, workers=1).problems
    assert problem.link == to_text(target)
    for text in (str(finding), str(problem)):
        assert f'a link to {escape(to_text(target))}: ' in text
    assert [kept.link for kept in iter_problems(root)] == [problem.link]


@pytest.mark.parametrize(('name', 'code'), [('gone', 'ALF407'), ('x' * 300, 'ALF408')])
def test_a_session_that_is_gone_or_fails_is_a_finding(make_tree, name, code):
    tree = open_tree(make_tree(GOOD))
    path = f'{name}/2024-01-01/001'
    result = CheckTask(tree, [path.encode()], frozenset(RULES), deep=False).run()
    tree.close()
    assert [(finding.code, finding.path) for finding in result.findings] == [(code, path)]


def test_links_are_followed_or_named(make_tree, tmp_path):
    other = grow(tmp_path / 'other', {'x y/a.b.npy': b''})
    root = make_tree(
        {**GOOD, f'{SESSION}/raw': Link(str(other)), f'{SESSION}/c.d.npy': Link('alf/spikes.times.npy')}
    )
    assert found(root) == [('ALF201', f'{SESSION}/raw/x y', f'{SESSION}/raw/x_y')]
    assert found(root, follow_symlinks=False) == [
        ('ALF409', f'{SESSION}/c.d.npy', ''),
        ('ALF409', f'{SESSION}/raw', ''),
    ]


def test_nothing_below_the_root_is_changed(make_tree):
    root = make_tree({**GOOD, f'{SESSION}/a b/c.d.npy': b'x'})
    before = digest_of(root)
    validate(root, deep=True)
    assert digest_of(root) == before


# --deep


def npy(*shape: int, **options) -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros(shape, **options))
    return file.getvalue()


def objects(**arrays: bytes) -> dict[str, bytes]:
    return {f'{SESSION}/alf/_ns_spikes.{name}.npy': content for name, content in arrays.items()}


@pytest.mark.parametrize(
    ('shapes', 'odd'),
    [
        ({'times': (3,), 'clusters': (3,), 'depths': (3, 2)}, []),
        ({'times': (3,), 'clusters': (1,)}, []),
        ({'times': (3,), 'clusters': (2,), 'depths': (3,)}, ['clusters']),
        ({'times': (3,), 'clusters': (2,)}, ['clusters']),
        ({'times': (3,), 'clusters': (2,), 'depths': (1,)}, ['clusters']),
        ({'times': (2,), 'timestamps': (2, 2)}, []),
        ({'times': (9,), 'timestamps': (2, 2)}, []),
        ({'times': (9,), 'timestamps': (9, 1)}, []),
        ({'times': (9,), 'timestamps': (9, 2)}, ['timestamps']),
        ({'times': (9,), 'timestamps': (8,)}, ['timestamps']),
        ({'times': (0,), 'clusters': (3,)}, ['times']),
        ({'times': (3,), 'clusters': (3,), 'times.probe00': (2,), 'clusters.probe00': (2,)}, []),
        ({'times': (3,), 'times.probe00': (2,), 'clusters.probe00': (4,)}, ['times.probe00']),
    ],
)
def test_deep_finds_what_the_client_calls_inconsistent(make_tree, shapes, odd):
    root = make_tree(objects(**{name: npy(*shape) for name, shape in shapes.items()}))
    assert found(root) == []
    assert found(root, deep=True) == [('ALF501', f'{SESSION}/alf/_ns_spikes.{name}.npy', '') for name in odd]
    extras = {'.'.join(name.split('.')[1:]) for name in shapes}  # of each the arrays belong together
    bunches = [
        {name: np.zeros(shape) for name, shape in shapes.items() if '.'.join(name.split('.')[1:]) == extra}
        for extra in extras
    ]
    assert any(map(alfio.check_dimensions, bunches)) == bool(odd)


def test_deep_compares_what_the_client_loads_together(make_tree, build):
    part = f'{SESSION}/alf/'
    tree = {
        f'{part}_ns_spikes.times.npy': npy(3),
        f'{part}#2024-01-01#/_ns_spikes.times.npy': npy(4),
        f'{part}#2024-02-02#/_ns_spikes.times.npy': npy(5),
        f'{part}_ns_spikes.clusters.npy': npy(5),
        f'{part}_ns_spikes.depths.npy': npy(5),
    }
    root = make_tree(tree)
    assert found(root, deep=True) == []
    build(root)
    with pytest.warns(ALFWarning, match='Multiple revisions'):
        bunch = One(cache_dir=root, mode='local').load_object(
            SESSION.partition('Subjects/')[2], 'spikes', collection='alf'
        )
    assert {len(array) for array in bunch.values()} == {5}
    os.unlink(root / f'{part}#2024-02-02#/_ns_spikes.times.npy')
    assert found(root, deep=True) == [('ALF501', f'{part}#2024-01-01#/_ns_spikes.times.npy', '')]


def test_deep_reads_how_long_a_table_is(make_tree):
    def table(rows: int) -> bytes:
        return parquet(pl.DataFrame({'intervals': range(rows)}))

    path = f'{SESSION}/alf/_ns_trials.table.pqt'
    tree = {path: table(7), f'{SESSION}/alf/_ns_trials.laser.npy': npy(7)}
    assert found(make_tree(tree), deep=True) == []
    tree[path] = table(9)
    assert found(make_tree(tree), deep=True) == [('ALF501', f'{SESSION}/alf/_ns_trials.laser.npy', '')]
    tree[path] = table(9)[:-4]
    assert found(make_tree(tree), deep=True) == [('ALF502', path, '')]


def parquet(frame: pl.DataFrame, **options: Any) -> bytes:
    file = io.BytesIO()
    frame.write_parquet(file, **options)
    return file.getvalue()


FRAME = pl.DataFrame({name: range(9000) for name in 'abcd'})
TABLE = parquet(FRAME, row_group_size=3000)
HALF = len(TABLE) // 2


@pytest.mark.parametrize(
    'content',
    [
        TABLE[:HALF] + TABLE[HALF + 100 :],
        TABLE[:4] + b'xx' + TABLE[4:],
        bytes(2000) + TABLE[2000:],
        TABLE[:4] + bytes(HALF) + TABLE[4 + HALF :],
        b'X' + TABLE[1:],
    ],
    ids=['a piece is missing', 'there is more', 'it starts with zeros', 'a hole', 'no mark'],
)
def test_deep_names_a_table_whose_columns_are_not_where_its_end_says(make_tree, content):
    tree = {f'{SESSION}/a.table.pqt': content, f'{SESSION}/b.table.pqt': TABLE}
    assert found(make_tree(tree), deep=True) == [('ALF502', f'{SESSION}/a.table.pqt', '')]


@pytest.mark.parametrize('use_pyarrow', [False, True])
@pytest.mark.parametrize('compression', ['uncompressed', 'snappy', 'zstd'])
def test_deep_finds_the_columns_of_tables_of_any_kind(make_tree, use_pyarrow, compression):
    frames = {
        'none': FRAME[:0],
        'text': FRAME.select(pl.col('a').cast(pl.String), pl.lit('x').cast(pl.Categorical).alias('b')),
        'lists': FRAME.select(pl.concat_list('a', 'b'), pl.struct('c', 'd')),
        'nulls': FRAME.select(pl.lit(None).alias('a'), pl.lit(None, pl.Float32).alias('b')),
        'more': FRAME,
    }
    tree = {
        f'{SESSION}/{name}.table.pqt': parquet(frame, use_pyarrow=use_pyarrow, compression=compression)
        for name, frame in frames.items()
    }
    assert found(make_tree(tree), deep=True) == []


@pytest.mark.parametrize(
    ('content', 'says'),
    [
        (b'', 'the file is empty'),
        (b'x' * 100, 'it does not begin as a .npy file does'),
        (npy(3)[:50], 'the header is cut off'),
        (b'\x93NUMPY\x09\x00' + npy(3)[8:], 'version 9.0 of the format is not known'),
        (b'\x93NUMPY\x02\x00\xff\xff\xff\xff' + npy(3)[10:], 'a header of 4,294,967,295 bytes'),
        (npy(3).replace(b'(3,)', b'os()'), 'the header is not as numpy writes it'),
        (npy(3)[:-1], 'the file is cut off: 151 of 152 bytes'),
        (npy(2, 3, dtype='U5')[:-1], 'the file is cut off: 247 of 248 bytes'),
        (npy(3, dtype='datetime64[ns]')[:-8], 'the file is cut off: 144 of 152 bytes'),
    ],
    ids=['empty', 'text', 'cut', 'version', 'size', 'shape', 'bytes', 'text of', 'times'],
)
def test_deep_names_a_damaged_array(make_tree, content, says):
    root = make_tree(objects(times=content, clusters=npy(3)))
    (finding,) = validate(root, deep=True)
    assert (finding.code, finding.message) == ('ALF502', says)


def saved(values: Any, dtype: Any = None) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array(values, dtype))
    return file.getvalue()


OBJECTS, RECORDS = saved([1, 'a', None], object), saved(np.zeros(3, [('a', 'f8'), ('b', 'i4', (2, 3))]))
NESTED = saved(np.zeros(3, [('a', [('x', 'f4'), ('y', '?')]), ('b', 'M8[ns]')]))
ALIGNED = saved(np.zeros(3, np.dtype([('a', '?'), ('b', 'f8')], align=True)))
HEADERS = {
    'objects': OBJECTS,
    'objects cut': OBJECTS[:-4],
    'objects of zeros': OBJECTS[:-4] + bytes(4),
    'records': RECORDS,
    'records cut': RECORDS[:-1],
    'nested': NESTED,
    'nested cut': NESTED[:-1],
    'aligned': ALIGNED,
    'aligned cut': ALIGNED[:-1],
    'titles': saved(np.zeros(3, [(('f8', 'a'), 'i1')])),
    'scalar': saved(1.0),
    'more after it': npy(3) + b'x',
    'Python 2': npy(3).replace(b'(3,), }  ', b'(3L,), } '),
    'Python 2, more': npy(3, 2).replace(b'(3, 2), }  ', b'(3L, 2L), }'),
    'other quotes': npy(3).replace(b"'", b'"'),
    'other order': npy(3).replace(
        b"'fortran_order': False, 'shape': (3,)", b"'shape': (3,), 'fortran_order': False"
    ),
    'no such number': npy(3).replace(b'<f8', b'<f7'),
    'no such kind': npy(3).replace(b'descr', b'desdr'),
    'no order': npy(3).replace(b'False', b'Fblse'),
    'nul': npy(3).replace(b'   ', b'\0\0\0', 1),
    'open': npy(3).replace(b'}', b' '),
    'minor version': npy(3)[:7] + b'\1' + npy(3)[8:],
    'another key': npy(3).replace(b', }        ', b", 'x': True}"),
    'a key twice': npy(3).replace(b'fortran_order', b'descr').replace(b'False', b"'<f8'"),
}


@pytest.mark.parametrize('content', HEADERS.values(), ids=HEADERS)
def test_deep_names_what_numpy_cannot_load_and_nothing_else(make_tree, content):
    path = make_tree({f'{SESSION}/a.b.npy': content}) / SESSION / 'a.b.npy'
    codes = [code for code, *_ in found(path.parents[len(SESSION.split('/'))], deep=True)]
    try:
        with suppress(UserWarning):  # that it is of Python 2
            np.load(path, allow_pickle=True)
    except Exception:
        assert codes == ['ALF502']
    else:
        assert codes == []


@pytest.mark.parametrize(
    ('content', 'says'),
    [
        (b'/annex/objects/MD5E-s1--d41d8cd98f00b204e9800998ecf8427e.npy\n', 'git annex get'),
        (b'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n', 'git lfs pull'),
    ],
)
def test_deep_names_a_pointer_and_what_fetches_the_content(make_tree, content, says):
    tree = {f'{SESSION}/a.b.npy': content, f'{SESSION}/a.c.npy': npy(1), f'{SESSION}/a.d.mp4': content}
    findings = validate(make_tree({**tree, f'{SESSION}/a.e.mp4': content + bytes(2000)}), deep=True)
    assert [(one.code, one.path) for one in findings] == [
        ('ALF413', f'{SESSION}/a.b.npy'),
        ('ALF413', f'{SESSION}/a.d.mp4'),
    ]
    assert all(says in one.message for one in findings)


def test_deep_does_not_open_what_is_no_file(make_tree):
    root = make_tree({**objects(times=npy(3)), f'{SESSION}/alf/_ns_spikes.depths.npy': Fifo()})
    assert [code for code, *_ in found(root, deep=True)] == ['ALF404']


@given(
    st.lists(st.integers(0, 2**40), max_size=4),
    st.sampled_from(['<f8', '|b1', '<U7', [('shape', '<i4'), ('b', '|S3')]]),
    st.booleans(),
    st.sampled_from([np.lib.format.write_array_header_1_0, np.lib.format.write_array_header_2_0]),
)
def test_the_shape_is_the_one_that_numpy_wrote(shape, dtype, fortran, write):
    file = io.BytesIO()
    header = {'shape': tuple(shape), 'fortran_order': fortran, 'descr': dtype}
    write(file, header)
    with open(os.memfd_create('array'), 'wb', buffering=0) as array:
        array.write(file.getvalue())
        wanted = file.tell() + prod(shape) * np.dtype(dtype).itemsize
        if wanted < 2**62:
            array.truncate(wanted)
            assert read_shape(array.fileno()) == tuple(shape)
            array.truncate(wanted - (wanted > file.tell()))
        if wanted > file.tell():
            with pytest.raises(BadHeaderError, match='cut off'):
                read_shape(array.fileno())


@given(st.binary(max_size=300), st.integers(0, 127))
def test_a_header_of_any_bytes_is_read_or_refused(content, keep):
    with open(os.memfd_create('array'), 'wb', buffering=0) as array:
        array.write(npy(3)[:keep] + content)
        with suppress(BadHeaderError):
            assert all(length >= 0 for length in read_shape(array.fileno()))


# The whole

AWKWARD = {
    **GOOD,
    f'{SESSION}/notes.txt': b'',
    f'{SESSION}/a b.c.npy': b'',
    f'{SESSION}/a-b.c.npy': b'',
    f'{SESSION}/#r#/raw/a.b.npy': b'',
    f'{SESSION}/x.zarr/0': b'',
    f'{DATE}/2/a.b.npy': b'',
    f'{DATE}/002/a.b.npy': b'',
    f'{DATE}/alf/a.b.npy': b'',
    f'{SUBJECT}/2021-02-30/001/a.b.npy': b'',
    'my-lab/Subjects/my mouse/2024-01-01/001/.x.swp': b'',
    'my-lab/Subjects/my mouse/2024-01-01/01/a.b.npy': b'',
    's1/2024-01-01/001/a.b.npy': Link('nowhere'),
    's!/2024-01-01/001/a.b.npy': b'',
    'code/': None,
    'trials.pqt': b'',
}


@pytest.mark.long
def test_a_clean_tree_has_no_findings(example_tree):
    root, summary = example_tree
    findings = fastindex.validate(root, deep=True)
    assert list(findings) == []
    assert (findings.sessions, findings.files) == (summary.sessions, summary.datasets)


@pytest.mark.long
def test_findings_are_sorted_by_path_whatever_the_workers_and_the_order_of_listings(make_tree, relist):
    root = make_tree(
        {**AWKWARD, **{f'm{i}/2024-01-01/1/x': b'' for i in range(40)}, 's1-b/2024-01-01/1/x': b''}
    )
    expected = validate(root)
    assert len(expected) > 90
    assert [f.path for f in expected] == sorted(f.path for f in expected)
    assert validate(root, workers=3) == expected
    relist(lambda entries: sorted(entries, reverse=True))
    assert validate(root) == expected


def test_an_index_in_the_root_is_no_finding(make_tree, build):
    root = make_tree({**GOOD, f'{SESSION}/alf/a.b.npy': Fifo()})
    build(root)
    assert found(root) == [('ALF404', f'{SESSION}/alf/a.b.npy', '')]


def test_no_two_names_in_a_folder_get_the_same_fix(make_tree):
    fixes = [finding.fix for finding in validate(make_tree(AWKWARD)) if finding.fix]
    assert len(set(fixes)) == len(fixes) > 3


def test_the_sessions_are_those_of_a_build(make_tree, build):
    root = make_tree({**AWKWARD, f'{SESSION}/alf/#r#/a.b.npy': b''})
    findings = fastindex.validate(root, workers=1)
    list(findings)
    assert findings.sessions == build(root, dry_run=True).sessions


parts = st.sampled_from(
    ['lab', 'Subjects', 's1', 's 1', '2024-01-01', '2024-1-1', '2021-02-30', '001', '1', '0001', 'alf', 'a b']
    + ['#r#', '#r', '.dot', 'x.zarr', 'caf\udce9']
)
sessions = st.sampled_from(
    [SESSION, 's1/2024-01-01/001', 's1/2024-01-01/1', 'lab/Subjects/s 1/2024-01-01/02']
)
folders = st.builds(
    '/'.join,
    st.one_of(st.lists(parts, max_size=5), st.tuples(sessions, st.lists(parts, max_size=3).map('/'.join))),
)
file_names = st.sampled_from(
    [
        'spikes.times.npy',
        'Spikes.times.npy',
        'a b.c.npy',
        'x',
        '.x.swp',
        'a.b.npy.part',
        '_nsa.b.npy',
        'caf\udce9.a.b',
    ]
)
trees = st.dictionaries(
    st.tuples(folders, file_names).map('/'.join),
    st.sampled_from([b'', b'', b'', Link('nowhere'), Link('.'), Fifo()]),
    min_size=1,
    max_size=12,
)


@pytest.mark.long
@given(trees)
@settings(max_examples=cases(100))
def test_whatever_a_build_leaves_out_of_a_session_has_a_finding(tree):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, 'root')
        for path, content in tree.items():
            with suppress(OSError):  # a file where another path has a folder
                grow(root, {os.path.normpath(path).lstrip('/'): content})
        skips: list[Skip] = []
        with suppress(EmptyTreeError):
            problems = fastindex.build(root, workers=1, dry_run=True, on_skip=skips.append).problems
            findings = {finding.path for finding in validate(root)}
            for path, reason in ((one.path, one.reason) for one in [*skips, *problems]):
                above = {path, *map(str, Path(path).parents)}
                if reason == SkipReason.NOT_LAB_OR_SUBJECT:  # said of what is in it, where that tells more
                    assert any((finding + '/').startswith(path + '/') for finding in findings)
                else:
                    assert above & findings, (path, reason)


@pytest.mark.long
@pytest.mark.skipif(not shutil.which('strace'), reason='strace is not installed')
def test_no_file_is_opened_or_asked_for_its_size(make_tree, tmp_path):
    root = make_tree({**GOOD, f'{SESSION}/notes.txt': b'', f'{DATE}/x.y.npy': b''})
    trace = tmp_path / 'trace'
    command = [sys.executable, '-m', 'fastindex', 'validate', root, '--workers', '1']
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)}
    subprocess.run(['strace', '-f', '-o', trace, '-e', 'trace=%file', *command], check=True, env=environment)
    calls = trace.read_text()
    assert '"alf", O_RDONLY' in calls
    assert not re.search('"[^"]*(spikes.times.npy|notes.txt|x.y.npy)"', calls)


@pytest.mark.long
def test_progress_is_shown_on_a_terminal_only(make_tree):
    root = make_tree({f's{i}/2024-01-01/001/a.b.npy': b'' for i in range(300)})
    command = [sys.executable, '-m', 'fastindex', 'validate', root, '--workers', '1']
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)}
    assert subprocess.run(command, capture_output=True, check=True, env=environment).stderr == b''
    primary, secondary = pty.openpty()
    termios.tcsetwinsize(secondary, (24, 80))
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=secondary, check=True, env=environment)
    os.close(secondary)  # so that reading ends
    shown = os.read(primary, 100_000).decode()
    os.close(primary)
    assert 'checking' in shown
    assert '/300' in shown


def test_what_is_renamed_as_told_has_no_findings_left_but_those_without_a_fix(make_tree):
    root = make_tree(AWKWARD)
    for _ in range(5):
        fixable = [finding for finding in validate(root) if finding.fix]
        for finding in reversed(fixable):  # below first
            os.makedirs(root / os.path.dirname(finding.fix), exist_ok=True)
            os.rename(root / finding.path, root / finding.fix)
    assert not fixable
    left = {finding.code for finding in validate(root)}
    assert left == {
        'ALF104',
        'ALF111',
        'ALF115',
        'ALF116',
        'ALF122',
        'ALF124',
        'ALF205',
        'ALF301',
        'ALF304',  # two names whose nearest valid name is one
        'ALF308',
        'ALF402',
    }


def test_findings_sort_by_code_and_then_by_path_and_are_values(make_tree):
    findings = validate(make_tree(AWKWARD))
    assert len(set(findings)) == len(findings)
    for one, other in pairwise(sorted(findings)):
        assert (one.code, one.path) <= (other.code, other.path)
    with pytest.raises(AttributeError):
        findings[0].code = 'ALF999'


def test_findings_may_be_left_early(make_tree):
    findings = fastindex.validate(make_tree(AWKWARD), workers=2)
    next(findings)
    findings.close()
    assert list(findings) == []


def test_severities_and_codes_are_left_out_as_asked(make_tree):
    root = make_tree(AWKWARD)
    everything = validate(root)
    assert validate(root, min_severity='error') == [f for f in everything if f.severity is Severity.ERROR]
    assert validate(root, min_severity='warning') == [f for f in everything if f.severity != 'info']
    assert validate(root, ignore=['ALF301']) == [f for f in everything if f.code != 'ALF301']


@pytest.mark.parametrize(
    ('options', 'says'),
    [
        ({'workers': 0}, 'workers=0: expected a whole number, 1 or more'),
        ({'ignore': ['ALF999']}, "unknown code 'ALF999': expected one as ALF117"),
        ({'ignore': 'ALF301'}, 'is a string'),
        ({'min_severity': 'bad'}, "unknown severity 'bad': expected one of error, warning, info"),
    ],
)
def test_an_option_that_makes_no_sense_is_an_error(tmp_path, options, says):
    with pytest.raises(UsageError, match=re.escape(says)):
        fastindex.validate(tmp_path, **options)


# The rules


def test_every_code_is_tested_here():
    apart = {
        'ALF101',
        'ALF102',
        'ALF103',
        *('ALF311', 'ALF312', 'ALF313', 'ALF314'),  # in names/test_uuid_names.py
        'ALF401',
        'ALF407',
        'ALF408',
        'ALF409',
        'ALF410',
        'ALF411',  # in test_limits.py
        'ALF501',
        'ALF502',
        'ALF503',  # in pipeline/test_session_info.py
    }
    assert set(RULES) == set(CASES) | apart


# The command


def test_text_is_grouped_by_code_with_counts_and_first_paths(make_tree, run):
    root = make_tree(
        {**GOOD, **{f'{SESSION}/notes{i}.txt': b'' for i in range(5)}, f'{SESSION}/x y/c.d.npy': b''}
    )
    code, out, err = run('validate', root, '--workers', 1)
    *lines, last, hint, how = out.splitlines()
    assert (code, err) == (1, '')
    assert lines == [
        'ALF201 error: name of a collection (1)',
        f"  {SESSION}/x y: a space in the collection 'x y' -> x_y",
        '',
        'ALF301 warning: fewer than two dots (5)',
        *[
            f'  {SESSION}/notes{i}.txt: one dot, where object.attribute.extension has two'
            for i in range(MAX_FINDINGS)
        ],
        '  ... and 2 more',
        '',
    ]
    assert re.fullmatch(rf'checked {root}: 1 session, 7 files in [\d.]+ s: 1 error, 5 warnings', last)
    assert '--explain' in hint
    assert '--rename-script' in how
    _, out, _ = run('validate', root, '--workers', 1, '--all')
    assert out.count('notes') == 5


def test_a_fix_in_another_folder_is_shown_in_full(make_tree, run):
    root = make_tree({**GOOD, 'lab/s2/2024-01-01/001/a.b.npy': b''})
    assert ' -> lab/Subjects/s2\n' in run('validate', root, '--workers', 1)[1]


def test_json_is_the_findings_and_a_summary(make_tree, run):
    root = make_tree({**GOOD, f'{DATE}/2/a.b.npy': b''})
    code, out, _ = run('validate', root, '--workers', 1, '--json')
    assert code == 1
    document = json.loads(out)
    assert document['findings'] == [
        {
            'code': 'ALF117',
            'severity': 'error',
            'path': f'{DATE}/2',
            'message': 'the client looks for this session in 002',
            'fix': f'{DATE}/002',
        }
    ]
    assert (document['summary']['error'], document['summary']['warning']) == (1, 0)
    assert document['summary']['sessions'] == 2


def test_exit_code_is_1_for_errors_alone(make_tree, run):
    root = make_tree({**GOOD, f'{SESSION}/notes.txt': b''})
    assert run('validate', root, '--workers', 1)[0] == 0
    grow(root, {f'{SESSION}/a b.c.npy': b''})
    assert run('validate', root, '--workers', 1, '--quiet') == (1, '', '')
    assert run('validate', root, '--workers', 1, '--ignore', 'ALF304')[0] == 0
    assert run('validate', root, '--workers', 1, '--ignore', 'alf304, 301,')[1].endswith('no findings\n')


@pytest.mark.parametrize(
    ('words', 'says'),
    [
        ([], 'ROOT is missing'),
        (['/nowhere'], 'no such folder'),
        (['--explain', 'ALF999'], "unknown code 'ALF999': expected one as ALF117"),
        (['--explain', '399'], "unknown code '399': expected one of ALF301, ALF302"),
        (['.', '--min-severity', 'bad'], "unknown severity 'bad': expected one of error, warning, info"),
        (['.', '--ignore', 'ALF301,x'], "unknown code 'x': expected one as ALF117"),
    ],
)
def test_wrong_usage_exits_2(run, words, says):
    code, out, err = run('validate', *words)
    assert (code, out) == (2, '')
    assert says in err


def test_a_code_is_explained(run):
    code, out, _ = run('validate', '--explain', 'alf117')
    assert code == 0
    assert out.startswith('ALF117 number without zeros\nerror: ')
    assert 'fix:      lab/Subjects/s1/2024-05-06/001' in out


def test_a_name_cannot_control_the_terminal(make_tree, run):
    root = make_tree({**GOOD, f'{SESSION}/\x1b[31m\u202e\n.txt': b'', f'{SESSION}/\x9b x/a.b.npy': b''})
    for words in ([], ['--all'], ['--json']):
        _, out, err = run('validate', root, '--workers', 1, *words)
        assert not re.search('[\x1b\u202e\x9b]', out + err)
