"""The runner of pages sees what is wrong with a page, and leaves nothing running behind it."""

import os
import re

import pytest

from tests.docs.session import run_page

PAGE = """# A page

Save as `greet.sh`:

```bash
echo "hello $1"
```

```sh
name=world
bash greet.sh "$name" | cat
```

```text
hello ...
```

Not run by the tests: it would fail.

```sh
false
```

```sh
sleep 600 &
echo "started $! for $name"
```

```text
started
```
"""


def run(directory, text):
    page = directory / "page.md"
    page.write_text(text)
    return run_page(page, directory)


def test_blocks_share_one_shell_and_what_runs_on_ends_with_the_page(tmp_path):
    done = run(tmp_path, PAGE)
    assert (done.code, done.problems) == (0, [])
    (sleeper,) = re.findall(r"started (\d+) for world", done.output)
    with pytest.raises(ProcessLookupError):
        os.kill(int(sleeper), 0)


def test_output_that_is_not_printed_is_a_problem(tmp_path):
    done = run(tmp_path, PAGE.replace("hello ...", "goodbye ..."))
    assert done.code == 0
    (problem,) = done.problems
    assert "does not print 'goodbye ...'" in problem


def test_a_command_that_fails_is_a_problem_even_in_front_of_a_pipe(tmp_path):
    done = run(tmp_path, PAGE.replace("bash greet.sh", "bash no-such-file.sh"))
    assert done.code != 0
    (problem,) = done.problems
    assert "no-such-file.sh" in problem
