"""What the command line says of itself: every command has a help with an example that is a right command, and a shell
completes them.
"""

import re
import shlex
import shutil
import subprocess
from dataclasses import fields, is_dataclass
from typing import Any

import pytest
from docstring_parser import parse_from_object  # of tyro

from facejax.cli import COMMANDS, main, parse

PLACES = [(name,) for name in COMMANDS]
PLACES += [(name, one) for name, (options, _) in COMMANDS.items() if isinstance(options, dict) for one in options]
ALL = pytest.mark.parametrize("place", PLACES, ids=" ".join)


def every_class():
    return [
        c for options, _ in COMMANDS.values() for c in (options.values() if isinstance(options, dict) else [options])
    ]


def options_of(place):
    found: Any = COMMANDS[place[0]][0]
    return found[place[1]] if len(place) > 1 else found


def help_of(place, capsys):
    with pytest.raises(SystemExit) as end:
        main([*place, "--help"])
    assert not end.value.code
    return capsys.readouterr().out


@ALL
def test_every_help_has_words_and_an_example_that_parses(place, capsys):
    text = help_of(place, capsys)
    before, *examples = text.split("Example:\n")
    assert len(examples) == 1 and len(before.split("\n\n")[1].split()) >= 5  # after the usage
    lines = re.findall(r"^ *facejax .*$", examples[0].split("╭")[0], flags=re.MULTILINE)
    commands = [shlex.split(part)[1:] for line in lines for part in line.split("&&")]
    named = [tuple(words[: len(place)]) for words in commands]
    assert place in named
    for words in commands:
        assert type(parse(words)) in every_class()
    mine = parse(commands[named.index(place)])
    assert type(mine) in (options_of(place).values() if isinstance(options_of(place), dict) else [options_of(place)])


@pytest.mark.parametrize("options", every_class(), ids=lambda one: one.__name__)
def test_every_option_says_what_it_does(options):
    classes = [one for one in options.__mro__ if is_dataclass(one)]
    said = {param.arg_name: param.description for one in classes for param in parse_from_object(one).params}
    assert [field.name for field in fields(options) if not said.get(field.name)] == []


def test_the_list_of_commands_is_one_sentence_each(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert all(f"• {name} " in text for name in COMMANDS) and "Example" not in text


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_scripts_know_the_commands(shell, capsys):
    with pytest.raises(SystemExit) as end:
        main(["--tyro-print-completion", shell])
    script = capsys.readouterr().out
    assert not end.value.code
    assert ("complete -F" if shell == "bash" else "#compdef facejax") in script
    assert all(name in script for name in [*COMMANDS, "decoder", "--keep-stages", "--statistics"])


def test_bash_completes_commands_and_options(tmp_path, capsys):
    if (bash := shutil.which("bash")) is None:
        pytest.skip("no bash here")
    with pytest.raises(SystemExit):
        main(["--tyro-print-completion", "bash"])
    script = tmp_path / "facejax.bash"
    script.write_text(capsys.readouterr().out)
    for words, wanted in [("conv", "convert"), ("convert dec", "decoder"), ("fit --keep", "--keep-stages")]:
        typed = ["facejax", *words.split()]
        program = f"""
            source {script}
            COMP_WORDS=({" ".join(typed)}) COMP_CWORD={len(typed) - 1}
            "$(complete -p facejax | sed 's/.*-F \\([^ ]*\\).*/\\1/')"
            printf '%s\\n' "${{COMPREPLY[@]}}"
        """
        done = subprocess.run([bash, "-c", program], capture_output=True, text=True)
        assert wanted in done.stdout.split(), done.stderr


def test_help_runs_in_paragraphs_and_tells_a_default_once(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")  # nothing is wrapped for want of room
    text = help_of(("fit",), capsys)
    assert "with encoded images (.parquet), or URLs" in text and "gets a folder of its own in it" in text
    assert "(default: the package's own)" in text and "(default: None)" not in text and "(default: largest)" in text
