"""The exit handler of every run: settle run.json and write the report, whatever happened before."""

from kfp import dsl

from components.image import component


@component
def report_run(
    source: str,
    data: str,
    model: str,
    workdir: str,
    status: dsl.PipelineTaskFinalStatus,
    report: dsl.Output[dsl.HTML],
) -> None:
    """Writes run.json and report.html from the task records.

    Args:
        source: the run's source.
        data: the path of its files.
        model: the model that was trained.
        workdir: the work directory with the runs and releases.
        status: the pipeline's final state as the orchestrator sees it.
        report: the report as one self-contained page.
    """
    from pathlib import Path

    from components.runs.step import report_run as write

    write(Path(workdir), source, data, model, status.state, status.error_message or "", Path(report.path))
