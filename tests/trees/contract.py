"""What every tree must do, whatever it is a tree of: a subclass says how one is made of a dict of files.

The oracles are the dict itself, hashlib and xxhash.
"""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Callable
from contextlib import closing

import pytest
import xxhash

from fastindex.names.alf import SkipReason
from fastindex.names.problems import Tally
from fastindex.names.verdicts import verdicts_of
from fastindex.trees import Kind, Tree, Wanted
from fastindex.trees.fate import list_folders, sift

SESSION = 'lab/Subjects/s1/2024-01-01/001'
FILES = {
    f'{SESSION}/alf/spikes.times.npy': b'times',
    f'{SESSION}/alf/spikes.clusters.npy': b'',
    f'{SESSION}/alf/notes.txt': b'no dataset',
    f'{SESSION}/alf/probe00/clusters.depths.npy': b'depths',
    f'{SESSION}/alf/.hidden/x.y.npy': b'not entered',
    f'{SESSION}/raw.zarr/0.0': b'not entered',
    f'{SESSION}/trials.table.pqt': b'a table',
    'lab/Subjects/s2/2024-01-02/001/a.b.npy': b'of another subject',
    'readme.md': b'beside the labs',
}

Make = Callable[[dict[str, bytes]], Tree]


class TreeContract:
    """Subclass it as `TestX`, with a fixture `make` that gives a tree of files."""

    can_open = True
    """Whether there are file descriptors."""

    @pytest.fixture
    def tree(self, make: Make):
        with closing(make(FILES)) as tree:
            yield tree

    def walk(self, tree: Tree, path: str = SESSION) -> dict[str, list[tuple[str, int]]]:
        """For each folder of a session that is walked its entries; a dot folder is not entered."""
        found: dict[str, list[tuple[str, int]]] = {}
        for folder in tree.walk(path, Tally()):
            assert folder.path not in found
            entries = []
            for names, kinds in folder.iter_names():
                assert len(names) == len(kinds)
                entries += zip(names, kinds, strict=True)
                for name, kind in zip(names, kinds, strict=True):
                    if kind == Kind.FOLDER and not name.startswith('.'):
                        folder.enter(name)
            found[folder.path] = sorted(entries)
        return found

    def test_a_walk_gives_each_folder_once_with_all_its_entries_and_parents_first(self, tree):
        found = self.walk(tree)
        assert found == {
            '': [('alf', Kind.FOLDER), ('raw.zarr', Kind.FOLDER), ('trials.table.pqt', Kind.FILE)],
            'alf': [
                ('.hidden', Kind.FOLDER),
                ('notes.txt', Kind.FILE),
                ('probe00', Kind.FOLDER),
                ('spikes.clusters.npy', Kind.FILE),
                ('spikes.times.npy', Kind.FILE),
            ],
            'alf/probe00': [('clusters.depths.npy', Kind.FILE)],
            'raw.zarr': [('0.0', Kind.FILE)],
        }
        order = list(found)
        assert all(order.index(path.rpartition('/')[0]) < order.index(path) for path in order if path)

    def test_a_folder_that_is_not_entered_is_not_walked(self, tree):
        assert [folder.path for folder in tree.walk(SESSION, Tally())] == ['']

    def test_a_walk_of_a_tree_can_be_done_again(self, tree):
        assert self.walk(tree) == self.walk(tree)

    def test_a_walk_of_what_is_not_there_is_an_error(self, tree):
        with pytest.raises(FileNotFoundError):
            list(tree.walk('lab/Subjects/s1/2024-01-01/002', Tally()))

    def test_a_tree_can_be_sent_to_another_process(self, tree):
        with closing(pickle.loads(pickle.dumps(tree))) as other:
            assert (other.root, other.follow_links) == (tree.root, tree.follow_links)
            assert self.walk(other) == self.walk(tree)

    def test_folders_are_listed_above_the_sessions(self, tree):
        assert list_folders(tree, '', Tally()) == ['lab']
        assert list_folders(tree, 'lab', Tally()) == ['Subjects']
        assert sorted(list_folders(tree, 'lab/Subjects', Tally())) == ['s1', 's2']
        assert list_folders(tree, 'lab/Subjects/s1', Tally()) == ['2024-01-01']
        assert list_folders(tree, 'lab/Subjects/s1/2024-01-01', Tally()) == ['001']

    def test_files_are_measured_in_the_order_of_their_names(self, tree):
        names = ['spikes.times.npy', 'notes.txt', 'spikes.clusters.npy']
        contents = [FILES[f'{SESSION}/alf/{name}'] for name in names]
        with tree.open_folder(f'{SESSION}/alf', Tally()) as folder:
            sizes, digests, fingerprints, wrong = folder.measure(names)
            assert (sizes, digests, fingerprints, wrong) == ([5, 10, 0], [], [], {})
            sizes, digests, fingerprints, wrong = folder.measure(names, Wanted(('xxh128', 'md5')))
        assert sizes == [5, 10, 0]
        assert digests == [
            (xxhash.xxh3_128_digest(content), hashlib.md5(content).digest()) for content in contents
        ]
        assert len(fingerprints) == 3
        assert not wrong

    def test_what_cannot_be_measured_is_told_by_its_position_and_has_no_element(self, tree):
        with tree.open_folder(f'{SESSION}/alf', Tally()) as folder:
            for algorithms in ((), ('xxh128',)):
                measures = folder.measure(
                    ['gone.a.npy', 'spikes.times.npy', 'gone.b.npy'], Wanted(algorithms)
                )
                assert measures.sizes == [5]
                assert len(measures.digests) == len(algorithms)
                assert set(measures.wrong) == {0, 2}
                assert all(isinstance(wrong, FileNotFoundError) for wrong in measures.wrong.values())

    def test_a_file_that_is_too_large_gets_no_digest_and_no_fingerprint(self, tree):
        with tree.open_folder(f'{SESSION}/alf', Tally()) as folder:
            names = ['spikes.times.npy', 'spikes.clusters.npy']
            sizes, digests, fingerprints, wrong = folder.measure(names, Wanted(('xxh128',), max_bytes=5))
        assert sizes == [5, 0]
        assert digests == [None, (xxhash.xxh3_128_digest(b''),)]
        assert fingerprints[0] == (0, 0, 0)
        assert not wrong

    def test_fingerprints_are_those_of_the_files_whether_they_are_read_or_not(self, make, tree, monkeypatch):
        monkeypatch.setattr('fastindex.trees.fingerprints.SETTLED_NS', -(10**15))
        names = ['spikes.times.npy', 'notes.txt']
        found = []
        for algorithms in ((), ('md5',)):
            with tree.open_folder(f'{SESSION}/alf', Tally()) as folder:
                wanted = Wanted(algorithms, with_fingerprints=True)
                found.append(folder.measure(names, wanted).fingerprints)
        assert found[0] == found[1]
        assert len(set(found[0])) == 2
        assert (0, 0, 0) not in found[0]

    def test_an_entry_can_be_looked_at(self, tree):
        with tree.open_folder(f'{SESSION}/alf', Tally()) as folder:
            assert folder.kind_of('notes.txt') == Kind.FILE
            assert folder.kind_of('probe00', follow=False) == Kind.FOLDER
            with pytest.raises(FileNotFoundError):
                folder.kind_of('gone')

    def test_a_file_is_opened_at_its_beginning_or_not_at_all(self, tree):
        with tree.open_folder(f'{SESSION}/alf', Tally()) as folder:
            if self.can_open:
                with folder.open('spikes.times.npy') as fd:
                    assert os.read(fd, 100) == b'times'
            with pytest.raises(OSError, match=r'gone|No such'), folder.open('gone'):
                pass

    def test_a_file_is_read_up_to_a_size_or_not_at_all(self, tree):
        for folder in tree.walk(SESSION, Tally()):
            list(folder.iter_names())
            if folder.path == 'alf':
                found = [folder.read(name, 3) for name in ('spikes.times.npy', 'spikes.clusters.npy')]
                assert found == [b'tim', b'']
                for name in ('gone', 'probe00'):
                    with pytest.raises(OSError, match=r'gone|probe00'):
                        folder.read(name, 3)
                break
            folder.enter('alf')
        else:
            raise AssertionError('alf was not walked')

    def test_a_folder_of_many_files_is_listed_in_blocks(self, make, monkeypatch):
        for module in ('kernel', 'prefixes'):
            monkeypatch.setattr(f'fastindex.trees.{module}.BLOCK_NAMES', 4)
        files = {f'{SESSION}/a.b{i}.npy': b'x' * i for i in range(10)}
        with closing(make(files)) as tree:
            (folder,) = tree.walk(SESSION, Tally())
        with closing(make(files)) as tree:
            for folder in tree.walk(SESSION, Tally()):
                blocks = [(list(names), folder.measure(names).sizes) for names, _ in folder.iter_names()]
        assert max(len(names) for names, _ in blocks) <= 4
        assert sorted(name for names, _ in blocks for name in names) == [f'a.b{i}.npy' for i in range(10)]
        assert all(sizes == [int(name[3]) for name in names] for names, sizes in blocks)

    def test_sifted_entries_are_datasets_skips_or_entered(self, tree):
        tally = Tally(list_skips=True)
        found, entered = [], []
        for folder in tree.walk(SESSION, tally):
            above = f'{SESSION}/{folder.path}'.rstrip('/')
            for names, kinds in folder.iter_names():
                _, paths = sift(
                    folder, names, kinds, verdicts_of(folder.path), tally, above=above, follow_links=True
                )
                found += paths
            entered += folder.entered
        assert sorted(found) == [
            b'alf/probe00/clusters.depths.npy',
            b'alf/spikes.clusters.npy',
            b'alf/spikes.times.npy',
            b'trials.table.pqt',
        ]
        assert sorted(entered) == ['alf', 'probe00']
        assert {skip.path.removeprefix(f'{SESSION}/'): skip.reason for skip in tally.skips} == {
            'alf/.hidden': SkipReason.DOT_FOLDER,
            'alf/notes.txt': SkipReason.NOT_DATASET,
            'raw.zarr': SkipReason.OPAQUE_FOLDER,
        }
        assert not tally.problems
