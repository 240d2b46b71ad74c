"""Generates the message classes from the one set of .proto files when the package is built."""

import re
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = Path(__file__).resolve().parent
OUT = HERE / "src" / "colearn_client" / "_proto"
NAMES = ["types", "ledger", "coordinator", "artifact"]


def protos() -> Path:
    """The repository's proto folder, or its copy in a source distribution."""
    beside = HERE.parent / "proto"
    return beside if beside.is_dir() else HERE / "proto"


def generate() -> None:
    from grpc_tools import protoc

    scratch = HERE / "build" / "proto"
    scratch.mkdir(parents=True, exist_ok=True)
    files = [f"colearn/v1/{name}.proto" for name in NAMES]
    arguments = ["", f"-I{protos()}", f"--python_out={scratch}", f"--pyi_out={scratch}", *files]
    if protoc.main(arguments) != 0:
        raise SystemExit("the .proto files cannot be compiled")
    for path in (scratch / "colearn" / "v1").iterdir():
        # Relative, so that no other package named colearn gets in the way.
        text = re.sub(r"from colearn\.v1 import (\w+) as", r"from . import \1 as", path.read_text())
        (OUT / path.name).write_text(text)


class BuildPy(build_py):
    def run(self) -> None:
        generate()
        super().run()


class SourceDistribution(sdist):
    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        super().make_release_tree(base_dir, files)
        shutil.copytree(protos() / "colearn", Path(base_dir) / "proto" / "colearn")


setup(cmdclass={"build_py": BuildPy, "sdist": SourceDistribution})
