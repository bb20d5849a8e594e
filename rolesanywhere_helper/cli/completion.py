"""``completion``: what completes this command line in bash, zsh and fish.

The scripts are made of the parsers' own flags and need nothing but the shell and sed. They start no process of this
program: names of sessions are read off the lines ``[session.NAME]`` of the configuration file, and only names that need
no quotes in TOML, which mean nothing to a shell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rolesanywhere_helper.cli.descriptors import write_stdout

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Callable, Iterable

    from rolesanywhere_helper.cli.commands import Invocation
    from rolesanywhere_helper.cli.reference import CommandLine, Option

EXAMPLE = """\
  eval "$(rolesanywhere-helper completion bash)"
  rolesanywhere-helper completion zsh > "${fpath[1]}/_rolesanywhere-helper"
  rolesanywhere-helper completion fish > ~/.config/fish/completions/rolesanywhere-helper.fish"""

SHELLS = ("bash", "fish", "zsh")


def add_flags(parser: ArgumentParser) -> None:
    """Declare the only operand."""
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help="bash, fish or zsh")


def run(invocation: Invocation) -> int:
    """Print the script of one shell."""
    write_stdout(script(str(invocation.flags["shell"])).encode())
    return 0


def script(shell: str) -> str:
    """Return the script of a shell, one of :data:`SHELLS`."""
    from rolesanywhere_helper.cli import reference  # noqa: PLC0415 - looks at every command

    lines = (reference.program(), *reference.commands())
    writers: dict[str, Callable[[Iterable[CommandLine]], str]] = {"bash": _bash, "fish": _fish, "zsh": _zsh}
    return writers[shell](lines)


# What the three have in common

_HEAD = "Completion of rolesanywhere-helper, written by 'rolesanywhere-helper completion {}': do not edit."
_SESSION_LINES = r"s/^[[:space:]]*\[session\.\([A-Za-z0-9_-]*\)\].*/\1/p"
_SYSTEM_CONFIGURATION = "/etc/rolesanywhere-helper/config.toml"


def _quoted(text: str) -> str:
    """Quote for bash and zsh."""
    return "'" + text.replace("'", r"'\''") + "'"


# bash

_BASH = r"""# {head}

_rolesanywhere_helper_sessions() {{
    local file config="" i
    for ((i = 1; i + 1 < COMP_CWORD; i++)); do
        [[ ${{COMP_WORDS[i]}} == --config ]] && config=${{COMP_WORDS[i + 1]}}
        [[ ${{COMP_WORDS[i]}} == --config && $config == = ]] && config=${{COMP_WORDS[i + 2]}}
    done
    for file in "$config" "${{ROLESANYWHERE_HELPER_CONFIG-}}" \
        "${{XDG_CONFIG_HOME:-$HOME/.config}}/rolesanywhere-helper/config.toml" {system}; do
        if [[ -f $file && -r $file ]]; then
            sed -n '{sessions}' "$file"
            return
        fi
    done
}}

_rolesanywhere_helper() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} flag=${{COMP_WORDS[COMP_CWORD - 1]}} command="" value="" flags="" words="" i
    COMPREPLY=()
    # bash makes three words of --flag=value (COMP_WORDBREAKS).
    if [[ $cur == = ]]; then
        cur=""
    elif [[ $flag == = ]]; then
        flag=${{COMP_WORDS[COMP_CWORD - 2]}}
    fi
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${{COMP_WORDS[i]}} in
            {skipped})
                [[ ${{COMP_WORDS[i + 1]}} == = ]] && ((i++))
                ((i++))
                ;;
            -* | =) ;;
            *)
                command=${{COMP_WORDS[i]}}
                break
                ;;
        esac
    done
    for ((; i < COMP_CWORD; i++)); do
        if [[ ${{COMP_WORDS[i]}} == -- ]]; then
            compopt -o default
            ((i + 1 == COMP_CWORD)) && mapfile -t COMPREPLY < <(compgen -c -- "$cur")
            return
        fi
    done
    case $command in
{commands}
        *) return ;;
    esac
    [[ $value == optional* && $cur == -* ]] && value=""
    case ${{value#optional-}} in
        file)
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            ;;
        directory)
            compopt -o filenames
            mapfile -t COMPREPLY < <(compgen -d -- "$cur")
            ;;
        session) mapfile -t COMPREPLY < <(compgen -W "$(_rolesanywhere_helper_sessions)" -- "$cur") ;;
        text) ;;
        ?*) mapfile -t COMPREPLY < <(compgen -W "$value" -- "$cur") ;;
        *)
            [[ $cur == -* || -z $words ]] && words=$flags
            mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
            ;;
    esac
}}

complete -F _rolesanywhere_helper rolesanywhere-helper
"""


def _bash(lines: Iterable[CommandLine]) -> str:
    from rolesanywhere_helper.cli.parser import GLOBAL_WITH_VALUE  # noqa: PLC0415 - as above

    return _BASH.format(
        head=_HEAD.format("bash"),
        system=_SYSTEM_CONFIGURATION,
        sessions=_SESSION_LINES,
        skipped=" | ".join(GLOBAL_WITH_VALUE),
        commands="\n".join(_bash_command(line) for line in lines),
    )


def _bash_command(line: CommandLine) -> str:
    from rolesanywhere_helper.cli.reference import Value  # noqa: PLC0415 - as above

    by_value: dict[str, list[str]] = {}
    for option in line.options:
        if option.value is not Value.NOTHING:
            by_value.setdefault(_bash_value(option), []).extend(option.names)
    cases = "".join(
        f"                {' | '.join(names)}) value={_quoted(value)} ;;\n" for value, names in by_value.items()
    )
    flags = " ".join(name for option in line.options for name in option.names)
    return (
        f"        {line.name or _quoted('')})\n"
        f"            case $flag in\n{cases}            esac\n"
        f"            flags={_quoted(flags)}\n"
        f"            words={_quoted(' '.join(line.words))}\n"
        f"            ;;"
    )


def _bash_value(option: Option) -> str:
    value = " ".join(option.choices) or option.value.name.lower()
    return f"optional-{value}" if option.is_value_optional else value


# zsh

_ZSH = r"""#compdef rolesanywhere-helper
# {head}

_rolesanywhere-helper-sessions() {{
    local file
    local -a names
    for file in "${{(Q)opt_args[--config]:-$config}}" "$ROLESANYWHERE_HELPER_CONFIG" \
        "${{XDG_CONFIG_HOME:-$HOME/.config}}/rolesanywhere-helper/config.toml" {system}; do
        if [[ -f $file && -r $file ]]; then
            names=(${{(f)"$(sed -n '{sessions}' "$file")"}})
            compadd -a names
            return
        fi
    done
}}

_rolesanywhere-helper-program() {{
    if [[ $words[1] == -- ]]; then
        shift words
        ((CURRENT--))
    fi
    _normal
}}

_rolesanywhere-helper() {{
    local curcontext=$curcontext state line config
    # Not "commands": that is how zsh calls the programs of the PATH.
    local -a subcommands
    typeset -A opt_args
    _arguments -C -A "-*" \
{program}        '1:command:->command' \
        '*::argument:->argument' && return
    if [[ $state == command ]]; then
        subcommands=(
{names}        )
        _describe -t commands command subcommands
        return
    fi
    config=$opt_args[--config]
    case $words[1] in
{commands}    esac
}}

if [[ $funcstack[1] == _rolesanywhere-helper ]]; then
    _rolesanywhere-helper "$@"
else
    compdef _rolesanywhere-helper rolesanywhere-helper
fi
"""


def _zsh(lines: Iterable[CommandLine]) -> str:
    program, *commands = lines
    return _ZSH.format(
        head=_HEAD.format("zsh"),
        system=_SYSTEM_CONFIGURATION,
        sessions=_SESSION_LINES,
        program="".join(f"        {_zsh_option(option)} \\\n" for option in program.options),
        names="".join(f"            {_quoted(line.name + ':' + line.summary)}\n" for line in commands),
        commands="".join(_zsh_command(line) for line in commands),
    )


def _zsh_command(line: CommandLine) -> str:
    specs = [_zsh_option(option) for option in line.options]
    if line.runs_a_program:  # the flags of the program are its own
        specs = ['-A "-*"', *specs, "'*::program:_rolesanywhere-helper-program'"]
    elif line.words:
        specs.append(_quoted(f"1:{line.operands}:({' '.join(line.words)})"))
    written = "".join(f" \\\n                {spec}" for spec in specs)
    return f"        {line.name})\n            _arguments{written}\n            ;;\n"


def _zsh_option(option: Option) -> str:
    from rolesanywhere_helper.cli.reference import Value  # noqa: PLC0415 - as above

    told = f"[{_escaped(option.help, '[]:')}]"
    if option.value is Value.NOTHING:
        return " ".join(_quoted(f"{name}{told}") for name in option.names)
    actions = {
        Value.FILE: "_files",
        Value.DIRECTORY: "_path_files -/",
        Value.SESSION: "_rolesanywhere-helper-sessions",
        Value.CHOICE: f"({' '.join(option.choices)})",
        Value.TEXT: " ",
    }
    often = "*" if option.is_repeatable else ""
    colon = "::" if option.is_value_optional else ":"
    return _quoted(f"{often}{option.name}={told}{colon}{_escaped(option.metavar, ':')}:{actions[option.value]}")


def _escaped(text: str, special: str) -> str:
    return "".join(f"\\{character}" if character in f"\\{special}" else character for character in text)


# fish

_FISH = r"""# {head}

function __rolesanywhere_helper_is --description 'Is this the command that was typed? Empty: none was.'
    set -l typed ''
    set -l skip 0
    for word in (commandline -opc)[2..]
        if test $skip = 1
            set skip 0
            continue
        end
        switch $word
            case {skipped}
                set skip 1
            case '-*'
            case '*'
                set typed $word
                break
        end
    end
    test "$typed" = "$argv[1]"
end

function __rolesanywhere_helper_sessions --description 'The sessions of the configuration file'
    set -l typed (commandline -opc)
    set -l config ''
    if set -l at (contains -i -- --config $typed)
        set config $typed[(math $at + 1)]
    end
    set -l base "$HOME/.config"
    set -q XDG_CONFIG_HOME; and set base $XDG_CONFIG_HOME
    for file in "$config" "$ROLESANYWHERE_HELPER_CONFIG" $base/rolesanywhere-helper/config.toml {system}
        if test -f "$file" -a -r "$file"
            sed -n '{sessions}' $file
            return
        end
    end
end

complete -c rolesanywhere-helper -f
{lines}"""


def _fish(lines: Iterable[CommandLine]) -> str:
    from rolesanywhere_helper.cli.parser import GLOBAL_WITH_VALUE  # noqa: PLC0415 - as above

    program, *commands = lines
    written = [_fish_line(program, f"-a {command.name} -d {_quoted_for_fish(command.summary)}") for command in commands]
    for line in (program, *commands):
        written += [_fish_line(line, _fish_option(option)) for option in line.options]
        if line.runs_a_program:
            written.append(_fish_line(line, "-a '(__fish_complete_subcommand)'"))
        elif line is not program and line.words:
            written.append(_fish_line(line, f"-a {_quoted_for_fish(' '.join(line.words))}"))
    return _FISH.format(
        head=_HEAD.format("fish"),
        system=_SYSTEM_CONFIGURATION,
        sessions=_SESSION_LINES.replace("\\", r"\\"),
        skipped=" ".join(GLOBAL_WITH_VALUE),
        lines="".join(written),
    )


def _fish_line(line: CommandLine, what: str) -> str:
    condition = _quoted_for_fish(f'__rolesanywhere_helper_is "{line.name}"')
    return f"complete -c rolesanywhere-helper -n {condition} {what}\n"


def _fish_option(option: Option) -> str:
    from rolesanywhere_helper.cli.reference import Value  # noqa: PLC0415 - as above

    names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names)
    values = {
        Value.NOTHING: "",
        Value.FILE: " -r -F",
        Value.DIRECTORY: " -x -a '(__fish_complete_directories)'",
        Value.SESSION: " -x -a '(__rolesanywhere_helper_sessions)'",
        Value.CHOICE: f" -x -a {_quoted_for_fish(' '.join(option.choices))}",
        Value.TEXT: " -x",
    }
    # fish takes a value that may be left out only with an =, and has no way to complete it.
    value = "" if option.is_value_optional else values[option.value]
    return f"{names}{value} -d {_quoted_for_fish(option.help)}"


def _quoted_for_fish(text: str) -> str:
    return "'" + text.replace("\\", r"\\").replace("'", r"\'") + "'"
