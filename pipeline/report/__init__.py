"""The training report: one HTML page that needs nothing else.

inputs.py      what goes in, frozen
examples.py    which photos are worth seeing
environment.py what machine and which versions
charts.py      figures to coordinates
render.py      all of it into report.html (style.html, charts.html)
"""

from pipeline.report.environment import describe_environment
from pipeline.report.examples import choose_examples
from pipeline.report.inputs import Absent, EpochPoint, Example, Examples, ReportInputs
from pipeline.report.render import render_report

__all__ = [
    "Absent",
    "EpochPoint",
    "Example",
    "Examples",
    "ReportInputs",
    "choose_examples",
    "describe_environment",
    "render_report",
]
