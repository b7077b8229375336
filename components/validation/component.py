"""Pipeline tasks of this room: check the log, and the gate that a verdict opens or closes."""

from kfp import dsl

from components.image import component


@component
def validate_logs(
    log: dsl.Input[dsl.Dataset],
    settings: str,
    accept: str,
    workdir: str,
    checked: dsl.Output[dsl.Dataset],
    quarantine: dsl.Output[dsl.Dataset],
    statistics: dsl.Output[dsl.Artifact],
    verdict: dsl.Output[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
) -> None:
    """Checks every row and the distributions of a log; good rows go on, bad rows go to quarantine with their reason.

    Args:
        log: the log in the contract.
        settings: JSON object of overrides of ValidationSettings.
        accept: names of alarms that a person accepts, comma-separated.
        workdir: holds the statistics of the promoted releases' logs, to compare with.
        checked: the log with good rows only.
        quarantine: the bad rows, each with reason, file, row group and row.
        statistics: mergeable sketches per day.
        verdict: whether the gate is open, why, and every alarm.
        report: the expectation suites' results as one page.
    """
    from pathlib import Path

    from components.validation.step import run

    figures = run(
        log=Path(log.path),
        checked=Path(checked.path),
        quarantine=Path(quarantine.path),
        statistics=Path(statistics.path),
        verdict=Path(verdict.path),
        report=Path(report.path),
        settings=settings,
        previous_statistics=str(Path(workdir) / "statistics"),
        accept=accept,
    )
    checked.metadata.update(figures)


@component
def open_gate(name: str, verdict: dsl.Input[dsl.Artifact], evidence: dsl.Input[dsl.Artifact]) -> None:
    """Fails when the verdict is closed, so that nothing behind it can run.

    Args:
        name: the gate's name in run.json: data_gate, quality_gate or infrastructure_gate.
        verdict: a verdict or blessing: {"gate", "open", "reason"}.
        evidence: what the verdict was given on, kept for the run's report.
    """
    from pathlib import Path

    from components.common.gate import pass_gate

    pass_gate(name, Path(verdict.path), Path(evidence.path))
