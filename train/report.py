"""The report of a run: figures, curves and samples in one HTML file that needs no network."""

from __future__ import annotations

import html
import io
from collections.abc import Mapping

from ..agents.checkpoint import write_atomically
from ..envs import Task, read_lines
from .evaluation import Summary
from .run_folder import RunFolder

Curve = tuple[list[int], list[float]]

_DRAWN = 24  # samples in the grid
# Curves worth showing first; the others follow in the order of their names.
_FIRST = ("pretrain/nll", "pretrain/validation_nll", "rollout/ep_rew_mean")
_HIDDEN = ("time/",)
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2rem auto; padding: 0 1rem;
       color: #1c2430; background: #fff; }
h1, h2 { font-weight: 600; } table { border-collapse: collapse; }
th, td { padding: .35rem .8rem; text-align: right; border-bottom: 1px solid #dde3ea; }
th:first-child, td:first-child { text-align: left; } small { color: #66707c; }
.curves { display: flex; flex-wrap: wrap; gap: .5rem; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(230px, 1fr)); gap: .5rem; }
figure { margin: 0; border: 1px solid #dde3ea; border-radius: 6px; padding: .4rem; }
figcaption { font: 12px/1.35 ui-monospace, monospace; overflow-wrap: anywhere; }
"""


def write_report(folder: RunFolder, task: Task, summary: Summary) -> None:
    """Write ``report.html`` from the run's curves, figures and ``samples.csv``."""
    samples = [line.text for line in read_lines(folder.samples, keep_empty=True)]
    parts = [
        f"<h1>{html.escape(task.name)}: {html.escape(task.reward.name)}</h1>",
        "<h2>Figures</h2>",
        _table(summary),
        "<h2>Samples</h2>",
        f"<p><small>The first {len(samples[:_DRAWN])} of {len(samples)}.</small></p>",
        _grid(task, samples[:_DRAWN]),
        "<h2>Learning curves</h2>",
        '<div class="curves">',
        *(draw_curve(name, curve) for name, curve in read_curves(folder).items()),
        "</div>",
    ]
    title = html.escape(f"tokengym: {folder.path.name}")
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )
    write_atomically(folder.report, page.encode("utf-8"))


def read_curves(folder: RunFolder) -> dict[str, Curve]:
    """The scalar curves of the TensorBoard files, in the order to show them.

    Where a resumed run did a step again, the later entry counts.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder.tensorboard), size_guidance={"scalars": 0})
    events.Reload()
    curves: dict[str, Curve] = {}
    for name in sorted(events.Tags()["scalars"]):
        if name.startswith(_HIDDEN):
            continue
        points = {event.step: event.value for event in events.Scalars(name)}
        steps = sorted(points)
        curves[name] = (steps, [points[step] for step in steps])
    first = {name: curves.pop(name) for name in _FIRST if name in curves}
    return first | curves


def draw_curve(name: str, curve: Curve) -> str:
    """A small line plot as an ``<svg>`` element."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    steps, values = curve
    with mpl.rc_context({"svg.fonttype": "none", "font.size": 8, "svg.hashsalt": name}):
        figure = Figure(figsize=(3.4, 2.2), layout="constrained")
        axes = figure.add_subplot()
        axes.plot(steps, values, color="#2563a8", linewidth=1.2)
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("step" if name.startswith("pretrain/") else "tokens")
        axes.spines[["top", "right"]].set_visible(False)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    drawing = text.getvalue()
    return drawing[drawing.index("<svg") :]


def _table(summary: Summary) -> str:
    names = [name for name in next(iter(summary.values())) if not name.endswith("_se")]
    head = "".join(f"<th>{html.escape(name.replace('_', ' '))}</th>" for name in names)
    rows = []
    for label, figures in summary.items():
        cells = "".join(f"<td>{_cell(figures, name)}</td>" for name in names)
        rows.append(f"<tr><td>{html.escape(label)}</td>{cells}</tr>")
    return f"<table><tr><th></th>{head}</tr>{''.join(rows)}</table>"


def _cell(figures: Mapping[str, float | None], name: str) -> str:
    value, error = figures.get(name), figures.get(f"{name}_se")
    if value is None:
        return "-"
    return f"{value:.3f}" + ("" if error is None else f" <small>± {error:.3f}</small>")


def _grid(task: Task, texts: list[str]) -> str:
    figures = []
    for text in texts:
        picture = ""
        if task.domain == "molecules":
            from ..envs.molecules import draw_molecule_svg  # RDKit is an extra

            picture = draw_molecule_svg(text)
        caption = html.escape(text if len(text) <= 200 else text[:197] + "...")
        if task.canonical is not None and task.canonical(text) is None:
            caption += " <small>(not valid)</small>"
        figures.append(f"<figure>{picture}<figcaption>{caption}</figcaption></figure>")
    return f'<div class="grid">{"".join(figures)}</div>'
