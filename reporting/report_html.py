"""The report as one self-contained HTML file: readable on screen and on paper, without any external resource."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape

from egfr_dls.findings import RESEARCH_USE, LesionFinding, ModelUse, ObjectEntry, StudyFindings
from reporting import wording
from reporting.printed_scores import PrintedScores
from reporting.score_plot import score_plot

STYLE = """
:root { color-scheme: light dark; --text: #1b1f24; --muted: #57606a; --back: #ffffff; --line: #d0d7de; --soft: #f3f5f7;
  --caution-back: #fff4d6; --caution: #6b4a00; --demo: #a3195b; }
@media (prefers-color-scheme: dark) { :root { --text: #e6edf3; --muted: #a9b3bd; --back: #0d1117; --line: #3a424c;
  --soft: #161b22; --caution-back: #3a2d05; --caution: #ffd777; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1.5rem; color: var(--text); background: var(--back);
  font: 1rem/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; border-bottom: 1px solid var(--line); }
.use { color: var(--muted); margin: 0 0 1rem; }
.demo { background: var(--demo); color: #fff; padding: .6rem 1rem; font-weight: 700; border-radius: .4rem; }
.score { font-size: 3.5rem; font-weight: 700; line-height: 1.1; margin: .5rem 0 0; }
.lead { font-size: 1.2rem; font-weight: 600; margin: .25rem 0; }
.caution { background: var(--caution-back); color: var(--caution); border-radius: .4rem; padding: .5rem 1rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; overflow-wrap: break-word; }
th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th { background: var(--soft); }
td:first-child { white-space: nowrap; }
td.number { text-align: right; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
code { font-size: .85em; }
.plot > svg { width: 100%; max-width: 40rem; height: auto; }
.plot figcaption { font-size: .92rem; }
.plot figcaption span { margin-right: 1.25rem; }
.plot text { fill: currentColor; font-size: 12px; }
figure { margin: 1rem 0; break-inside: avoid; }
img { width: 100%; height: auto; border: 1px solid var(--line); }
@media print { body { max-width: none; padding: 0; font-size: 10pt; } h2, tr, .caution { break-inside: avoid; } }
"""
DASH = "–"
LESION_HEAD = (
    "Lesion", "Region of interest", "EGFR-DLS", "PDL1_DLS", "SD", "Slices", "Volume ml", "SUVmax g/ml", "SUVmean g/ml",
    "MTV ml", "TLG g",
)  # fmt: skip


def report_html(
    findings: StudyFindings,
    pages_png: Sequence[bytes] = (),
    *,
    indeterminate_band: float = 0.0,
    objects: Sequence[ObjectEntry] = (),
) -> str:
    """Return the report.

    Parameters
    ----------
    pages_png
        the page images, summary first
    objects
        the DICOM objects that were written beside the report
    """
    scores = PrintedScores(findings, indeterminate_band)
    title = f"EGFR-DLS report{': ' + wording.DEMONSTRATION if findings.demonstration else ''}"
    body = [
        f'<header><h1>EGFR-DLS report</h1><p class="use">{escape(RESEARCH_USE)}</p>{_banner(findings)}</header>',
        "<main>",
        _score(findings, scores) if findings.status == "scored" else _refusal(findings),
        _lesions(findings, scores),
        _slices(findings, scores),
        _section("What the reader must know", _list(wording.limitations(findings))),
        _pages(pages_png),
        _series(findings),
        _provenance(findings, objects),
        "</main>",
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>{''.join(body)}</body></html>\n"
    )


def _banner(findings: StudyFindings) -> str:
    return (
        f'<p class="demo" role="alert">{escape(wording.DEMONSTRATION_SENTENCE)}</p>' if findings.demonstration else ""
    )


def _score(findings: StudyFindings, scores: PrintedScores) -> str:
    patient = findings.patient
    parts = []
    if patient.egfr_dls is not None:
        cut_off = wording.cut_off_text(scores.egfr_cut_off)
        spread = wording.spread_sentence(patient.slice_sd, patient.n_slices)
        parts += [
            f'<p class="score">{scores.egfr_text(patient.egfr_dls)}</p>',
            _paragraph(wording.NOT_MOLECULAR),
            _paragraph(f"EGFR-DLS, cut-off {cut_off}. {spread}."),
            _paragraph(f"{wording.STATUS_SENTENCES[scores.status(patient.egfr_dls)]}.", "lead"),
        ]
    parts.append(_paragraph(wording.pdl1_sentence(findings, scores.pdl1_cut_off)))
    score = _section("Score", "".join(parts))
    pathway = _paragraph(wording.pathway_headline(findings), "lead")
    reason = wording.pathway_reason(findings)
    return score + _section("Suggested pathway (research)", pathway + (_paragraph(reason) if reason else ""))


def _refusal(findings: StudyFindings) -> str:
    sentences = [wording.remark_sentence(reason) for reason in wording.reasons(findings)]
    return _section(
        "Score", f'<p class="score">{escape(wording.NOT_SCORED)}</p><div class="caution">{_list(sentences)}</div>'
    )


def _lesions(findings: StudyFindings, scores: PrintedScores) -> str:
    if not findings.lesions:
        return ""
    rows = [_lesion_row(lesion, scores) for lesion in findings.lesions]
    return _section("Lesions", _table(LESION_HEAD, rows, numbers_from=2))


def _lesion_row(lesion: LesionFinding, scores: PrintedScores) -> list[str]:
    unscored = "" if lesion.reason is None else f"; not scored: {lesion.reason.code}"
    quantities = (lesion.volume_ml, lesion.suv_max, lesion.suv_mean, lesion.mtv_ml, lesion.tlg_g)
    return [
        lesion.label,
        wording.roi_in_short(lesion) + unscored,
        DASH if lesion.egfr_dls is None else scores.egfr_text(lesion.egfr_dls),
        DASH if lesion.pdl1_dls is None else scores.pdl1_text(lesion.pdl1_dls),
        DASH if lesion.slice_sd is None else f"{lesion.slice_sd:.4f}",
        str(len(lesion.slices)),
        *(DASH if value is None else wording.two_decimals(value) for value in quantities),
    ]


def _slices(findings: StudyFindings, scores: PrintedScores) -> str:
    plot = score_plot(findings, scores)
    if not plot:
        return ""
    rows = [
        [
            lesion.label,
            f"{s.position_mm:.1f}",
            scores.egfr_text(s.egfr_dls),
            DASH if s.pdl1_dls is None else scores.pdl1_text(s.pdl1_dls),
        ]
        for lesion in findings.lesions
        for s in lesion.slices
    ]
    table = _table(("Lesion", "Position mm", "EGFR-DLS", "PDL1_DLS"), rows, numbers_from=1)
    return _section("Scores by slice", f"{plot}<details><summary>Numbers</summary>{table}</details>")


def _pages(pages_png: Sequence[bytes]) -> str:
    names = ["summary", *("key slice with region of interest" for _ in pages_png[1:])]
    figures = [
        f'<figure><img alt="Page {i} of {len(pages_png)}: {name}" '
        f'src="data:image/png;base64,{base64.b64encode(png).decode()}"></figure>'
        for i, (name, png) in enumerate(zip(names, pages_png, strict=False), start=1)
    ]
    return _section("Images", "".join(figures)) if figures else ""


def _series(findings: StudyFindings) -> str:
    rows = [
        [
            series.modality,
            series.role or "not used",
            "" if series.reason is None else wording.remark_sentence(series.reason),
            series.series_instance_uid,
        ]
        for series in findings.series
    ]
    return _section("Series", _table(("Modality", "Used as", "Reason", "Series Instance UID"), rows)) if rows else ""


def _provenance(findings: StudyFindings, objects: Sequence[ObjectEntry]) -> str:
    rows = [
        ["Product", f"egfr-dls {findings.product_version}"],
        ["EGFR network", _network(findings.model)],
        ["PD-L1 network", _network(findings.companion_model)],
        ["Study Instance UID", findings.study_instance_uid],
        ["Inputs, sha256", findings.inputs_sha256],
        ["Configuration, sha256", findings.configuration_sha256],
        *([f"Object: {o.kind}", f"{o.path}  {o.sop_instance_uid}"] for o in objects),
    ]
    return _section("Provenance", _table(("What", "Which"), rows))


def _network(model: ModelUse | None) -> str:
    return "none" if model is None else wording.model_sentence(model)


# -- elements; text is escaped here and nowhere else


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>\n"


def _text(text: str) -> str:
    return escape(wording.undated(text))


def _paragraph(text: str, css_class: str = "") -> str:
    return f'<p class="{css_class}">{_text(text)}</p>' if css_class else f"<p>{_text(text)}</p>"


def _list(items: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{_text(item)}</li>' for item in items)}</ul>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers_from: int | None = None) -> str:
    def cell(index: int, text: str) -> str:
        css_class = ' class="number"' if numbers_from is not None and index >= numbers_from else ""
        return f"<td{css_class}>{_text(text)}</td>"

    titles = "".join(f'<th scope="col">{escape(title)}</th>' for title in head)
    lines = "".join(f"<tr>{''.join(cell(i, text) for i, text in enumerate(row))}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{titles}</tr></thead><tbody>{lines}</tbody></table></div>'
