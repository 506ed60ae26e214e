"""Fragments of the newest round with their surroundings in the parents, for figures."""

import numpy as np

from nepal_flows.core.carving.regions import AtomBins
from nepal_flows.io.frames import Frames, unpack_frames
from nepal_flows.report.data import FragmentView, ReportData
from nepal_flows.report.reading import Reader
from nepal_flows.schemas import BlobRef, CarvingDoc, CarvingRoundDoc

MOST_FIGURES = 6
"""Fragments that are drawn; the table has them all."""

_HALF_WIDTH = 20.0  # Å


def fragment_views(reader: Reader, data: ReportData) -> list[FragmentView]:
    """Return accepted fragments of the newest round in which something was carved."""
    accepted = [doc for doc in data.carvings if doc.status == "accepted"]
    newest = max((doc.iteration or 0 for doc in accepted), default=-1)
    chosen = [doc for doc in accepted if (doc.iteration or 0) == newest][:MOST_FIGURES]
    views = []
    for doc in chosen:
        what = f"The fragment around atom {doc.centre} of {doc.condition}, step {doc.step}"
        view = reader.attempt(what, _view, reader, data, doc)
        if view is not None:
            views.append(view)
    return views


def _view(reader: Reader, data: ReportData, doc: CarvingDoc) -> FragmentView:
    run = next(run for run in data.explorations if run.key == doc.run_key)
    rounds = reader.records.query(CarvingRoundDoc, {"carving_keys": doc.key})
    fragments = _frames(reader, next(iter(rounds)).fragments)
    parents = _frames(reader, run.candidates)
    at = int(np.flatnonzero(np.asarray(parents.scalars["step"]) == doc.step)[0])
    bins = AtomBins(parents.structures[at], parents.arrays["gamma"][at])
    is_own = [
        str(fragments.scalars["run"][k]) == doc.run_key
        and int(fragments.scalars["step"][k]) == doc.step
        and int(fragments.arrays["parent_atom"][k][0]) == doc.centre
        and not fragments.scalars["audit"][k]
        for k in range(len(fragments))
    ]
    k = is_own.index(True)
    return FragmentView(
        document=doc,
        region=bins.region(doc.centre, _HALF_WIDTH),
        structure=fragments.structures[k],
        grades=fragments.arrays["gamma"][k],
        parent_grades=fragments.arrays["gamma_parent"][k],
    )


def _frames(reader: Reader, reference: BlobRef | None) -> Frames:
    if reference is None:
        raise ValueError("its frames were not kept")
    return unpack_frames(reader.records.blobs.get(reference))


__all__ = ["fragment_views"]
