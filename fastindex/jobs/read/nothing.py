"""Why a search found nothing: the term that no session answers, and what there is that is like it."""

from __future__ import annotations

from dataclasses import fields
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from fastindex.jobs.read.search import Query, find_sessions, parts_of, select_sessions
from fastindex.lazy import pl
from fastindex.text import escape, to_some

if TYPE_CHECKING:
    from fastindex.jobs.read.index import Index

__all__ = ['explain_nothing']

MAX_NEAR = 3  # names that are offered


def explain_nothing(index: Index, query: Query) -> str:
    """Say which term of a query no session answers, alone or with those before it; '' where nobody asked.

    >>> explain_nothing(index, Query(subject='nyu-01'))  # doctest: +SKIP
    "no session has subject 'nyu-01': near are NYU-01 (upper and lower case differ: '(?i)nyu-01' finds both)"
    """
    asked = {field.name: getattr(query, field.name) for field in fields(Query)}
    terms = {name: value for name, value in asked.items() if value is not None}
    for name, value in terms.items():
        if not _finds(index, {name: value}):
            return f'no session has {_say(name, value)}{_near(index, name, value)}'
    so_far: dict[str, Any] = {}
    for name, value in terms.items():
        so_far[name] = value
        if not _finds(index, so_far):
            return (
                f'no session has {" and ".join(_say(*term) for term in so_far.items())}, though each is there'
            )
    return ''


def _finds(index: Index, terms: dict[str, Any]) -> bool:
    return find_sessions(index, Query(**terms)).height > 0


def _say(name: str, value: Any) -> str:
    values = value if isinstance(value, list | tuple) else [value]
    shown = ' or '.join('anything' if each is None else escape(repr(each)) for each in values)
    if name == 'date_range':
        shown = shown.replace(' or ', ' to ')
    return f'{name.removesuffix("_bytes").replace("_", " ")} {shown}'


def _near(index: Index, name: str, value: Any) -> str:
    """Name what is in the index and like a value: in another case, or misspelt."""
    if name in ('subject', 'lab', 'projects', 'task_protocol'):
        there = select_sessions(index.sessions)[name].unique().to_list()
    elif name == 'date_range':
        dates = select_sessions(index.sessions)['date']
        first, last = dates.cast(pl.String).min(), dates.cast(pl.String).max()
        return f': they are of {first!s} to {last!s}' if len(dates) else ''
    elif name in ('datasets', 'object', 'attribute', 'collection', 'revision'):
        paths = (
            index.datasets.select(pl.col('rel_path').cast(pl.String).unique()).collect()['rel_path'].to_list()
        )
        if name == 'datasets':
            there = [path.rpartition('/')[2] for path in paths]
        else:
            there = [parts_of(path).get(name, '') for path in paths]
    else:
        return ''
    by_folded = {text.casefold(): text for text in map(str, there) if text}
    near: dict[str, None] = {}
    hint = ''
    for each in value if isinstance(value, list | tuple) else [value]:
        folded = str(each).casefold()
        found = [text for text in by_folded if folded in text]
        near.update(dict.fromkeys(found or get_close_matches(folded, by_folded, MAX_NEAR)))
        if not (hint or str(each).startswith('(?')) and _finds(index, {name: f'(?i){each}'}):
            hint = f' (upper and lower case differ: {escape(repr(f"(?i){each}"))} finds both)'
    names = [escape(by_folded[text]) for text in sorted(near)]
    return f': near are {to_some(names, MAX_NEAR)}{hint}' if names else hint
