"""Every `pipeline.py` line of every page is one that the command line would take."""

import pytest

from components.runs.commands import build_parser
from components.runs.settings import parse_assignments
from tests.docs.pages import CLUSTER, ROOT, SHELL, SHOWN, blocks, commands, pages

COMMANDS = [
    pytest.param(command, id=f"{path.relative_to(ROOT)}:{command.line}")
    for path in (ROOT / "README.md", *pages())
    for command in commands(path)
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_line_in_the_documents_parses(command, capsys):
    options = parsed(command.words, capsys)
    if not command.runs:  # one that runs shows by itself what becomes of its settings
        parse_assignments(getattr(options, "set", []), getattr(options, "model", "mgdspr"))


def parsed(words, capsys):
    """What the real parser makes of the words; its complaint fails the test."""
    try:
        return build_parser().parse_args(words)
    except SystemExit:
        pytest.fail(f"pipeline.py {' '.join(words)}: {capsys.readouterr().err}")


@pytest.mark.parametrize("path", [path for path in pages() if path != CLUSTER], ids=lambda path: path.name)
def test_every_block_of_a_page_is_run_saved_shown_or_says_why_it_is_not_run(path):
    for block in blocks(path):
        known = block.language in (SHELL, *SHOWN) or block.saved_as
        assert known, f"{path.name}:{block.line}: a block of {block.language!r} that no test looks at"


def test_the_parser_of_pages_sees_commands_through_comments_pipes_and_continuations(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        'Words.\n\n```sh\npython pipeline.py search "red shoes" -k 5 | head  # a pipe\n'
        "python pipeline.py run \\\n  --model mmse || echo no\nls\n```\n"
    )
    assert [command.words for command in commands(page)] == [
        ["search", "red shoes", "-k", "5"],
        ["run", "--model", "mmse"],
    ]
