"""The pages of a report: the summary first, then one for each key slice. A refusal has the summary alone.

No patient name, ID or date of birth is burned in.
"""

from __future__ import annotations

from collections.abc import Iterator

from reporting import wording
from reporting.context import ReportContext
from reporting.page_content import Line, Page, ScoreBar, Tone
from reporting.page_slices import ScoredSlice, anatomy_panels, key_slices, map_panels, scored_slices
from reporting.page_summary import banner, footer, summary_page


def pages(context: ReportContext) -> tuple[Page, ...]:
    """Return the summary and the pages of the key slices."""
    slices = scored_slices(context)
    shown = key_slices(slices)
    return (
        summary_page(context, slices),
        *(_slice_page(context, s, f"{i} of {len(shown)}", shown, slices) for i, s in enumerate(shown, start=1)),
    )


def _slice_page(
    context: ReportContext, shown: ScoredSlice, number: str, chosen: list[ScoredSlice], slices: list[ScoredSlice]
) -> Page:
    return Page(
        heading=f"{shown.lesion.label}, slice {shown.index + 1} of {len(shown.lesion.slices)}",
        banner=banner(context),
        column=tuple(_slice_column(context, shown, f"Page {number}; {len(chosen)} of {len(slices)} slices shown.")),
        panels=anatomy_panels(context, shown) + map_panels(context, shown),
        footer=footer(context),
    )


def _slice_column(context: ReportContext, shown: ScoredSlice, pages_sentence: str) -> Iterator[Line | ScoreBar]:
    slice_scores, patient = shown.finding, context.findings.patient
    yield Line("EGFR-DLS of this slice", Tone.BODY)
    yield Line(context.scores.egfr_text(slice_scores.egfr_dls), Tone.SCORE)
    yield Line(wording.NOT_MOLECULAR, Tone.SMALL)
    yield ScoreBar((slice_scores.egfr_dls,), slice_scores.egfr_dls, context.scores.egfr_cut_off)
    if slice_scores.pdl1_dls is not None:
        yield Line(f"PDL1_DLS of this slice {context.scores.pdl1_text(slice_scores.pdl1_dls)}")
    if patient.egfr_dls is not None:
        cut_off = wording.cut_off_text(context.scores.egfr_cut_off)
        yield Line(f"Patient: EGFR-DLS {context.scores.egfr_text(patient.egfr_dls)}, cut-off {cut_off}")
    yield Line(f"Position {slice_scores.position_mm:.1f} mm along the slice normal")
    yield Line(f"Square of {slice_scores.side_mm:.0f} mm, margin {slice_scores.margin_mm:.0f} mm", Tone.SMALL)
    if wording.awaits_confirmation(shown.lesion):
        yield Line(f"Region of interest: {wording.roi_in_short(shown.lesion)} by a person.", Tone.CAUTION)
    yield Line("Yellow or red line: region of interest. Dashed: the square that the network saw.", Tone.SMALL)
    if shown.evidence.cam_positive is not None:
        yield Line(f"{wording.NOT_DIAGNOSTIC_MAP} One common scale for the patient.", Tone.SMALL)
    yield Line(pages_sentence, Tone.SMALL)
