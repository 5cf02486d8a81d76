"""Random names, folders and trees for Hypothesis, many of them nearly right."""

from __future__ import annotations

from hypothesis import strategies as st

words = st.sampled_from(
    ['spikes', 'times', 'times_', 'intervals', 'ibl', 'A', 'z9', '0', 'a_b', '_', 'é', '٣', 'ß']
)
extras = st.lists(st.sampled_from(['raw', 'v1-2', '-', 'times', '_', '.']), max_size=3)


@st.composite
def regular_names(draw: st.DrawFn) -> str:
    """Names that mostly are ALF, made of their parts."""
    namespace = draw(st.sampled_from(['', '', '_', '_ibl_', '_ibl', '__']))
    attribute = draw(st.sampled_from(['', '', '_phy_', '_PHY_', '_'])) + draw(words)
    reserved = draw(st.sampled_from(['', '', '_times', '_intervals']))
    timescale = draw(st.sampled_from(['', '', '_bpod', '_ephys_clock', '_']))
    parts = [namespace + draw(words), attribute + reserved + timescale, *draw(extras), draw(words)]
    return '.'.join(parts)


@st.composite
def near_misses(draw: st.DrawFn) -> str:
    """Names with one thing changed."""
    name = draw(regular_names())
    place = draw(st.integers(0, len(name)))
    change = draw(st.sampled_from(['.', '_', '-', '#', ' ', '~', '/', '\x00', '\r', 'é', 'x', '']))
    return name[:place] + change + name[place + draw(st.integers(0, 1)) :]


# The client's pattern takes exponential time in the number of dots, and lets a final newline pass.
names = st.one_of(
    regular_names(), near_misses(), st.text('a_.-Z0é ', max_size=12), st.text(max_size=8)
).filter(lambda name: name.count('.') <= 9 and '\n' not in name)

folders = st.sampled_from(
    [
        'alf',
        'probe00',
        'a.b',
        '-',
        'é',
        '#2024-05-06#',
        '#v1.0#',
        '#',
        '##',
        '#a',
        'a#',
        '#a b#',
        'my probe',
        'a#b',
        '#é#',
        '٣',
        'a\u0301',
        '#a##',
        '.a',
        '~',
        'a\n',
        '#a#\n',
    ]
)
folder_paths = st.lists(st.one_of(folders, st.text('a.-_# é\n', min_size=1, max_size=4)), max_size=4).map(
    '/'.join
)


awkward_folders = st.sampled_from(
    [
        '',
        'alf/',
        'my probe/',
        '#a#/',
        'alf/#a#/',
        '#a#/x/',
        '#a b#/',
        '#a/',
        '##/',
        '.dot/',
        'alf/.dot/alf/',
        'x.zarr/',
        'alf/x.ZARR/0/',
        'x.n5/.a/',
        '-alf/',
        'é/',
        'a\u0301/',
        'a#b/',
        '2024-01-01/001/',
        '...a/',
        'lab/Subjects/s/2024-01-01/001/',
        ' /',
        '\x1b[31m/',
        '.../',
        'spikes.times.npy/',
        'a\n/',
        '#2#\n/',
    ]
)
awkward_files = st.one_of(
    st.sampled_from(
        [
            'spikes.times.npy',
            '_ibl_trials.goCue_times.npy',
            '-a.b.c',
            'a b.c.d',
            '.x.y.z',
            '._a.b.c',
            'x.y',
            'X',
            'é.b.c',
            'a.é.c',
            'a.b.é',
            'a#.b.c',
            'a.b..c',
            'a.b.c.',
            '__a.b.c',
            '...',
            '#a.b.c#',
            'a.b.c~',
            '-',
            'a.b.c.part',
            '\x1b.b.c',
            'a.b.-.c',
            '٣.b.c',
            '_.b.c',
            'a._b_c.d',
            'a.b_.c',
            'A.B.C',
            ' a.b.c',
        ]
    ),
    st.text('ab_.-# é', min_size=1, max_size=6).filter(lambda name: name not in ('.', '..')),
)
awkward_sessions = st.builds(
    '{}{}/{}/{}/'.format,
    st.sampled_from(['', '', 'lab/Subjects/', 'my-lab/Subjects/', '.lab/Subjects/', 'é/Subjects/']),
    st.sampled_from(['s1', 's1', 'my mouse', '-s', 's#2', 'ß', '.hidden', 'Subjects', 'a.zarr']),
    st.sampled_from(
        ['2024-01-01'] * 4 + ['2024-02-30', '2024-1-1', '٢٠٢٤-٠١-٠١', 'notes', '.d', '0000-01-01']
    ),
    st.sampled_from(['001'] * 4 + ['1', '01', '000', '0001', 'abc', '.001', '٠٠١', '-01']),
)
awkward_trees = st.dictionaries(
    st.builds('{}{}{}'.format, awkward_sessions, awkward_folders, awkward_files),
    st.binary(max_size=2),
    min_size=1,
    max_size=12,
)
