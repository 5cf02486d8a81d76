"""The page of a report: one HTML text with all that it needs in it.

Names of the tree reach the page in two ways only: through Jinja's automatic escaping, and as JSON that has no
`<`. Should both fail, the policy of the page lets no script run but ours, nor anything be fetched.
"""

from __future__ import annotations

import base64
import hashlib
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from fastindex.jobs.read.info import Info
from fastindex.jobs.report.charts import to_charts
from fastindex.jobs.report.contents import Contents, FindingGroup
from fastindex.jobs.report.coverage import Coverage, CoverageRow
from fastindex.jobs.report.health import check_health
from fastindex.names.rules import Severity
from fastindex.text import escape, to_count, to_size
from fastindex.workers.child import environment_of_child, find_interpreter

if TYPE_CHECKING:
    import jinja2
    from markupsafe import Markup

__all__ = ['bundling', 'render']

_EMBED = 'window.vegaEmbed = vegaEmbed;'
_CODE = f'import sys, vl_convert; sys.stdout.buffer.write(vl_convert.javascript_bundle({_EMBED!r}).encode())'
_made: list[str] = []  # what draws the charts, once it is made


@dataclass(frozen=True, slots=True)
class _Cell:
    """A cell of the coverage matrix: its text, and how dark it is, from 0 to 10."""

    text: str
    level: int


@contextmanager
def bundling() -> Iterator[Callable[[], str]]:
    """Have another process make what draws the charts meanwhile; the block gets a function that waits for it.

    It is one call of vl-convert, of a second or more, that holds the lock of the interpreter: here no signal
    would be noticed before its end.
    """
    interpreter = find_interpreter()
    child = None
    if interpreter is not None and not _made:
        with suppress(OSError):  # no more processes: it is made here
            child = subprocess.Popen(  # noqa: S603
                [interpreter, '-P', '-c', _CODE],
                env=environment_of_child(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
    if child is None:
        yield _bundle
        return
    with child:
        try:
            yield lambda: _bundle(child.communicate()[0].decode())
        finally:
            child.kill()


def _bundle(text: str = '') -> str:
    """Get what draws the charts: this text, or else made here."""
    if not _made:
        import vl_convert

        _made.append(text or vl_convert.javascript_bundle(_EMBED))
    return _made[0]


def render(
    contents: Contents, findings: Sequence[FindingGroup] | None, note: str, title: str, bundle: str
) -> str:
    """Render a page.

    contents: what is in the index
    findings: of `validate`; None where it did not run
    note: why it did not
    title: any text
    bundle: of `bundling`
    """
    script = _read('page.js')
    return (
        _environment()
        .get_template('page.html')
        .render(
            contents=contents,
            info=contents.info,
            title=escape(title),
            tiles=_list_tiles(contents.info),
            facts=_list_facts(contents),
            health=check_health(contents, findings, note),
            is_complete=_is_complete(contents.coverage),
            findings=findings,
            finding_counts=_count_findings(findings or ()),
            note=note,
            coverage_rows=[(row, _to_cells(row)) for row in contents.coverage.rows],
            coverage_total=_to_cells(contents.coverage.total),
            charts=to_charts(contents),
            style=_read('page.css'),
            script=script,
            script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            libraries=_read_libraries(bundle),
        )
    )


def _environment() -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_read),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(count=to_count, escape_name=escape, quote=shlex.quote, size=to_size)
    return environment


def _read(name: str) -> str:
    return resources.files('fastindex.jobs.report').joinpath(name).read_text('utf-8')


def _read_libraries(bundle: str) -> Mapping[str, str]:
    """Read what draws the charts and the table, as text that may stand between the tags of a script."""
    from markupsafe import Markup

    # Its files alone: to import it takes a while, and a HOME.
    html = Path(getattr(find_spec('itables'), 'origin', '')).with_name('html')
    return {
        'vega': _to_script_text(bundle),
        'datatables': _to_script_text(html.joinpath('dt_bundle.js').read_text('utf-8')),
        'datatables_style': Markup(html.joinpath('dt_bundle.css').read_text('utf-8')),  # noqa: S704 - no name in it
    }


def _to_script_text(code: str) -> Markup:
    """Make code that may stand in a script element: a backslash before / or ! in a string changes nothing."""
    from markupsafe import Markup

    safe = re.sub('</(?=script)', r'<\\/', code, flags=re.IGNORECASE).replace('<!--', r'<\!--')
    return Markup(safe)  # noqa: S704 - not of the tree


def _list_tiles(info: Info) -> list[tuple[str, str]]:
    """List the numbers that matter most, and what of."""
    counts = {'session': info.sessions, 'subject': info.subjects, 'lab': info.labs, 'dataset': info.datasets}
    words = [to_count(count, noun).split() for noun, count in counts.items() if count or noun != 'lab']
    return [(number, noun) for number, noun in words] + [(to_size(info.bytes), 'in all')]


def _is_complete(coverage: Coverage) -> bool:
    """Tell whether each session has all: then a matrix of hundreds says less than a sentence."""
    return all(count == row.sessions for row in coverage.rows for count in row.having)


def _list_facts(contents: Contents) -> list[tuple[str, str]]:
    """List what is known of the index, in words; nothing of when or where the report was made."""
    info = contents.info
    maker = f'fastindex {info.version}' if info.version else 'another program'
    facts = [('index made by', maker), ('on', info.date_created), ('generation', info.generation)]
    digests = ', '.join(f'{name} ({count:,})' for name, count in info.digests.items())
    facts.append(('digests', digests or 'none'))
    if info.revised:
        facts.append(('datasets in a revision', f'{info.revised:,}'))
        facts.append(('datasets that have a later revision', f'{info.superseded:,}'))
    if info.revisions:
        facts.append(('revisions', ', '.join(list(info.revisions)[:5])))
    facts += contents.values
    return [(name, escape(text)) for name, text in facts if text is not None]


def _count_findings(groups: Sequence[FindingGroup]) -> dict[str, int]:
    counts = {
        str(severity): sum(group.count for group in groups if group.rule.severity is severity)
        for severity in Severity
    }
    return {severity: count for severity, count in counts.items() if count}


def _to_cells(row: CoverageRow) -> list[_Cell]:
    return [_to_cell(count, row.sessions) for count in row.having]


def _to_cell(count: int, sessions: int) -> _Cell:
    """Write a share in percent: 0 is none and 100 is all, whatever rounding would say.

    >>> [_to_cell(count, 1000).text for count in (0, 1, 500, 999, 1000)]
    ['', '1%', '50%', '99%', '100%']
    """
    if not count:
        return _Cell('', 0)
    percent = max(1, count * 100 // sessions)
    return _Cell(f'{percent}%', max(1, percent // 10))
