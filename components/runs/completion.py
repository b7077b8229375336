"""Shell completion of the command line, as it is typed: `python pipeline.py ...`."""

import re

from components.runs.arguments import build_parser

_BEHIND_PYTHON = {
    "bash": """
_towerline_behind_python() {
  if [[ ${COMP_WORDS[1]##*/} == pipeline.py && $COMP_CWORD -gt 1 ]]; then
    COMP_WORDS=("${COMP_WORDS[@]:1}")
    ((COMP_CWORD--))
    _shtab_pipeline_py
  fi
}
complete -o default -o bashdefault -F _towerline_behind_python python python3
""",
    "zsh": """
_towerline_behind_python() {
  if [[ ${words[2]:t} == pipeline.py && $CURRENT -gt 2 ]]; then
    shift words
    ((CURRENT--))
    _shtab_pipeline_py
  elif (( $+functions[_python] )); then
    _python
  else
    _default
  fi
}
compdef _towerline_behind_python python python3
""",
}
"""The command is typed as `python pipeline.py ...`: its completion has to work as that of python."""


def completion(shell: str) -> str:
    """The completion script for bash, zsh or tcsh."""
    import shtab

    script = shtab.complete(build_parser(), shell=shell)
    if shell == "zsh":
        # `source` is no `eval`, for which alone shtab registers its function.
        script = script.replace("zsh_eval_context[-1] == eval ", "zsh_eval_context[-1] == (eval|file) ")
        # A word that nothing can be offered for, such as a run's id, must not keep zsh from inserting an option.
        script = re.sub(r'^(  ":[^"]*):"$', r'\1:()"', script, flags=re.MULTILINE)
    return script + _BEHIND_PYTHON.get(shell, "")
