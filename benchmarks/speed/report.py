"""The table of what was measured, and its comparison with the one that is kept in the repository."""

import json
import platform
import statistics
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.speed.rows import ROWS, Measured
from benchmarks.tools import ratio, table

REFERENCE = Path(__file__).with_name("reference.json")
HEADER = ["work", "time (s)", "other", "time (s)", "ours to other's", "GFLOP/s (of ceiling)", "peak memory (GiB)"]
SLOWER = 1.2
"""Factor from which on a row counts as slower than the reference, if no time of it is within the reference's range."""


def machine() -> dict[str, Any]:
    """Return what times depend on: processor, threads, GPU, version of torch."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"processor": _processor(), "threads": torch.get_num_threads(), "gpu": gpu, "torch": torch.__version__}


def _processor() -> str:
    """Return the name of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def record(measured: Measured, peak_gib: float) -> dict[str, Any]:
    """Return a row for the JSON file.

    Args:
        measured: the times.
        peak_gib: peak memory of the processes that did the work.
    """
    return asdict(measured) | {"peak_gib": peak_gib}


def as_table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a Markdown table of rows by name, as ``record`` gives them."""
    return table(HEADER, [_cells(name, row) for name, row in rows.items()])


def _cells(name: str, row: Mapping[str, Any]) -> list[str]:
    ours_s, others_s = row["ours_s"], row["others_s"]
    speed = ""
    if row["flop"] and row["ceiling_flops"]:
        flops = row["flop"] / statistics.median(ours_s)
        speed = f"{flops / 1e9:.0f} ({flops / row['ceiling_flops']:.0%} of {row['ceiling_flops'] / 1e9:.0f})"
    return [
        ROWS[name].work,
        _seconds(ours_s),
        row["other"] or "",
        _seconds(others_s) if others_s else "",
        ratio(ours_s, others_s) if others_s else "",
        speed,
        "" if others_s else f"{row['peak_gib']:.2f}",  # of both ways together it says nothing
    ]


def _seconds(times_s: list[float]) -> str:
    return f"{statistics.median(times_s):.3g}"


def slower(rows: Mapping[str, Mapping[str, Any]], reference: Mapping[str, Any], *, same_machine: bool) -> list[str]:
    """Return a sentence for each row that is slower than in a reference.

    Rows with another way are compared by their ratios, the others by their times, on the same machine only.

    Args:
        rows: what was measured.
        reference: content of a JSON file of before.
        same_machine: whether that was measured on this machine.
    """
    found = []
    for name in rows.keys() & reference["rows"].keys():
        now, before = (_compared(row) for row in (rows[name], reference["rows"][name]))
        comparable = same_machine or (rows[name]["others_s"] and reference["rows"][name]["others_s"])
        factor = statistics.median(now) / statistics.median(before)
        if comparable and factor > SLOWER and min(now) > max(before):
            kind = "ratio" if rows[name]["others_s"] else "time"
            found.append(f"{ROWS[name].work}: its {kind} is {factor:.2f} times that of the reference")
    return sorted(found)


def _compared(row: Mapping[str, Any]) -> list[float]:
    """Return the ratios of a row, or its times if it has no other way."""
    if not row["others_s"]:
        return list(row["ours_s"])
    return [ours / other for ours, other in zip(row["ours_s"], row["others_s"], strict=True)]


def read_reference(path: Path = REFERENCE) -> dict[str, Any] | None:
    """Return the reference; None if there is none."""
    if not path.is_file():
        return None
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
