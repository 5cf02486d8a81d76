"""Write the rows of a scan into the stage, in order with those that are carried over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fastindex.jobs.build.summary import Report
from fastindex.jobs.build.update import Selection
from fastindex.pipeline.big import HashResult
from fastindex.pipeline.scan import ScanResult
from fastindex.pipeline.unchanged_folders import pack_listings
from fastindex.tables.publish import Stage
from fastindex.tables.recipe import Recipe
from fastindex.tables.schema import from_ipc
from fastindex.tables.splice import Splice
from fastindex.text import from_system, to_text

__all__ = ['write_stage']


def write_stage(
    scanned: Iterator[tuple[ScanResult, list[HashResult]]],
    stage: Stage,
    report: Report,
    date_created: str,
    selection: Selection | None,
    dates: Mapping[str, str] | None,
) -> str:
    """Collect what was scanned into the stage; return the generation.

    dates: what is known of them, where it is kept. See `fastindex.pipeline.unchanged_folders.Listings`.
    """
    from fastindex.tables.write import PairWriter

    options, carrier = report.options, report.carrier
    writer = PairWriter(
        stage.folder,
        algorithms=options.recipe.algorithms,
        origin=to_text(from_system(report.tree.root)),
        date_created=date_created,
        with_index=not options.path_ids,
        further=carrier.fields if carrier else ((), ()),
        keeps_facts=options.carries and options.recipe != Recipe(),
        with_folders=report.with_folders,
    )
    try:
        rows = selection.open_splice(writer) if selection else writer
        stage.write_problems(report.first_problems)
        if dates:
            rows.write_folders(from_ipc(pack_listings(dates)))
        for result, hashed in scanned:
            stage.write_problems(report.add(result, hashed))
            rows.write(*report.complete(result, hashed))
            if result.folders is not None:
                rows.write_folders(from_ipc(result.folders))
        if selection is not None and isinstance(rows, Splice):
            report.add_carried(rows.finish(), selection.carry_problems(stage, rows), selection.left_out)
        facts = options.recipe.to_facts(
            sessions=report.sessions,
            datasets=report.datasets,
            size_bytes=report.bytes,
            kept=sorted({*report.carried.kept, *(carrier.columns if carrier else ())}),
        )
        return writer.close(facts)
    finally:
        writer.abort()
