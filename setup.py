"""What pyproject.toml cannot say: the wheel carries the chapters and CITATION.cff, which lie
outside the package (m2v_lib.runs.shipped finds them in both places).
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent


class BuildWithChapters(build_py):
    """Copies them into the built package; an editable installation reads the checkout's."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return

        target = Path(self.build_lib, "m2v_lib", "shipped")
        ignored = shutil.ignore_patterns(".ipynb_checkpoints", "__pycache__")
        shutil.copytree(
            ROOT / "notebooks", target / "notebooks", ignore=ignored, dirs_exist_ok=True
        )
        shutil.copyfile(ROOT / "CITATION.cff", target / "CITATION.cff")


setup(cmdclass={"build_py": BuildWithChapters})
