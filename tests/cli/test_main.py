"""The command line itself: help, version, completion, bad arguments in one line, exit statuses, and what it imports."""

import errno
import importlib.metadata
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import click
import pytest

import utcp
from utcp.cli import COMMANDS, command, main
from utcp.extras import not_installed
from utcp.tcp import COMPILED

EXTRAS = {
    *("aiohttp", "anyio", "asyncssh", "cryptography", "fastapi", "httpx", "matplotlib", "prometheus_client", "redis"),
    *("rich", "starlette", "structlog", "trustme", "uvicorn", "uvloop", "websockets"),
}


TUNNEL = ("expose", "key", "listen", "serve")


def process(*arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603  # our own command line
        [sys.executable, "-W", "error", "-m", "utcp", *arguments],
        env=env,
        capture_output=True,
        text=True,
        timeout=200,
    )


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Has `utcp demo` do what the test says."""

    def demo_does(what: Callable[[], object]) -> None:
        @click.command
        def command() -> object:
            return what()

        monkeypatch.setattr("utcp.cli.demo.command", command)

    return demo_does


def raising(error: BaseException) -> Callable[[], object]:
    def fail() -> object:
        click.echo("so far")
        raise error

    return fail


# ---------------------------------------------------------------------- help, version, completion


def test_without_a_command_it_prints_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    out = capsys.readouterr().out
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == out
    assert all(f"\n  {name} " in out for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_says_first_what_it_does(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"Usage: utcp {name} ")
    assert main([]) == 0
    overview = " ".join(capsys.readouterr().out.split())
    first_sentence = " ".join(out.split("\n\n")[1].split()).partition(". ")[0].rstrip(".")
    assert first_sentence
    assert f" {name} {first_sentence}. " in overview + " "


def test_commands_are_in_order() -> None:
    assert list(COMMANDS) == sorted(COMMANDS)


VERSION = f"utcp {utcp.__version__} ({'compiled' if COMPILED else 'interpreted'})\n"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr() == (VERSION, "")


def test_the_version_is_the_last_one_in_the_changelog() -> None:
    changelog = Path(__file__).parents[2] / "CHANGELOG.md"
    assert re.findall(r"^## \[(\d.*?)\]", changelog.read_text(), re.MULTILINE)[0] == utcp.__version__


def test_as_a_module() -> None:
    done = process("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == VERSION
    assert process("-h").stdout.startswith("Usage: utcp ")


@pytest.mark.parametrize(("package", "arguments"), [("click", ["--version"]), ("rich", ["demo", "--list"])])
def test_without_the_extra_cli_it_says_what_to_install(package: str, arguments: list[str]) -> None:
    code = f"import runpy, sys; sys.modules[{package!r}] = None; runpy.run_module('utcp', run_name='__main__')"
    done = subprocess.run(  # noqa: S603  # our own command line
        [sys.executable, "-W", "error", "-c", code, *arguments], capture_output=True, text=True, timeout=200
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"utcp: {not_installed(package, 'cli')}\n"


def test_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not_installed("click", "cli") == "click is not installed: pip install 'aioutcp[cli]'"
    missing = raising(importlib.metadata.PackageNotFoundError("aioutcp"))
    monkeypatch.setattr(importlib.metadata, "distribution", lambda _: missing())
    assert not_installed("click", "cli") == "click is not installed: pip install '.[cli]' in the clone"


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("utcp t", "tunnel"),
        ("utcp tunnel s", "serve"),
        ("utcp nc --no", "--no-shutdown"),
        ("utcp nc --loop u", "uvloop"),
    ],
)
def test_the_shell_completes(words: str, found: str) -> None:
    typed = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1), "_UTCP_COMPLETE": "bash_complete"}
    done = process(env=os.environ | typed)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"plain,{found}\n" in done.stdout


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_what_the_shell_needs_for_it(shell: str) -> None:
    done = process(env=os.environ | {"_UTCP_COMPLETE": f"{shell}_source"})
    assert (done.returncode, done.stderr) == (0, "")
    assert f"_UTCP_COMPLETE={shell}_complete" in done.stdout


# ---------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["dance"], "No such command 'dance' (see utcp --help)"),
        (["--dance"], "No such option"),
        (["demo", "--port", "65536"], "'65536' is not a port, 0 to 65535 (see utcp demo --help)"),
        (["demo", "--msl", "0"], "'0' is not a number of seconds above 0"),
        (["demo", "--loop", "trio"], "'trio' is not one of"),
        (["demo", "--speed", "9"], "No such option"),
        (["tunnel", "listen", "8080", "--to", "host:0"], "'0' is not a port, 1 to 65535"),
        (["tunnel", "serve", "0", "--forward", "host:0"], "'0' is not a port, 1 to 65535"),
        (["tunnel", "expose", "0", "--to", "host:9"], "'0' is not a port, 1 to 65535"),
        (["plot", "run.pcapng", "--udp-port", "0"], "'0' is not a port, 1 to 65535"),
        (["tunnel", "dig"], "No such command 'dig' (see utcp tunnel --help)"),
        (["tunnel", "listen"], "Missing argument '[HOST:]PORT' (see utcp tunnel listen --help)"),
    ],
)
def test_bad_arguments_are_one_line_and_status_2(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert complaint in printed.err
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("utcp")


def test_a_group_without_a_command_shows_its_help_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tunnel"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("Usage: utcp tunnel ")


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (click.ClickException("two\n  lines"), 1, "utcp demo: two lines\n"),
        (click.BadParameter("no"), 2, "utcp demo: Invalid value: no (see utcp demo --help)\n"),
        (OSError(errno.ENOSPC, "No space left"), 1, "utcp demo: No space left\n"),
        (OSError(errno.ENOSPC, "No space left", "a file"), 1, "utcp demo: a file: No space left\n"),
        (OSError("for another reason"), 1, "utcp demo: for another reason\n"),
        (KeyboardInterrupt(), 130, ""),
        (click.Abort(), 130, ""),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 141, ""),
    ],
)
def test_how_a_command_fails(
    error: BaseException,
    status: int,
    said: str,
    failing: Callable[[Callable[[], object]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    failing(raising(error))
    assert main(["demo"]) == status
    assert capsys.readouterr() == ("so far\n", said)


def test_a_bug_is_not_mistaken_for_the_end_of_input(failing: Callable[[Callable[[], object]], None]) -> None:
    failing(raising(EOFError("of something else")))
    with pytest.raises(EOFError):
        main(["demo"])


def test_a_command_may_return_its_status(failing: Callable[[Callable[[], object]], None]) -> None:
    failing(lambda: 7)
    assert main(["demo"]) == 7
    failing(lambda: "text")
    assert main(["demo"]) == 0


# ---------------------------------------------------------------------- a process and its streams


def shell(redirected: str) -> subprocess.CompletedProcess[str]:
    command = f"{sys.executable} -W error -m utcp --help {redirected}"
    return subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=200)  # noqa: S603, S607


def test_stdout_that_nobody_reads() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", "utcp", "--help"], stdout=writer, stderr=subprocess.PIPE, timeout=200
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_stdout_on_a_full_disk() -> None:
    done = shell(">/dev/full")
    assert (done.returncode, done.stderr) == (1, "utcp: No space left on device\n")


def test_streams_that_are_closed() -> None:
    assert shell(">&-").returncode == 0
    assert shell("<&- >&-").returncode == 0
    done = subprocess.run(  # noqa: S603
        ["sh", "-c", f"{sys.executable} -m utcp dance 2>&-"],  # noqa: S607
        capture_output=True,
        timeout=200,
    )
    assert (done.returncode, done.stdout) == (2, b"")


def test_ctrl_c_is_no_failure_to_explain() -> None:
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "utcp", "nc", "-v", "-l", "127.0.0.1", "0"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as listening:
        assert listening.stderr is not None
        listening.stderr.readline()
        listening.send_signal(signal.SIGINT)
        assert listening.wait(60) == 130
        assert listening.stderr.read() == b""


SCRIPT = f"""
import sys
sys.path.insert(0, {str(Path(utcp.__file__).parent / "cli" / "script")!r})
interrupted = sys.argv.pop(1)

class Interrupting:  # Ctrl-C while a module is imported
    def find_spec(self, name, path=None, target=None):
        if name == interrupted:
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupting())
from aioutcp_command import main
sys.exit(main())
"""


@pytest.mark.parametrize("module", ["runpy", "asyncio", "utcp", "utcp.__main__", "click", "utcp.cli", "utcp.cli.demo"])
def test_ctrl_c_while_it_is_imported_is_silent(module: str) -> None:
    done = subprocess.run(  # noqa: S603  # our own command line
        [sys.executable, "-W", "error", "-c", SCRIPT, module, "demo", "--list"], capture_output=True, timeout=200
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def test_the_console_script_runs_the_command_line() -> None:
    done = subprocess.run(  # noqa: S603  # our own command line
        [sys.executable, "-W", "error", "-c", SCRIPT, "nothing", "--version"],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, VERSION, "")
    pyproject = Path(__file__).parents[2] / "pyproject.toml"
    assert '[project.scripts]\nutcp = "aioutcp_command:main"\n' in pyproject.read_text()


@pytest.mark.parametrize("arguments", [[], *([name] for name in COMMANDS), *(["tunnel", each] for each in TUNNEL)])
def test_no_line_of_the_help_is_cut_or_too_long(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(shutil, "get_terminal_size", lambda *_: os.terminal_size((80, 24)))
    with command.make_context("utcp", [*arguments], resilient_parsing=True) as context:
        found: click.Command = command
        for name in arguments:
            assert isinstance(found, click.Group)
            found = found.get_command(context, name) or command
            context = click.Context(found, parent=context, info_name=name)
        lines = found.get_help(context).splitlines()
    assert max(map(len, lines)) <= 80
    assert not any(line.endswith("...") for line in lines[1:])  # the first one shows what may be repeated


# ---------------------------------------------------------------------- what it imports


def imported_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=200
    )
    return set(done.stdout.split())


def test_the_library_imports_no_command_line_and_no_extra() -> None:
    everything = "import utcp; [getattr(utcp, name) for name in utcp.__all__]"
    assert imported_by(everything) & (EXTRAS | {"click"}) == set()


def test_the_command_line_imports_no_extra() -> None:
    assert imported_by("import utcp.cli") & EXTRAS == set()
    commands = "from importlib import import_module"
    for name in COMMANDS:
        commands += f"; import_module('utcp.cli.{name}').command"
    assert imported_by(commands) & EXTRAS == set()
