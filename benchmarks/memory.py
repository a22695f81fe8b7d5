"""Measures the peak memory of a batch scoring: of the driver, of Spark's server and of its workers."""

import argparse
import shutil
import sys
import threading
import time

import psutil
from bench import MODELS, Bench, finish, open_bench, write_rows

SECONDS_BETWEEN_LOOKS = 0.1


class PeakMemory:
    """Looks at processes until it is left, and keeps the largest memory that it saw of each kind, in MiB."""

    def __init__(self, server: int) -> None:
        self.peaks = {"driver": 0.0, "server": 0.0, "largest worker": 0.0, "all workers": 0.0}
        self._driver, self._server = psutil.Process(), psutil.Process(server)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(SECONDS_BETWEEN_LOOKS):
            workers = [_memory(child) for child in self._server.children(recursive=True) if _is_python(child)]
            seen = {
                "driver": _memory(self._driver),
                "server": _memory(self._server),
                "largest worker": max(workers, default=0.0),
                "all workers": sum(workers),
            }
            self.peaks = {name: max(self.peaks[name], value) for name, value in seen.items()}


def measure(bench: Bench, rows: int) -> dict[str, float]:
    """Score that many rows once; returns the peaks in MiB, and the seconds."""
    source = write_rows(bench.folder / f"rows{rows}", rows)
    start = time.perf_counter()
    with PeakMemory(bench.server) as memory:
        result = bench.score(source)
    seconds = time.perf_counter() - start
    assert result["rows_scored"] == rows, result
    shutil.rmtree(source)
    peaks = {name: round(peak, 1) for name, peak in memory.peaks.items()}
    print(f"{rows:>12,} rows  {seconds:7.1f} s  {peaks}", flush=True)
    return peaks | {"seconds": round(seconds, 1)}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000, 50_000_000])
    parser.add_argument("--model", choices=MODELS, default="linear")
    options = parser.parse_args()
    with open_bench(options.model) as bench:
        # Spark and its workers grow to their usual size with the first batches, whatever their size.
        for _ in range(3):
            measure(bench, min(options.rows))
        measured = {str(rows): measure(bench, rows) for rows in options.rows}
    first, last = measured[str(options.rows[0])], measured[str(options.rows[-1])]
    # Without a Python worker there is nothing to compare.
    growth = {name: round(last[name] / first[name], 2) for name in first if name != "seconds" and first[name]}
    print(f"\nFrom {options.rows[0]:,} to {options.rows[-1]:,} rows the peaks grow to {growth} times")
    finish({"benchmark": "memory", "model": options.model, "peak_mib": measured, "growth": growth})


def _is_python(process: psutil.Process) -> bool:
    """Tell a worker from a copy of Java's own process that is about to start something."""
    try:
        return process.name().startswith("python")
    except psutil.NoSuchProcess:
        return False


def _memory(process: psutil.Process) -> float:
    try:
        return float(process.memory_info().rss) / 2**20
    except psutil.NoSuchProcess:
        return 0.0


if __name__ == "__main__":
    sys.exit(main())
