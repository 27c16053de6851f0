"""The report of a run: figures, samples and curves in one HTML file that needs no network."""

from __future__ import annotations

import base64
import csv
import html
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import yaml

from ..agents.checkpoint import write_atomically
from ..envs import Task
from ..envs.drawing import draw_text
from ..rewards.failures import first_failures
from ..rewards.files import read_text
from .curves import Chart, charts_of, draw_chart, read_curves
from .evaluation import Summary, figure_names, scored_of
from .run_folder import RunFolder

_DRAWN = 24  # samples in the grid
_LONGEST = 200  # characters of a caption, half as many under a picture
_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --faint: #66707c; --line: #dde3ea; --page: #fff; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #dfe5ec; --faint: #96a1ad; --line: #333c47; --page: #14181d; }
  svg, img { filter: invert(1) hue-rotate(180deg); } img { mix-blend-mode: screen; }
}
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2rem auto; padding: 0 1rem;
       color: var(--ink); background: var(--page); }
h1, h2 { font-weight: 600; line-height: 1.2; } h1 { margin-bottom: .2rem; } h2 { margin-top: 2rem; }
small, .faint { color: var(--faint); } code, pre, .text { font-family: ui-monospace, monospace; }
.wide { overflow-x: auto; } table { border-collapse: collapse; }
th, td { padding: .35rem 0 .35rem 1.2rem; text-align: right; white-space: nowrap;
         border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; padding-left: 0; white-space: normal; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; }
dt { color: var(--faint); } dd { margin: 0; overflow-wrap: anywhere; }
.grid { display: grid; gap: .6rem;
        grid-template-columns: repeat(auto-fill, minmax(var(--card), 1fr)); }
figure { margin: 0; border: 1px solid var(--line); border-radius: 6px; padding: .5rem;
         min-width: 0; }
figure svg, img { display: block; width: 100%; height: auto; }
figcaption { font-size: 12px; line-height: 1.4; overflow-wrap: anywhere; }
.grid:has(img) { --card: 20rem !important; } .text { white-space: pre-wrap; }
.none { display: grid; place-items: center; aspect-ratio: 13 / 9; }
.chart figcaption { font-size: 14px; display: flex; justify-content: space-between; gap: 1rem; }
summary { cursor: pointer; margin: 1rem 0; } pre { overflow-x: auto; }
@media (max-width: 600px) { td small { display: block; } .grid { --card: 12rem !important; } }
"""


def write_report(folder: RunFolder, task: Task, summary: Summary) -> None:
    """Write ``report.html`` from a run's configuration, figures, ``samples.csv`` and curves."""
    config = folder.config.read_text(encoding="utf-8")
    samples = list(csv.DictReader(io.StringIO(read_text(folder.samples), newline="")))
    curves, seconds = read_curves(folder.tensorboard)
    shown = samples[:_DRAWN]
    parts = [
        f"<h1>{_safe(task.name)}</h1>",
        f'<p class="faint">{_safe(folder.path.name)}</p>',
        _facts(task, yaml.safe_load(config), seconds),
        "<h2>Figures</h2>",
        _table(summary),
        "<h2>Samples</h2>",
        f'<p class="faint">The first {len(shown)} of {len(samples):,}, as they were written.</p>',
        _grid("".join(_card(task, sample) for sample in shown), "14rem"),
        "<h2>Learning curves</h2>",
        _charts(*charts_of(curves)),
        f"<details><summary>Configuration</summary><pre>{_safe(config)}</pre></details>",
    ]
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{_safe(f'tokengym: {folder.path.name}')}</title>"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )
    write_atomically(folder.report, page.encode("utf-8"))


def _facts(task: Task, config: Mapping[str, Any], seconds: float) -> str:
    """What was run, as a list."""
    from .. import __version__

    data = config.get("data") or "the task's own"
    facts = {
        "task": config["task"],
        "data": f"{data}, {len(task.data) if task.data else 0:,} sequences",
        "reward": task.reward.name,
        "constraint": task.constraint or "none",
        **_who(config),
        "wall time": _duration(seconds),
        "seed": config["seed"],
        "tokengym": __version__,
    }
    for name, first in first_failures(task.reward).items():
        facts[f"first failure of {name}"] = first
    if task.source is not None:
        entropy = task.source.entropy()
        error = f" ± {entropy.se:.3f}" if entropy.se else ""
        facts["entropy of the data"] = f"{entropy.value:.3f}{error} nats a sequence"
    rows = (f"<dt>{_safe(name)}</dt><dd>{_safe(str(fact))}</dd>" for name, fact in facts.items())
    return f"<dl>{''.join(rows)}</dl>"


def _who(config: Mapping[str, Any]) -> dict[str, str]:
    """Who learnt, and for how long: an agent or a learner."""
    kind = "learner" if "learner" in config else "agent"
    chosen = config[kind]
    who = f"{chosen['class_path'].rpartition('.')[2]}, {chosen['init_args']['policy']}"
    if kind == "learner":
        return {kind: who, "training": f"at most {config['max_epochs']} epochs"}
    epochs = config["pretrain"]["epochs"]
    beginning = f"{epochs} epoch{'s' * (epochs != 1)} of teacher forcing"
    if config.get("policy"):
        who, beginning = f"{who.partition(',')[0]}, {config['policy']}", "fitted before"
    return {kind: who, "training": f"{beginning}, then {config['total_timesteps']:,} tokens"}


def _duration(seconds: float) -> str:
    for unit, size in (("hours", 3600), ("minutes", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"


def _table(summary: Summary) -> str:
    """A row for each figure, a column for each set of sequences; no wider than a telephone."""
    head = "".join(f"<th>{_safe(label)}</th>" for label in summary)
    rows = []
    for name in figure_names(summary):
        cells = "".join(_cell(figures, name) for figures in summary.values())
        rows.append(f"<tr><td>{_safe(name.replace('_', ' '))}</td>{cells}</tr>")
    table = f"<table><tr><th></th>{head}</tr>{''.join(rows)}</table>"
    return f'<div class="wide">{table}</div><p class="faint">± the standard error.</p>'


def _cell(figures: Mapping[str, float | None], name: str) -> str:
    value, error, n = (figures.get(f"{name}{end}") for end in ("", "_se", "_n"))
    size = "" if n is None else f' title="of {n:,.0f}"'
    of = f" <small>{few}</small>" if (few := scored_of(figures, name)) else ""
    if value is None:
        return f"<td{size}>-{of}</td>"
    known = error is not None and error >= 0.0005  # of the data itself nothing is left to chance
    places = 3 if abs(value) < 10 else 1
    shown = f"{value:.{places}f}" + (f" <small>± {error:.{places}f}</small>" if known else "")
    return f"<td{size}>{shown}{of}</td>"


def _card(task: Task, sample: dict[str, str]) -> str:
    """A sample's picture, its text and what it was worth."""
    (_, text), *values = sample.items()
    picture = _picture(task, text)
    longest = _LONGEST // 2 if picture else _LONGEST
    caption = text if len(text) <= longest else text[: longest - 3] + "..."
    scores = " &middot; ".join(
        f"{_safe(name)} {float(value):.3g}" for name, value in values if name != "valid" and value
    )
    if sample.get("valid") == "0":
        picture = '<div class="none faint">not valid</div>'
    return (
        f'<figure>{picture}<figcaption><div class="text">{_safe(caption) or "(empty)"}</div>'
        f'<div class="faint">{scores}</div></figcaption></figure>'
    )


def _picture(task: Task, text: str) -> str:
    """A drawing where the domain has one; a text's caption is enough."""
    if task.domain == "molecules":
        from ..envs.molecules import draw_molecule_svg  # RDKit is an extra

        return draw_molecule_svg(text)
    return "" if task.draw is draw_text else _image(task.draw(text))


def _image(picture: np.ndarray) -> str:
    from PIL import Image

    data = io.BytesIO()
    Image.fromarray(picture).quantize(16).save(data, "png", optimize=True)
    encoded = base64.b64encode(data.getvalue()).decode()
    return f'<img alt="" src="data:image/png;base64,{encoded}">'


def _charts(first: list[Chart], rest: list[Chart], flat: list[str]) -> str:
    left_out = f"<p>Never changed: {_safe(', '.join(flat))}.</p>" if flat else ""
    return (
        f"{_grid(''.join(map(_chart, first)), '20rem')}<details><summary>{len(rest)} more, named "
        f"as in TensorBoard</summary>{_grid(''.join(map(_chart, rest)), '20rem')}{left_out}"
        "</details>"
    )


def _chart(chart: Chart) -> str:
    return (
        f'<figure class="chart" title="{_safe(", ".join(chart.tags))}"><figcaption>'
        f'<b>{_safe(chart.title)}</b><span class="faint">{_safe(chart.last)}</span>'
        f"</figcaption>{draw_chart(chart)}</figure>"
    )


def _grid(figures: str, width: str) -> str:
    return f'<div class="grid" style="--card: {width}">{figures}</div>'


def _safe(text: str) -> str:
    return html.escape(text)
