"""The simulated tables of the documents are what the simulator prints."""

import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
LOAD = ["--no_capacity", "--rule", "both", "--pool", "2GiB", "--requests", "20000"]
MIXED = "0.05=1,0.1=2,0.2=1"


def simulated_rows(programs, *arguments):
    """The rows of all tables, without their heads."""
    result = subprocess.run(
        [
            programs / "heatkv", "plan", "--model", "infinity-2b", "--simulate",
            "--markdown", *arguments,
        ],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
    )
    assert result.returncode == 0, result.stderr
    return [
        line
        for line in result.stdout.splitlines()
        if line.startswith("|") and not re.match(r"\| (size|policy)|\|-", line)
    ]


def rows_of(document):
    return {
        line for line in (ROOT / document).read_text().splitlines()
        if line.startswith("|")
    }


def test_the_capacity_tables_are_the_simulators(programs):
    capacity = [r for r in simulated_rows(programs) if not re.match(r"\| \w+, ", r)]
    assert len(capacity) == 16
    assert set(capacity) <= rows_of("docs/capacity.md")
    short = {
        row.removeprefix("| 1024x1024 ").replace("| full", "| none")
        for row in capacity
        if row.startswith("| 1024x1024 ")
    }
    assert len(short) == 4
    assert short <= rows_of("README.md")


def test_the_tables_of_policies_are_the_simulators(programs):
    documented = rows_of("docs/capacity.md")
    for tiers, load in [(MIXED, "0.8"), (MIXED, "1.2"), ("0.1", "1.2")]:
        rows = simulated_rows(programs, *LOAD, "--tiers", tiers, "--load", load)
        assert len(rows) == 4
        assert set(rows) <= documented
