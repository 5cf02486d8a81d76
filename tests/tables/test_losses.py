"""What an index would lose, counted."""

from __future__ import annotations

import pytest

from fastindex import UsageError
from fastindex.tables.losses import Limit


@pytest.mark.parametrize(
    ('value', 'limit'),
    [
        (0, Limit(0)),
        ('20', Limit(20)),
        ('0%', Limit(0, is_percent=True)),
        ('2.5%', Limit(2.5, is_percent=True)),
    ],
)
def test_a_limit_is_a_number_of_sessions_or_percent(value, limit):
    assert Limit.parse(value) == limit


@pytest.mark.parametrize('value', [-1, 1.5, '', '%', 'all', '10 %', '1e3', '5%%', '٣', True])
def test_what_is_no_limit_is_refused(value):
    with pytest.raises(UsageError, match='expected a number of sessions, or percent'):
        Limit.parse(value)
