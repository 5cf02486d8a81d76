"""What programs leave beside data: each way in the table, by what the client makes of it."""

from __future__ import annotations

from pathlib import Path

import one
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from one.alf import spec
from s3transfer.utils import OSUtils

from fastindex.names.alf import SkipReason
from fastindex.names.diagnose import diagnose_beside, diagnose_file, is_variant
from fastindex.names.leftovers import LEFTOVERS, Left, find_left_over, is_left_over
from fastindex.names.problems import Reason
from fastindex.names.verdicts import UuidVerdicts, verdicts_of
from tests.support.strategies import names

ORIGINAL = 'spikes.times.npy'
UUID = '6cdb7b06-3fd2-4e1c-9d6e-2e4a8a4f1c11'

EACH = pytest.mark.parametrize('row', LEFTOVERS, ids=[row.example for row in LEFTOVERS])

OTHERS = [
    'spikes.times.npy.part',
    'spikes.times.npy.1a2b3c4D',
    'spikes.times.npy.partial',
    'spikes.times.sync-conflict-20240506-123456.npy',
    'spikes.times (1).npy',
    'spikes.times(1).npy',
    'spikes.times - Copy.npy',
    'spikes.times copy.npy',
    'spikes.times copy 2.npy',
    'spikes.times 2.npy',
    'spikes.times (copy).npy',
    'spikes.times (3rd copy).npy',
    'spikes.times - Kopie.npy',
    'spikes.times (conflicted copy 2018-04-10 093612).npy',
    'spikes.times (SFConflict bob@lab.org 2024-05-06-12-34-56).npy',
    'spikes.times (Case Conflict).npy',
    'spikes.times.Conflict2.npy',
    'spikes.times.npy..path1',
    'spikes.times-LAPTOP-ABCDEF12-2.npy',
    '~syncthing~spikes.times.npy.tmp',
    'spikes.times.npy.!sync',
    'spikes.times.npy.aspera-ckpt',
    'spikes.times.npy.orig',
    'spikes.times.npy.rsl~',
    'spikes.times.npy - Shortcut.lnk',
    'spikes.times.npy alias',
    'spikes.times.npy_Zone.Identifier',
    'spikes.times.npy\uf03aZone.Identifier',
    'spikes.times.npy@SynoEAStream',
    'spikes.times (copie en conflit de Bob 2024-05-06).npy',
    'spikes.times (case clash from Bob 2024-05-06-101500).npy',
    'spikes.times[Conflict].npy',
    'spikes.times_LABPC_May-06-1234-2024_Conflict.npy',
    'spikes.times_REMOTE_12345.npy',
    'spikes.times \u2014 копия.npy',
    'Kopie von spikes.times.npy',
    'spikes.times.npy.aria2__temp',
    'spikes.times.npyab12_x9ztmp',
    'spikes.times.npy.rclone_chunk.001..tmp_1234567890',
    'spikes.times.npy_temp',
    'spikes.times.npy.baiduyun.p.downloading',
    'spikes.times.npy.save.1',
    'spikes.times.npy___jb_tmp___',
    'spikes.times.npy.swp',
    'spikes.times.npy.a1b2c3d4e5f6.part',
    'spikes.times.npy.{12345678-1234-1234-1234-123456789abc}.tmp',
    'spikes.times.npy.8ea2.ffs_tmp',
    'spikes.times.npy~8ea2.ffs_tmp',
    'spikes.times.npy.a1b2c3.incomplete',
    'spikes.times.npy.tmp.npy',
    'spikes.times.npy.tmp12345',
    'spikes.times.npy.tmp-12345',
    'spikes.times.npy.td.cfg',
    'spikes.times.npy.bak.1',
    'spikes.times.npy_old',
    'spikes.times.npy_exiftool_tmp',
    'spikes.times_conflict-bob-20240506-123456.npy',
    'spikes.times(copy).npy',
    'spikes.times másolat.npy',
    'spikes.timesのコピー.npy',
    'spikes.times - コピー (2).npy',
    'spikes.times的副本.npy',
    'spikes.times 拷貝.npy',
    'spikes.times - 複製.npy',
    'spikes.times - 복사본 (2).npy',
]


@EACH
def test_a_row_finds_its_example_and_the_file_that_it_is_of(row):
    of = ORIGINAL if '(?P<' in row.pattern else ''
    assert find_left_over(row.example) == (row.left, of)


@pytest.mark.parametrize('name', OTHERS)
def test_other_forms_of_a_row_are_found_too(name):
    left = find_left_over(name)
    assert left is not None
    assert left[1] == ORIGINAL


@EACH
def test_no_left_over_of_a_dataset_is_a_row_of_an_index(row):
    """The client would take those for datasets whose names are valid to it."""
    for name in (row.example, *OTHERS):
        verdict = verdicts_of('alf')[name]
        assert isinstance(verdict, SkipReason | Reason)
        if spec.is_valid(name):
            assert verdict is SkipReason.LEFT_OVER or find_left_over(name)[0] is Left.PLACEHOLDER


@EACH
def test_a_left_over_gets_no_fix_which_would_make_a_new_attribute(row):
    for name in (row.example, *OTHERS):
        diagnosis = diagnose_file(name)
        assert (diagnosis.code, diagnosis.fix) in (('ALF308', ''), ('ALF413', ''))
        left, of = find_left_over(name)
        if of and left is not Left.NOTE:  # which stands beside the file where all is well
            assert diagnose_beside(name, [name, ORIGINAL]).code == 'ALF315'


def test_what_boto_writes_is_left_over():
    for _ in range(200):  # of 800 random names one has no letter
        name = OSUtils().get_temp_filename(ORIGINAL)
        assert is_left_over(name) or name[-8:].isdigit()


def test_names_that_data_have_are_not_left_over():
    fixture = Path(one.__file__).parent / 'tests/fixtures/datasets.pqt'
    known = pq.read_table(fixture, columns=['rel_path'])['rel_path'].to_pylist()
    kept = ['ephys.raw.part', 'points.xyz.cloud', 'trials.conflict.npy', 'stroop.trials.conflict.npy']
    kept += ['ephys.raw.old', 'net.times.dvc', 'model.params_base.npy', 'probe.raw.imec-1.npy', 'a.b.npy.md5']
    pieces = [f'ephys.chunk.{kind}.{n}' for kind in ('raw', 'bin', 'dat', 'log') for n in (0, 1, 12, '001')]
    pieces += ['frames.all.zip.001', 'spikes.times.npy.0', 'spikes.times.npy.001', 'spikes.times.npy.1000']
    for path in [
        *known,
        *kept,
        *pieces,
        'spikes.times.npy.20240506',
        'camera.times.v2.npy',
        'sensor.box.1.temp',
    ]:
        name = path.rpartition('/')[2]
        assert not is_left_over(name)
        assert isinstance(verdicts_of('')[name], bytes) == spec.is_valid(name)


@pytest.mark.parametrize('name', ['spikes.times.npy.6eF1b2A0.part', 'spikes.times.npy.part.aria2'])
def test_what_is_left_of_a_left_over_is_one_too(name):
    assert is_left_over(name)


@pytest.mark.long
@given(names)
def test_what_is_left_out_is_of_a_dataset(name):
    if is_left_over(name):
        of = find_left_over(name)[1]
        assert spec.is_valid(of) or is_left_over(of)


@pytest.mark.parametrize('end', ['.npy.part', '.npy.6eF1b2A0', '.sync-conflict-20240506-123456-ABCDEFG.npy'])
def test_left_overs_of_names_with_uuids_are_left_out_too(end):
    assert UuidVerdicts('')[f'spikes.times.{UUID}{end}'] is SkipReason.LEFT_OVER


def test_placeholders_of_what_is_no_dataset_are_no_problem():
    verdicts = verdicts_of('')
    assert verdicts['._ibl_trials.choice.npy.icloud'] is Reason.NOT_HERE
    assert verdicts['spikes.times.npy.nextcloud'] is Reason.NOT_HERE
    assert verdicts['.notes.txt.icloud'] is verdicts['notes.txt.nextcloud'] is SkipReason.LEFT_OVER


def test_a_name_with_more_after_the_attribute_beside_the_file_has_no_fix():
    assert is_variant('spikes.times-LABPC.npy', [ORIGINAL])
    assert not is_variant('spikes.times-LABPC.npy', ['spikes.clusters.npy'])


@pytest.mark.parametrize(
    'more', [' copy', '-journal', ',v', ';1', '?download=1', '%3Fdownload=1', '.dx-download', '.2024-05-06']
)
def test_what_follows_a_whole_name_is_made_no_extension(more):
    diagnosis = diagnose_file(f'{ORIGINAL}{more}')
    assert (diagnosis.code, diagnosis.fix) == ('ALF304', '')
    assert diagnose_file(f'{ORIGINAL} ').fix == ORIGINAL
    assert diagnose_file('spikes.times.n-py').fix == ORIGINAL
