"""Exim with its Redis look-up, built once from Debian's source package.

Debian's own binary has that look-up left out, and cannot be installed beside
``postfix``.  What is not used here is left out of the build too; it makes Exim faster,
not slower.  Needs apt, a C compiler and make; nothing is installed on the machine.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from bench.machine import CACHE, Missing, tool

UID = 65534
"""Exim's user and group: nobody."""

_HEADERS = ("libhiredis-dev", "libpcre2-dev", "libdb5.3-dev")
_MAKEFILE = """\
BIN_DIRECTORY={home}
CONFIGURE_FILE={home}/exim.conf
SPOOL_DIRECTORY={home}/spool
EXIM_USER={uid}
EXIM_GROUP={uid}
ROUTER_MANUALROUTE=yes
TRANSPORT_SMTP=yes
LOOKUP_LSEARCH=yes
LOOKUP_REDIS=yes
DISABLE_TLS=yes
DISABLE_DKIM=yes
DISABLE_DNSSEC=yes
HAVE_ICONV=no
USE_DB=yes
DBMLIB=-l:libdb-5.3.a
PCRE2_CONFIG=no
PCRE_LIBS=-l:libpcre2-8.a
CFLAGS=-O2 -w
INCLUDE=-I{root}/usr/include
LOOKUP_INCLUDE=-I{root}/usr/include/hiredis
LOOKUP_LIBS=-l:libhiredis.a
EXTRALIBS={libraries} -ldl
"""


def program() -> Path:
    """Return Exim's path; builds it where it is not there yet (about two minutes).

    Raises Missing when it cannot be fetched or built.
    """
    home = CACHE / "exim"
    built = home / "exim"
    if built.exists():
        return built
    print("building Exim, once", file=sys.stderr)
    shutil.rmtree(home, ignore_errors=True)
    work = home / "work"
    work.mkdir(parents=True)
    # apt fetches as a user of its own, who must be able to write here.
    work.chmod(0o777)
    try:
        source = _fetched(work)
        root = work / "root"
        libraries = " ".join(f"-L{path}" for path in (root / "usr/lib").glob("*-linux-*"))
        (source / "Local").mkdir(exist_ok=True)
        (source / "Local" / "Makefile").write_text(
            _MAKEFILE.format(home=home, uid=UID, root=root, libraries=libraries)
        )
        _quietly(source, "make", "-j2")
        shutil.move(next(source.glob("build-*/exim")), built)
    except (subprocess.SubprocessError, StopIteration):
        raise Missing("it could not be built from Debian's source package") from None
    shutil.rmtree(work, ignore_errors=True)
    return built


def _fetched(work: Path) -> Path:
    """Fetch and unpack the source and the headers; return the source's folder."""
    (work / "lists" / "partial").mkdir(parents=True)
    # The machine's own Debian sources, asked for source packages.
    sources = work / "sources"
    sources.mkdir()
    parts = Path("/etc/apt/sources.list.d")
    for path in (Path("/etc/apt/sources.list"), *parts.glob("*.sources"), *parts.glob("*.list")):
        text = path.read_text() if path.exists() else ""
        if "/debian" in text:
            text = re.sub(r"^Types:.*$", "Types: deb-src", text, flags=re.MULTILINE)
            text = re.sub(r"^deb ", "deb-src ", text, flags=re.MULTILINE)
            (sources / path.name).write_text(text)
    own = (
        *("-o", "Dir::Etc::sourcelist=-", "-o", f"Dir::Etc::sourceparts={sources}"),
        *("-o", f"Dir::State::lists={work / 'lists'}"),
    )
    _quietly(work, "apt-get", *own, "update")
    _quietly(work, "apt-get", *own, "--download-only", "source", "exim4")
    _quietly(work, "apt-get", "download", *_HEADERS)
    for package in work.glob("*.deb"):
        _quietly(work, "dpkg", "-x", str(package), "root")
    for archive in work.glob("exim4_*.orig.tar.xz"):
        _quietly(work, "tar", "-xf", str(archive))
    return next(path for path in work.glob("exim-*") if path.is_dir())


def _quietly(folder: Path, name: str, *words: str) -> None:
    subprocess.run(
        [tool(name), *words],
        check=True,
        cwd=folder,
        timeout=600,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
