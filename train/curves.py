"""Learning curves: read from a run's TensorBoard files, drawn as small charts."""

from __future__ import annotations

import io
import math
import re
from dataclasses import dataclass, field
from pathlib import Path

Curve = tuple[list[int], list[float]]

_FEW = 30  # points of a curve that are marked one by one
_HIDDEN = ("time/",)
_INK = ("#2563a8", "#b4531d")
_COMPONENT = r"\1"
# What a run is judged by, in this order: the pattern of a tag, a title, and what is measured.
_FIRST = (
    (r"rollout/ep_rew_mean", "Reward", "mean of 100 sequences"),
    (r"reward/failed", "Sequences without a score", "of a round"),
    (r"reward/(.+)/mean", _COMPONENT, "mean of a round"),
    (r"train/(.+)/accuracy", r"\1: accuracy", "share told apart"),
    (r"train/entropy", "Entropy", "nats a token"),
    (r"rollout/ep_len_mean", "Length", "tokens"),
)
_SUPERVISED = (
    ("pretrain/nll", "pretrain/validation_nll", "Teacher forcing"),
    ("fit/nll", "fit/validation_nats_a_token", "Fit"),
)
_MOST_FIRST = 6


@dataclass(frozen=True)
class Chart:
    """Curves to be drawn in one picture, by the names that a legend has."""

    title: str
    unit: str
    curves: dict[str, Curve]
    tags: list[str] = field(default_factory=list)

    @property
    def last(self) -> str:
        """Where each curve ends."""
        ends = {}
        for label, (_, values) in self.curves.items():
            known = [value for value in values if not math.isnan(value)]
            ends[label or "last"] = f"{known[-1]:.3g}" if known else "-"
        return ", ".join(f"{label} {end}" for label, end in ends.items())


def read_curves(folder: Path) -> tuple[dict[str, Curve], float]:
    """The scalar curves of a folder of TensorBoard files, and for how many seconds they were made.

    Where a resumed run did a step again, the later entry counts; its pauses do not.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    points: dict[str, dict[int, float]] = {}
    seconds = 0.0
    for path in sorted(folder.glob("events.out.tfevents.*")):
        events = EventAccumulator(str(path), size_guidance={"scalars": 0})
        events.Reload()
        times = [0.0]
        for tag in events.Tags()["scalars"]:
            for event in events.Scalars(tag):
                points.setdefault(tag, {})[event.step] = event.value
                times.append(event.wall_time - events.FirstEventTimestamp())
        seconds += max(times)
    ordered = {tag: sorted(values.items()) for tag, values in sorted(points.items())}
    return {
        tag: ([step for step, _ in values], [value for _, value in values])
        for tag, values in ordered.items()
        if not tag.startswith(_HIDDEN)
    }, seconds


def charts_of(curves: dict[str, Curve]) -> tuple[list[Chart], list[Chart], list[str]]:
    """The few charts that matter most, all others, and the tags of curves that never change."""
    first = []
    for training, held_out, title in _SUPERVISED:
        if training in curves:
            named = {"training": training, "held out": held_out}
            found = {label: curves[tag] for label, tag in named.items() if tag in curves}
            first.append(Chart(title, "nats a token", found, list(named.values())))
    for pattern, title, unit in _FIRST:
        matches = [match for tag in curves if (match := re.fullmatch(pattern, tag))]
        if title == _COMPONENT and len(matches) == 1:
            continue  # it is the reward
        for match in matches:
            tag = match.string
            if tag != "reward/failed" or not _is_flat(curves[tag]):
                first.append(Chart(match.expand(title), unit, {"": curves[tag]}, [tag]))
    first = first[:_MOST_FIRST]
    others = {tag: curve for tag, curve in curves.items() if not any(tag in c.tags for c in first)}
    flat = [tag for tag, curve in others.items() if _is_flat(curve)]
    rest = [Chart(tag, "", {"": others[tag]}, [tag]) for tag in others if tag not in flat]
    return first, rest, flat


def _is_flat(curve: Curve) -> bool:
    return len({value for value in curve[1] if not math.isnan(value)}) <= 1


def draw_chart(chart: Chart) -> str:
    """A line plot as an ``<svg>`` element, black on nothing."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, MaxNLocator

    with mpl.rc_context({"svg.fonttype": "none", "font.size": 8, "svg.hashsalt": chart.title}):
        figure = Figure(figsize=(3.6, 2.2), layout="constrained")
        axes = figure.add_subplot()
        for (label, (steps, values)), ink in zip(chart.curves.items(), _INK, strict=False):
            marker = "o" if len(steps) <= _FEW else None
            axes.plot(steps, values, color=ink, linewidth=1.2, marker=marker, ms=2.5, label=label)
        if len(chart.curves) > 1:
            axes.legend(frameon=False)
        axes.set_ylabel(chart.unit)
        supervised = chart.tags[0].startswith(("pretrain/", "fit/"))
        axes.set_xlabel("batches" if supervised else "tokens written")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.spines[["top", "right"]].set_visible(False)
        text = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(text, format="svg", transparent=True, metadata=nothing)
    drawing = text.getvalue()
    return drawing[drawing.index("<svg") :]
