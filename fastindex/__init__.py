"""fastindex: the index of an ONE (Open Neurophysiology Environment) folder tree, built fast and right.

The words of this package:

tree            folders and files below a *root*: `(lab/Subjects/)subject/date/number/...`
session         one `.../date/number` folder; its *eid* names it, its *session_path* is where it is
dataset         a file with an ALF name below a session; its *rel_path* is where it is in the session
index           sessions.pqt and datasets.pqt, which the ONE client reads
skip, problem   a name that does not belong into the index; a path that could not be indexed
finding         one thing that `validate` says is wrong with one path; its code names the *rule*

Everything public is loaded on first use, as start-up is part of the job.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastindex.compat import make_parquet_db
    from fastindex.errors import (
        ClusterError,
        EmptyTreeError,
        ExampleError,
        FastindexError,
        FindingsError,
        ForeignTableError,
        IdClashError,
        InvalidIndexError,
        LabConflictError,
        LockedError,
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
    from fastindex.faults import Fault, verify_index
    from fastindex.ids import NAMESPACE, dataset_id, eid
    from fastindex.index import Index, open
    from fastindex.pipeline.build import build
    from fastindex.pipeline.changes import Change
    from fastindex.pipeline.judge import Difference, Kind
    from fastindex.pipeline.summary import Changes, Summary
    from fastindex.pipeline.validate import Findings, validate
    from fastindex.pipeline.verify import Verification, verify
    from fastindex.problems import Problem, Reason, Skip
    from fastindex.releasing.release import Archive, Release, release
    from fastindex.rules import RULES, Finding, Rule, Severity
    from fastindex.search import Query

__version__ = '0.1.0'

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
    'FastindexError',
    'Fault',
    'Finding',
    'Findings',
    'FindingsError',
    'ForeignTableError',
    'IdClashError',
    'Index',
    'InvalidIndexError',
    'Kind',
    'LabConflictError',
    'LockedError',
    'MissingExtraError',
    'OutputError',
    'Problem',
    'PublishError',
    'Query',
    'Reason',
    'Release',
    'ReleaseError',
    'ReportError',
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
    'make_parquet_db',
    'open',
    'release',
    'validate',
    'verify',
    'verify_index',
]

_MODULES = {
    'fastindex.compat': ['make_parquet_db'],
    'fastindex.errors': [name for name in __all__ if name.endswith('Error')],
    'fastindex.faults': ['Fault', 'verify_index'],
    'fastindex.ids': ['NAMESPACE', 'dataset_id', 'eid'],
    'fastindex.index': ['Index', 'open'],
    'fastindex.pipeline.build': ['build'],
    'fastindex.pipeline.changes': ['Change'],
    'fastindex.pipeline.summary': ['Changes', 'Summary'],
    'fastindex.pipeline.validate': ['Findings', 'validate'],
    'fastindex.pipeline.judge': ['Difference', 'Kind'],
    'fastindex.pipeline.verify': ['Verification', 'verify'],
    'fastindex.problems': ['Problem', 'Reason', 'Skip'],
    'fastindex.releasing.release': ['Archive', 'Release', 'release'],
    'fastindex.rules': ['RULES', 'Finding', 'Rule', 'Severity'],
    'fastindex.search': ['Query'],
}
_SUBMODULES = ('example', 'info', 'report')
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return import_module(f'fastindex.{name}')
    if name not in _MODULE_OF:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    value = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
