"""The charts of a report, as specifications for Vega-Lite.

Names of the tree are in the data of a specification alone, where they are text whatever they hold. Colours
that must differ between light and dark are CSS variables of the page, so that a chart is drawn once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date as Date  # noqa: N812 - `date` is the word for the folder
from typing import Any

from fastindex.jobs.report.contents import Contents
from fastindex.jobs.report.storage import ChartBar

__all__ = ['to_charts']

Spec = dict[str, Any]

_TEXT = 'var(--ink)'
_FAINT = 'var(--faint)'
_RULE = 'var(--rule)'
_BAR = 'var(--accent)'
LEAST_BARS = 30  # bars that the time axis has room for: one day alone is no wide bar
_FORMATS = {
    step: f"utcFormat(datum.value, '{form}')"
    for step, form in (('day', '%-d %b %Y'), ('week', '%b %Y'), ('month', '%b %Y'), ('year', '%Y'))
}
_DAYS = {'day': 1, 'week': 7, 'month': 31, 'year': 366}

CONFIG: Spec = {
    'background': None,
    'font': 'system-ui, sans-serif',  # the page's: the width of text is measured with it
    'view': {'stroke': None},
    'axis': {
        'labelColor': _FAINT,
        'titleColor': _FAINT,
        'titleFontWeight': 'normal',
        'labelFontSize': 12,
        'labelSeparation': 8,
        'titleFontSize': 12,
        'domainColor': _RULE,
        'tickColor': _RULE,
        'gridColor': _RULE,
    },
    'legend': {'labelColor': _TEXT, 'labelFontSize': 12, 'symbolType': 'square'},
    'text': {'fill': _TEXT, 'fontSize': 12},
}

# Observable's ten: told apart by people who do not see all colours, and on white as on black.
_COLORS = [
    *('#4269d0', '#efb118', '#ff725c', '#6cc5b0', '#3ca951'),
    *('#ff8ab7', '#a463f2', '#97bbf5', '#9c6b4e', '#9498a0'),
]

_SIZE = "replace(format(datum.value, '~s'), regexp('([kMGTP]?)$'), ' $1B')"  # as 2.5 MB


def to_charts(contents: Contents) -> dict[str, Spec]:
    """Make the specification of each chart that has several bars, by the id of its element in the page."""
    bars = contents.bars
    charts = {
        'timeline': _draw_timeline(contents),
        'growth': _draw_growth(bars['growth']),
        'lab-bytes': _draw_bars(bars['lab-bytes'], 'Bytes by lab'),
        'object-bytes': _draw_bars(bars['object-bytes'], 'Bytes by object'),
        'extension-bytes': _draw_bars(bars['extension-bytes'], 'Bytes by extension'),
        'collection-bytes': _draw_bars(bars['collection-bytes'], 'Bytes by collection'),
        'session-datasets': _draw_histogram(bars['session-datasets'], 'datasets in a session'),
        'session-bytes': _draw_histogram(bars['session-bytes'], 'size of a session'),
    }
    if len({bin_.first for bin_ in contents.timeline}) < 2:  # of one bar, the page says what it is
        del charts['timeline']
    return {id: spec for id, spec in charts.items() if len(spec['data']['values']) > 1}


def _draw(description: str, values: list[Spec], **spec: Any) -> Spec:
    return {
        'description': description,
        'config': CONFIG,
        'width': 'container',
        'autosize': {'type': 'fit-x', 'contains': 'padding'},
        'data': {'values': values},
        **spec,
    }


def _draw_timeline(contents: Contents) -> Spec:
    values = []
    totals: Counter[Date] = Counter()
    for bin_ in contents.timeline:
        totals[bin_.first] += bin_.sessions
        values.append(
            {
                'first': f'{bin_.first}',
                'end': f'{bin_.end}',
                'from': f'from {bin_.first}',  # a word, which no time zone moves
                'lab': bin_.lab,
                'position': contents.labs.index(bin_.lab),
                'sessions': bin_.sessions,
            }
        )
    legend = {
        'orient': 'bottom',
        'columns': {'expr': 'max(1, floor(width / 130))'},
        'labelLimit': 110,
    }
    return _draw(
        f'Sessions a {contents.step}, by lab',
        values,
        height=240,
        # A click in the legend shows a lab alone.
        params=[{'name': 'chosen', 'select': {'type': 'point', 'fields': ['lab']}, 'bind': 'legend'}],
        mark={'type': 'bar', 'binSpacing': 0.5},
        encoding={
            'x': {
                'field': 'first',
                'type': 'temporal',
                'bin': 'binned',
                'scale': {'type': 'utc', 'padding': {'expr': f'{_choose_margin(contents):.3f} * width'}},
                'axis': {'labelBound': True, 'labelOverlap': True, 'labelExpr': _FORMATS[contents.step]},
                'title': None,
            },
            'x2': {'field': 'end'},
            'y': {
                'field': 'sessions',
                'type': 'quantitative',
                'title': f'sessions a {contents.step}',
                'axis': _count_axis(max(totals.values(), default=0)),
            },
            'color': {
                'field': 'lab',
                'type': 'nominal',
                'title': None,
                'scale': {'domain': list(contents.labs), 'range': _COLORS},
                'legend': legend if contents.info.labs else None,
            },
            'order': {'field': 'position', 'type': 'quantitative'},
            'opacity': {'condition': {'param': 'chosen', 'value': 1}, 'value': 0.15},
            'tooltip': [
                {'field': 'lab', 'type': 'nominal'},
                {'field': 'from', 'type': 'nominal', 'title': contents.step},
                {'field': 'sessions', 'type': 'quantitative', 'format': ','},
            ],
        },
    )


def _choose_margin(contents: Contents) -> float:
    """Choose what part of the width the time axis leaves free on each side: a few bars are not made wide."""
    if not contents.timeline:
        return 0
    first = min(bin_.first for bin_ in contents.timeline)
    end = max(bin_.end for bin_ in contents.timeline)
    bars = (end - first).days / _DAYS[contents.step]
    return max(0, 1 - bars / LEAST_BARS) / 2


def _count_axis(highest: int) -> Spec:
    """Make an axis for numbers of sessions, of which there are no halves."""
    values = {'values': list(range(highest + 1))} if highest < 5 else {}
    return {'domain': False, 'format': ',d', **values}


def _draw_bars(bars: Sequence[ChartBar], title: str) -> Spec:
    name = {'field': 'label', 'type': 'nominal', 'sort': None, 'title': None}
    return _draw(
        title,
        # The others together may be longer than any: they get no bar, as all would be short beside it.
        [{'label': bar.label, 'value': 0 if bar.is_rest else bar.value, 'text': bar.text} for bar in bars],
        height=22 * len(bars),
        padding={'left': 5, 'right': 64, 'top': 5, 'bottom': 5},  # right: for the text
        encoding={
            'y': {**name, 'axis': {'labelLimit': 140, 'labelColor': _TEXT, 'domain': False, 'ticks': False}},
            'x': {'field': 'value', 'type': 'quantitative', 'axis': None},
            'tooltip': [{'field': 'label', 'title': 'name'}, {'field': 'text', 'title': 'size'}],
        },
        layer=[
            {'mark': {'type': 'bar', 'fill': _BAR}},
            {'mark': {'type': 'text', 'align': 'left', 'dx': 4}, 'encoding': {'text': {'field': 'text'}}},
        ],
    )


def _draw_growth(bars: Sequence[ChartBar]) -> Spec:
    y = {'title': 'bytes a month', 'axis': {'domain': False, 'labelExpr': _SIZE, 'tickMinStep': 1}}
    return _draw_columns('Bytes a month', bars, {'title': None}, y, ('month', 'size'))


def _draw_histogram(bars: Sequence[ChartBar], title: str) -> Spec:
    y = {'title': 'sessions', 'axis': _count_axis(max((bar.value for bar in bars), default=0))}
    return _draw_columns(f'Sessions by {title}', bars, {'sort': None, 'title': title}, y, (title, 'sessions'))


def _draw_columns(title: str, bars: Sequence[ChartBar], x: Spec, y: Spec, words: tuple[str, str]) -> Spec:
    """Draw columns; `words` say what the label and the text of each are."""
    return _draw(
        title,
        [{'label': bar.label, 'value': bar.value, 'text': bar.text} for bar in bars],
        height=180,
        mark={'type': 'bar', 'fill': _BAR, 'width': {'expr': "min(60, 0.94 * bandwidth('x'))"}},
        encoding={
            'x': {
                'field': 'label',
                'type': 'ordinal',
                **x,
                'axis': {'labelAngle': -45, 'labelOverlap': True},
            },
            'y': {'field': 'value', 'type': 'quantitative', **y},
            'tooltip': [
                {'field': name, 'title': word} for name, word in zip(('label', 'text'), words, strict=True)
            ],
        },
    )
