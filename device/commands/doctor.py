"""``edgegraft doctor``: what this machine has and lacks."""

from __future__ import annotations

import argparse

SUMMARY = "say what this machine has and lacks, with remedies; fit for a bug report"


def configure(parser: argparse.ArgumentParser) -> None:
    """See ``device.cli.Command``; there are no options."""


def run(args: argparse.Namespace) -> int:
    """See ``device.cli.Command``. Exit code 1 when something that a board needs is missing."""
    from device.console import emit_json
    from device.doctor import examine

    findings = examine()
    healthy = all(finding.ok for finding in findings)
    if args.json:
        emit_json({"healthy": healthy, "findings": findings})
    else:
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            mark = "!!" if not finding.ok else "--" if finding.remedy else "ok"
            print(f"{mark}  {finding.name:<{width}}  {finding.value}")
            if finding.remedy:
                print(f"    {'':<{width}}  -> {finding.remedy}")
    return 0 if healthy else 1
