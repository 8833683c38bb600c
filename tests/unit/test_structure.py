"""House rules that the syntax tree can tell: who imports whom, what nobody calls, docstrings, and tests for each module."""

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "ari_presence"
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
# Beginning of a module's name to what it may import of this package, itself and its own folder apart. The first that
# fits counts; what fits none is the top, which may import everything.
LAYERS = {
    "ari_presence.errors": (),
    "ari_presence.core": ("core", "errors"),
    "ari_presence.ami": ("ari.backoff", "core", "errors"),
    "ari_presence.ari": ("core", "errors"),
    "ari_presence.store": ("core", "errors"),
    "ari_presence.http": ("core", "errors"),
    "ari_presence.agi": ("core", "errors"),
    "ari_presence.publish": ("core", "errors", "ari.wire"),
    "ari_presence.feed": (),
    "ari_presence.followers": ("core", "errors", "store.base"),
    "ari_presence.freepbxkeys": ("ari.wire", "core", "followers", "publish.host"),
    "ari_presence.presencewatch": ("ami.asks", "ami.wire", "core", "followers", "servers"),
    "ari_presence.queuekeeper": ("ami.asks", "ami.wire", "core", "followers", "presencewatch", "store.base"),
    "ari_presence.settings": ("config", "config_schedule", "core"),
    "ari_presence.unserved": ("config",),
    "ari_presence.grouplamps": ("ari.wire", "core", "errors", "publish"),
    "ari_presence.log": ("errors",),
    "ari_presence.memory": (),
    "ari_presence.sample": ("core", "errors"),
    "ari_presence.config_schedule": ("config_errors", "config_section", "config_values", "core", "errors"),
    "ari_presence.calendars": ("core", "errors"),
    "ari_presence.calendarsetup": ("calendars", "config_calendar", "core"),
    "ari_presence.config": (
        "config_calendar",
        "config_errors",
        "config_rights",
        "config_schedule",
        "config_secret",
        "config_section",
        "config_values",
        "core",
        "errors",
    ),
    "ari_presence.config_calendar": (
        "calendars.rules",
        "config_errors",
        "config_secret",
        "config_section",
        "config_values",
        "core",
    ),
    "ari_presence.config_secret": ("config_errors", "config_values"),
    "ari_presence.config_section": ("config_errors", "config_values"),
    "ari_presence.config_rights": ("config_values", "core"),
    "ari_presence.config_errors": ("errors",),
    "ari_presence.config_values": ("core", "errors"),
    "ari_presence.takeover": ("config", "config_values", "core", "errors", "settings"),
    "ari_presence.tickets": ("core", "errors"),
    "ari_presence.callers": ("ari.wire", "core", "errors", "publish"),
    "ari_presence.servers": ("ari.wire", "callers", "core", "publish"),
    "ari_presence.turns": (),
    "ari_presence.engine": (
        "ari",
        "callers",
        "core",
        "errors",
        "feed",
        "followers",
        "grouplamps",
        "publish",
        "servers",
        "store.base",
        "tickets",
        "turns",
    ),
    "ari_presence.service": (
        "agi",
        "calendars.keeper",
        "core",
        "engine",
        "errors",
        "feed",
        "http.service",
        "store.base",
        "tickets",
    ),
    "ari_presence.cli": ("agi.talk", "config", "core", "daemon", "errors", "http.address", "sample", "takeover"),
}
# Call to why nobody makes it; a folder in which it may be made follows.
BANNED = {
    "print": ("only the command line prints", "ari_presence.cli"),
    "input": ("nothing asks on a terminal", ""),
    "eval": ("code is never made from text", ""),
    "exec": ("code is never made from text", ""),
    "breakpoint": ("left over from a search", ""),
    "time.sleep": ("wait for a condition with a deadline", ""),
    "os.system": ("no shell", ""),
    "os.popen": ("no shell", ""),
    "pickle.loads": ("what comes from outside is never unpickled", ""),
    "logging.getLogger": ("structlog is the one way to log", "ari_presence.log"),
    "datetime.now": ("time comes in as a parameter", "ari_presence.cli"),
    "datetime.utcnow": ("naive times are ambiguous", ""),
    "datetime.utcfromtimestamp": ("naive times are ambiguous", ""),
}
# What the pure core must not touch even by way of the standard library.
IMPURE = {
    "asyncio",
    "http",
    "io",
    "logging",
    "os",
    "pathlib",
    "random",
    "select",
    "shutil",
    "signal",
    "socket",
    "sqlite3",
}
IMPURE |= {"ssl", "subprocess", "sys", "tempfile", "threading", "time", "urllib", "uuid", "multiprocessing", "queue"}
# Modules without a unit test file of their own, and where they are tested instead.
TESTED_ELSEWHERE = {
    "ari_presence": "holds the version",
    "ari_presence.__main__": "three lines, run by every test of the command line",
    "ari_presence.errors": "a tree of classes, raised and caught by every test of bad input",
    "ari_presence.core.change": "tests/unit/core/test_reducer.py",
    "ari_presence.core.intents": "tests/unit/core/test_reducer.py and test_agi.py, by what both kinds of caller are told",
    "ari_presence.core.dialled": "tests/unit/core/test_reducer.py",
    "ari_presence.core.people": "tests/unit/core/test_reducer.py",
    "ari_presence.core.events": "frozen data, made by every test of the reducer",
    "ari_presence.core.timetable": "data, tested with what changes it in tests/unit/core/test_schedulestate.py",
    "ari_presence.core.commands": "frozen data, compared by every test of the reducer",
    "ari_presence.servers": "tests/unit/test_engine.py and test_grouplamps.py, through the engine",
    "ari_presence.callers": "tests/unit/test_engine.py, through the engine",
    "ari_presence.tickets": "tests/unit/test_engine.py, through the engine",
    "ari_presence.config_errors": "tests/unit/test_config.py, by its messages",
    "ari_presence.config_section": "tests/unit/test_config.py, test_config_schedule.py, test_config_calendar.py",
    "ari_presence.config_rights": "tests/unit/test_config.py, by its messages",
    "ari_presence.config_values": "tests/unit/test_config.py, value by value",
    "ari_presence.config_secret": "tests/unit/test_config.py and test_config_calendar.py",
    "ari_presence.calendars.known": "tests/unit/calendars/test_keeper.py, by what it tells and logs",
    "ari_presence.cli.connect": "tests/unit/cli, by every command",
    "ari_presence.cli.output": "tests/unit/cli, by what commands print",
    "ari_presence.publish.host": "an interface",
    "ari_presence.publish.doubts": "tests/unit/publish/test_publisher.py, with links that end in the middle",
    "ari_presence.publish.watching": "tests/unit/publish/test_publisher.py, by what is subscribed to",
    "ari_presence.publish.write": "tests/unit/publish/test_publisher.py, with every write",
    "ari_presence.publish.reader": "tests/unit/publish/test_publisher.py, with the channel made, lost and refused",
    "ari_presence.http.address": "one name, used by tests/unit/http and tests/unit/cli",
    "ari_presence.http.guard": "tests/unit/http/test_app.py",
    "ari_presence.http.problems": "tests/unit/http/test_app.py",
    "ari_presence.http.routes": "tests/unit/http/test_app.py",
    "ari_presence.http.service": "an interface",
    "ari_presence.store.base": "an interface and frozen data",
    "ari_presence.store.memory": "tests/unit/store/test_stores.py, beside the other store",
}


@cache
def tree(module: str) -> ast.Module:
    """Parse a module."""
    return ast.parse(MODULES[module].read_text())


def imported(module: str) -> Iterator[str]:
    """Name every module that a module imports anywhere, `from a import b` as `a.b` where that is a module."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else str(node.module) for name in names)


def layer(module: str) -> str | None:
    """Find the rule for a module."""
    fits = [each for each in LAYERS if module == each or module.startswith(f"{each}.")]
    return max(fits, key=len, default=None)


@pytest.mark.parametrize("module", MODULES)
def test_module_imports_only_what_its_layer_may(module: str) -> None:
    """Cli -> daemon -> engine -> core; the parts around the core do not know each other."""
    rule = layer(module)
    if rule is None:
        assert module in ("ari_presence", "ari_presence.__main__", "ari_presence.daemon"), (
            f"{module}: which layer is it?"
        )
        return
    allowed = (rule, *(f"ari_presence.{name}" for name in LAYERS[rule]))
    wrong = [
        name
        for name in imported(module)
        if name.startswith("ari_presence.") and not any(name == each or name.startswith(f"{each}.") for each in allowed)
    ]
    assert wrong == []


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("ari_presence.core")])
def test_core_is_pure(module: str) -> None:
    """Standard library only, and nothing in it that knows a clock, a thread, a file or a socket."""
    roots = {name.partition(".")[0] for name in imported(module)} - {"ari_presence"}
    assert roots <= sys.stdlib_module_names
    assert roots & IMPURE == set()


def calls(module: str) -> Iterator[tuple[int, str]]:
    """Name what a module calls: `f` or the last two parts, `a.f`."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            yield node.lineno, ".".join(name.split(".")[-2:])


@pytest.mark.parametrize("module", MODULES)
def test_module_makes_no_banned_call(module: str) -> None:
    """Each ban with its reason."""
    wrong = [
        f"{MODULES[module].relative_to(ROOT)}:{line}: {name}: {BANNED[name][0]}"
        for line, name in calls(module)
        if name in BANNED and not (BANNED[name][1] and module.startswith(BANNED[name][1]))
    ]
    assert wrong == []


@pytest.mark.parametrize("module", MODULES)
def test_no_shell_is_started(module: str) -> None:
    """`shell=True` would let a name become a command."""
    shells = [node.lineno for node in ast.walk(tree(module)) if isinstance(node, ast.keyword) and node.arg == "shell"]
    assert shells == []


def public(module: str) -> Iterator[tuple[str, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Give a module and its public classes, functions and methods."""
    yield module, tree(module)
    todo: list[tuple[str, ast.AST]] = [(module, tree(module))]
    while todo:
        path, parent = todo.pop()
        for node in ast.iter_child_nodes(parent):
            if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("_"):
                continue
            yield f"{path}.{node.name}", node
            if isinstance(node, ast.ClassDef):
                todo.append((f"{path}.{node.name}", node))


@pytest.mark.parametrize("module", MODULES)
def test_everything_public_has_a_docstring(module: str) -> None:
    """One sentence that ends as one."""
    silent = []
    for name, node in public(module):
        text = ast.get_docstring(node) or ""
        if not text or not text.split("\n\n")[0].rstrip().endswith((".", ":", "?")):
            silent.append(f"{name}: {text[:60]!r}")
    assert silent == []


@pytest.mark.parametrize("module", MODULES)
def test_every_function_is_annotated(module: str) -> None:
    """Arguments and results, nested functions too; `self` and lambdas apart."""
    bare = []
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            if node.returns is None or any(a.annotation is None and a.arg not in ("self", "cls") for a in arguments):
                bare.append(f"{module}.{node.name}")
    assert bare == []


@pytest.mark.parametrize("module", MODULES)
def test_no_function_is_longer_than_sixty_lines(module: str) -> None:
    """What is longer does two things."""
    functions = (n for n in ast.walk(tree(module)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
    assert [f.name for f in functions if (f.end_lineno or 0) - f.lineno + 1 > 60] == []


def has_test(module: str) -> bool:
    """Tell whether `tests/unit` mirrors a module."""
    parts = module.split(".")[1:]
    return bool(parts) and (ROOT / "tests" / "unit").joinpath(*parts[:-1], f"test_{parts[-1]}.py").is_file()


@pytest.mark.parametrize("module", [name for name, path in MODULES.items() if path.read_text().count("\n") > 1])
def test_module_has_its_unit_test_or_a_reason(module: str) -> None:
    """tests/unit mirrors the source."""
    assert has_test(module) or module in TESTED_ELSEWHERE, f"{module}: no tests/unit file and no reason"


def test_reasons_are_for_modules_that_exist() -> None:
    """A module that went must not leave its excuse."""
    assert TESTED_ELSEWHERE.keys() - MODULES.keys() == set()


@pytest.mark.parametrize(
    "path",
    [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "tests" / "unit").rglob("test_*.py"))],
)
def test_every_test_says_what_holds(path: str) -> None:
    """A one-sentence docstring each."""
    functions = [n for n in ast.walk(ast.parse((ROOT / path).read_text())) if isinstance(n, ast.FunctionDef)]
    assert [f.name for f in functions if f.name.startswith("test_") and not ast.get_docstring(f)] == []
