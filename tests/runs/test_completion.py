"""Completion in real shells, with the command line as it is typed."""

import os
import pty
import select
import shlex
import shutil
import subprocess
import time

import pytest

from components.runs.completion import completion


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on this machine")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["python", "pipeline.py", "roll"], "rollback"),
        (["python3", "./pipeline.py", "run", "--acc"], "--accept"),
        (["pipeline.py", "rel"], "releases"),
    ],
)
def test_bash_completes_the_command_as_it_is_typed(words, offered):
    function = "_towerline_behind_python" if words[0].startswith("python") else "_shtab_pipeline_py"
    typed = f"COMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}; COMP_LINE={shlex.quote(shlex.join(words))}"
    asked = f"{completion('bash')}\n{typed}; {function}; echo ${{COMPREPLY[@]}}; complete -p {words[0]}"
    done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True)
    assert offered in done.stdout.split()
    assert function in done.stdout


TYPED = {
    "python pipeline.py roll": "python pipeline.py rollback ",
    "python3 ./pipeline.py run --acc": "python3 ./pipeline.py run --accept ",
    "pipeline.py rele": "pipeline.py releases ",
    "python pipeline.py runs --js": "python pipeline.py runs --json ",
    "python pipeline.py canary --sto": "python pipeline.py canary --stop ",
    "python pipeline.py completion z": "python pipeline.py completion zsh ",
    "python pipel": "python pipeline.py ",
}
"""What a person types before the tabulator, and the line that it becomes."""
_ZSH = """PS1= ; autoload -Uz compinit; compinit -u -D; bindkey '^I' complete-word
tell() { print -r -- "$BUFFER" >> seen; BUFFER= ; }; zle -N tell; bindkey '^X' tell
source <(cat completion.zsh) && print -r -- sourced >> seen
"""


@pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh on this machine (apt-get install zsh)")
def test_zsh_completes_the_command_as_it_is_typed(tmp_path):
    (tmp_path / "completion.zsh").write_text(completion("zsh"))
    (tmp_path / "pipeline.py").touch()
    lines = type_into_zsh(tmp_path, _ZSH, [f"{text}\t\x18" for text in TYPED])
    assert lines == ["sourced", *(text.rstrip() for text in TYPED.values())]


def type_into_zsh(folder, setup, texts):
    """The lines that an interactive zsh wrote into `seen`: one for the setup and one for each text."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.execvpe("zsh", ["zsh", "-f", "-i"], {"PATH": os.environ["PATH"], "TERM": "dumb", "HOME": str(folder)})
    seen, shown = folder / "seen", b""

    def wait_for(count):
        nonlocal shown
        deadline = time.monotonic() + 30
        while len(read(seen)) < count:
            assert time.monotonic() < deadline, shown.decode(errors="replace")[-2000:]
            if select.select([terminal], [], [], 0.05)[0]:
                shown += os.read(terminal, 65536)

    try:
        for number, text in enumerate([setup, *texts], 1):
            os.write(terminal, text.encode())
            wait_for(number)
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)
    assert b"can only be called from" not in shown
    return [line.rstrip() for line in read(seen)]


def read(path):
    return path.read_text().splitlines() if path.exists() else []


def test_every_shell_is_told_every_command():
    for shell in ("bash", "zsh", "tcsh"):
        assert "rollback" in completion(shell)
