"""Debian's manuals as PDF files, through apt: they are larger than the project, and not its own."""

from __future__ import annotations

import gzip
import shutil
import subprocess
import tempfile
from pathlib import Path

PACKAGES = ("debian-policy", "developers-reference", "maint-guide", "debian-faq")


def fetch(folder: Path) -> list[Path]:
    """Download the packages, without installing them, and put their PDF files into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    with tempfile.TemporaryDirectory() as place:
        command = ["apt-get", "download", "--quiet", "--option", "APT::Sandbox::User=root", *PACKAGES]
        subprocess.run(command, cwd=place, check=True)
        for package in Path(place).glob("*.deb"):
            subprocess.run(["dpkg-deb", "--extract", package, f"{place}/root"], check=True)
        for path in sorted(Path(place, "root").rglob("*.pdf*")):
            if path.is_file() and not path.is_symlink():
                found.append(folder / path.name.removesuffix(".gz"))
                with (
                    gzip.open(path) if path.suffix == ".gz" else path.open("rb") as source,
                    found[-1].open("wb") as out,
                ):
                    shutil.copyfileobj(source, out)
    return found
