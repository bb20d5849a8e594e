r"""The page that Prometheus reads: its text format, version 0.0.4.

https://prometheus.io/docs/instrumenting/exposition_formats/ is the source of the rules: UTF-8; ``\n`` ends each line,
the last one too; all samples of a metric stand together under one HELP and one TYPE; in a HELP text backslash and line
feed are escaped, in the value of a label the double quote as well. No library: prometheus_client would cost a serving
process more memory than everything it serves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rolesanywhere_helper.frozen import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """One value. ``suffix`` follows the metric's name: ``_bucket``, ``_sum`` and ``_count`` of a histogram."""

    value: float
    labels: Labels = ()
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class Metric:
    """All samples of one name; ``kind`` is gauge, counter or histogram."""

    name: str
    kind: str
    help: str
    samples: tuple[Sample, ...]


def histogram(boundaries: Sequence[float], counts: Sequence[int], total: float, labels: Labels = ()) -> list[Sample]:
    """Return the samples of a histogram.

    ``counts`` holds how many observations fell into each bucket, one more than there are ``boundaries`` (upper ends,
    ascending): the last is what lies beyond. ``total`` is the sum of all observations.
    """
    samples = []
    sum_so_far = 0
    for boundary, count in zip((*boundaries, float("inf")), counts, strict=True):
        sum_so_far += count
        samples.append(Sample(sum_so_far, (*labels, ("le", _number(boundary))), "_bucket"))
    return [*samples, Sample(total, labels, "_sum"), Sample(sum_so_far, labels, "_count")]


def render(metrics: Iterable[Metric]) -> bytes:
    """Render a page; a metric without a sample is left out."""
    lines: list[str] = []
    for metric in metrics:
        if metric.samples:
            lines.append(f"# HELP {metric.name} {_escaped(metric.help)}")
            lines.append(f"# TYPE {metric.name} {metric.kind}")
            lines += [_line(metric.name, sample) for sample in metric.samples]
    # A name that came in as no text (surrogates) must not cost the page.
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")


def _line(name: str, sample: Sample) -> str:
    labels = ",".join(f'{label}="{_quoted(value)}"' for label, value in sample.labels)
    return f"{name}{sample.suffix}{'{' + labels + '}' if labels else ''} {_number(sample.value)}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', '\\"')


def _number(value: float) -> str:
    """Write a number as Go reads it: +Inf, -Inf and NaN have names of their own."""
    if value != value:  # noqa: PLR0124 - what NaN is known by, without the math module
        return "NaN"
    if value in {float("inf"), float("-inf")}:
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) else repr(float(value))
