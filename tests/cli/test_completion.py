"""What shells complete, by the shells themselves."""

import os
import shutil
import subprocess

import pytest

from hcflow_jax import cli

ASK = """
eval "$(<script)"
while read -r line; do
    COMP_WORDS=(${line%|}); [[ $line == *" |" ]] && COMP_WORDS+=("")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    COMPREPLY=()
    _shtab_hcflow hcflow "${COMP_WORDS[COMP_CWORD]}"
    echo "${COMPREPLY[@]}"
done
"""
"""Of a bash: for every line of stdin, in which | is the cursor, what may stand there."""


@pytest.fixture
def script(tmp_path, monkeypatch, capsys):
    """script(shell): the file that `hcflow completion` prints, in a folder with a picture."""
    monkeypatch.chdir(tmp_path)
    os.mkdir("runs")
    (tmp_path / "run.png").touch()

    def write(shell):
        assert cli.main(["completion", shell]) == 0
        (tmp_path / "script").write_text(capsys.readouterr().out)

    return write


def test_bash_completes_commands_options_values_and_files(script):
    script("bash")
    asked = {
        "hcflow upsc|": "upscale",
        "hcflow upscale --temp|": "--temperature --temperature-map",
        "hcflow upscale --bits |": "8 16",
        "hcflow upscale ru|": "run.png runs",
        "hcflow upscale -o ru|": "run.png runs",
        "hcflow data build --l|": "--lr",
        "hcflow train --workdir ru|": "runs",
        "hcflow train --config |": "rescaling_x2 rescaling_x4 sr_x4 sr_x8",
        "hcflow train --config.train.learning_|": "--config.train.learning_rate",
        "hcflow completion |": "bash zsh",
    }
    done = subprocess.run(
        ["bash", "--norc", "-c", ASK], input="\n".join(asked) + "\n", capture_output=True, text=True
    )
    assert not done.stderr
    found = [" ".join(sorted(line.split(), key=_size)) for line in done.stdout.splitlines()]
    assert found == [" ".join(sorted(words.split(), key=_size)) for words in asked.values()]


def _size(word):
    return len(word), word


@pytest.mark.skipif(not shutil.which("zsh"), reason="there is no zsh")
def test_zsh_takes_the_script(script):
    script("zsh")
    code = 'autoload -Uz compinit; compinit -D -u; eval "$(<script)"; print $_comps[hcflow]'
    done = subprocess.run(["zsh", "-f", "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("_shtab_hcflow\n", "")
