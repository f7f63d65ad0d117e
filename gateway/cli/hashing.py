"""How a hashed list was made, as options that several commands share."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Annotated

import typer

from gateway.contacts.hashed import Algorithm, Salting, Scheme, normalisation_of
from gateway.failure import InputError
from gateway.settings.secret import read_secret

_NORMALISATIONS = "trim-lower (or lower), trim-upper, google, uid2; e164, e164-no-plus, e164-00."

HashAlgorithm = Annotated[Algorithm, typer.Option("--algorithm", help="What made the hashes.")]
AnyAlgorithm = Annotated[
    Algorithm | None, typer.Option("--algorithm", help="What made the hashes.")
]
Normalise = Annotated[str, typer.Option("--normalise", help=f"What was hashed: {_NORMALISATIONS}")]
AnyNormalise = Annotated[
    str | None, typer.Option("--normalise", help=f"What was hashed: {_NORMALISATIONS}")
]
SaltFile = Annotated[
    Path | None,
    typer.Option("--salt-file", help="File with the salt (UTF-8; its line end does not count)."),
]
SaltedBy = Annotated[
    Salting | None,
    typer.Option("--salting", help="How the salt goes in; default HMAC with the salt as key."),
]
_HMAC_OCTETS = 16


def scheme_of(
    algorithm: Algorithm, normalise: str, salt_file: Path | None, salting: Salting | None
) -> Scheme:
    """The scheme that the options tell.

    Raises:
        InputError: they do not fit together, or the salt cannot be used.

    """
    normalisation = normalisation_of(normalise)
    if salt_file is None:
        if salting is not None:
            raise InputError("--salting: name the file with the salt, --salt-file")
        return Scheme(algorithm, normalisation)
    salt = read_secret(salt_file, "--salt-file").encode()
    if stat.S_IMODE(salt_file.stat().st_mode) & 0o077:
        raise InputError(f"{salt_file}: others may read the salt; run: chmod 600 {salt_file}")
    way = salting or Salting.HMAC
    if way is Salting.HMAC and len(salt) < _HMAC_OCTETS:
        raise InputError(f"{salt_file}: a key of HMAC has at least {_HMAC_OCTETS} octets")
    return Scheme(algorithm, normalisation, way, salt)
