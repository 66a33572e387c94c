"""Style as a test: sizes, names, headers, import layers, and reference pages that say what the code says.

Owns: the rules that no tool checks. Reads the checkout; runs nothing but the import linter.
"""

import ast
import importlib.metadata
import importlib.util
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
FUNCTION_LINES_MAX = 70
MODULE_LINES_MAX = 600
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "stuff", "base"}
FOLDERS = ("src", "tests", "bench", "docs", "deploy", "examples", ".ci")
TEXTS = {".py", ".md", ".toml", ".txt", ".yaml", ".yml", ".css", ".html", ".sh", ".cfg", ".json", ""}

# Put together here, so that this file does not hold what it looks for.
MACHINE_PATHS = [re.compile(rf"(?<![\w.~-])/{name}/") for name in ("work", "home", "root")]
REGISTRY_HOSTS = [f"{host}.{end}" for host, end in (("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "com"))]
INSTALLERS = {"pip", "setuptools", "wheel", "waypost"}


def files(*endings: str) -> list[Path]:
    """The checkout's own files with these endings."""
    found = [file for folder in FOLDERS for file in (ROOT / folder).rglob("*") if file.is_file()]
    found += [file for file in ROOT.iterdir() if file.is_file()]
    skipped = {"__pycache__", "waypost.egg-info"}
    return sorted(file for file in found if file.suffix in endings and not skipped & set(file.parts))


def named(file: Path) -> str:
    return str(file.relative_to(ROOT))


def functions(file: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_functions_are_short() -> None:
    long = [
        f"{named(file)}:{function.lineno} {function.name}: {lines} lines"
        for file in files(".py")
        for function in functions(file)
        if (lines := (function.end_lineno or 0) - function.lineno + 1) > FUNCTION_LINES_MAX
    ]
    assert long == []


def test_modules_are_short() -> None:
    long = {named(file): lines for file in files(".py") if (lines := len(file.read_text("utf-8").splitlines())) > 600}
    assert long == {}


def test_no_module_is_a_drawer_for_everything() -> None:
    assert [named(file) for file in files(".py") if file.stem in FORBIDDEN_NAMES] == []


def test_every_module_says_what_it_owns() -> None:
    silent = [
        named(file)
        for file in files(".py")
        if (text := file.read_text("utf-8").strip()) and not ast.get_docstring(ast.parse(text))
    ]
    assert silent == []


def test_nothing_names_a_machine_or_a_registry() -> None:
    found = []
    for file in files(*TEXTS):
        if file.name == ".env":
            continue
        text = file.read_text("utf-8", "replace")
        found += [f"{named(file)}: {host}" for host in REGISTRY_HOSTS if host in text]
        found += [f"{named(file)}: {match[0]}" for path in MACHINE_PATHS for match in path.finditer(text)]
    assert found == []


def test_imports_go_down_only() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["settings.md", "errors.md", "metrics.md", "cli.md", "aliases.md", "preset-list.md"])
def test_a_reference_page_says_what_the_code_says(generate: ModuleType, page: str) -> None:
    assert (ROOT / "docs" / page).read_text("utf-8") == generate.PAGES[page](), "run `make docs`"


def test_every_setting_has_a_meaning(generate: ModuleType) -> None:
    rows = re.findall(r"^\| `(\w+)` \| `.*` \| (.*) \|$", generate.settings_page(), re.MULTILINE)
    settings = tomllib.loads((ROOT / "src/waypost/defaults.toml").read_text("utf-8"))
    assert len(rows) == sum(len(section) for section in settings.values())
    assert [name for name, meaning in rows if not meaning.strip()] == []


def test_every_option_has_a_meaning(generate: ModuleType) -> None:
    assert re.findall(r"^\| (`--.*) \|  \|$", generate.cli_page(), re.MULTILINE) == []


def _pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text("utf-8").split()
    return {_plain(name): version for name, _, version in (line.partition("==") for line in lines)}


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_constraints_hold_what_is_installed() -> None:
    installed = {_plain(found.metadata["Name"]): found.version for found in importlib.metadata.distributions()}
    pinned = _pinned()
    others = {name: version for name, version in installed.items() if name not in INSTALLERS}
    assert {name: version for name, version in others.items() if pinned.get(name) != version} == {}


def test_the_constraints_pin_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = [_plain(re.split(r"[<>=!~\[ ;]", text)[0]) for text in wanted]
    assert [name for name in names if name not in _pinned()] == []


def test_the_continuous_run_is_the_readme_command() -> None:
    run = ROOT / ".ci" / "run"
    assert run.stat().st_mode & 0o111
    assert "make test" in run.read_text("utf-8")
    assert "make test" in (ROOT / "README.md").read_text("utf-8")
