"""fastindex: the index of an ONE (Open Neurophysiology Environment) folder tree, built fast and right.

The words of this package:

tree            folders and files below a *root*: `(lab/Subjects/)subject/date/number/...`
session         one `.../date/number` folder; its *eid* names it, its *session_path* is where it is
dataset         a file with an ALF name below a session; its *rel_path* is where it is in the session
index           sessions.pqt and datasets.pqt, which the ONE client reads
skip, problem   a name that does not belong in the index; a path that could not be indexed
finding         one thing that `validate` says is wrong with one path; its code names the *rule*

Everything public is loaded on first use, as start-up is part of the job.
"""

from __future__ import annotations

import sys
from importlib import import_module

from fastindex._version import __version__ as __version__

if not getattr(sys, '_is_gil_enabled', lambda: True)():
    raise ImportError(
        'fastindex was not tried with a Python whose threads share no lock (a free-threaded one): '
        'set PYTHON_GIL=1 in the environment, which gives it one'
    )

TYPE_CHECKING = False  # typing takes longer than all else here, and Ctrl-C during it shows a traceback
if TYPE_CHECKING:
    from typing import Any

    from fastindex.errors import (
        ClusterError,
        EmptyTreeError,
        ExampleError,
        FastindexError,
        FindingsError,
        FixError,
        ForeignTableError,
        IdClashError,
        InvalidIndexError,
        LabConflictError,
        LockedError,
        LossError,
        MissingExtraError,
        OutputError,
        PublishError,
        ReleaseError,
        ReportError,
        RootError,
        StoreError,
        UnknownSessionError,
        UsageError,
        WorkerError,
    )
    from fastindex.jobs.build.build import build
    from fastindex.jobs.build.compat import make_parquet_db
    from fastindex.jobs.build.summary import Changes, Summary
    from fastindex.jobs.example.example import ExampleSummary, example
    from fastindex.jobs.fix.plan import Fixes, plan_fixes
    from fastindex.jobs.read.index import Index, open, search
    from fastindex.jobs.read.info import Info, info
    from fastindex.jobs.read.search import Query
    from fastindex.jobs.release.release import release
    from fastindex.jobs.release.summary import Archive, Release
    from fastindex.jobs.report.report import ReportSummary, report
    from fastindex.jobs.restore.restore import Restored, restore
    from fastindex.jobs.validate.validate import Findings, validate
    from fastindex.jobs.verify.judge import Difference, Kind
    from fastindex.jobs.verify.verify import Verification, verify
    from fastindex.names.ids import NAMESPACE, dataset_id, eid
    from fastindex.names.problems import Problem, Reason, Skip
    from fastindex.names.rules import RULES, Finding, Rule, Severity
    from fastindex.tables.audit import verify_index
    from fastindex.tables.changes import Change
    from fastindex.tables.faults import Fault

__all__ = [
    'NAMESPACE',
    'RULES',
    'Archive',
    'Change',
    'Changes',
    'ClusterError',
    'Difference',
    'EmptyTreeError',
    'ExampleError',
    'ExampleSummary',
    'FastindexError',
    'Fault',
    'Finding',
    'Findings',
    'FindingsError',
    'FixError',
    'Fixes',
    'ForeignTableError',
    'IdClashError',
    'Index',
    'Info',
    'InvalidIndexError',
    'Kind',
    'LabConflictError',
    'LockedError',
    'LossError',
    'MissingExtraError',
    'OutputError',
    'Problem',
    'PublishError',
    'Query',
    'Reason',
    'Release',
    'ReleaseError',
    'ReportError',
    'ReportSummary',
    'Restored',
    'RootError',
    'Rule',
    'Severity',
    'Skip',
    'StoreError',
    'Summary',
    'UnknownSessionError',
    'UsageError',
    'Verification',
    'WorkerError',
    'build',
    'dataset_id',
    'eid',
    'example',
    'info',
    'make_parquet_db',
    'open',
    'plan_fixes',
    'release',
    'report',
    'restore',
    'search',
    'validate',
    'verify',
    'verify_index',
]

_MODULES = {
    'fastindex.jobs.build.compat': ['make_parquet_db'],
    'fastindex.errors': [name for name in __all__ if name.endswith('Error')],
    'fastindex.tables.audit': ['verify_index'],
    'fastindex.tables.faults': ['Fault'],
    'fastindex.names.ids': ['NAMESPACE', 'dataset_id', 'eid'],
    'fastindex.jobs.read.index': ['Index', 'open', 'search'],
    'fastindex.jobs.build.build': ['build'],
    'fastindex.jobs.fix.plan': ['Fixes', 'plan_fixes'],
    'fastindex.tables.changes': ['Change'],
    'fastindex.jobs.build.summary': ['Changes', 'Summary'],
    'fastindex.jobs.validate.validate': ['Findings', 'validate'],
    'fastindex.jobs.verify.judge': ['Difference', 'Kind'],
    'fastindex.jobs.verify.verify': ['Verification', 'verify'],
    'fastindex.names.problems': ['Problem', 'Reason', 'Skip'],
    'fastindex.jobs.restore.restore': ['Restored', 'restore'],
    'fastindex.jobs.release.release': ['release'],
    'fastindex.jobs.release.summary': ['Archive', 'Release'],
    'fastindex.names.rules': ['RULES', 'Finding', 'Rule', 'Severity'],
    'fastindex.jobs.read.search': ['Query'],
    'fastindex.jobs.read.info': ['Info', 'info'],
    'fastindex.jobs.report.report': ['ReportSummary', 'report'],
    'fastindex.jobs.example.example': ['ExampleSummary', 'example'],
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    value = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, '__version__']
