"""The certificate shown to clients, reloadable without a restart."""

from __future__ import annotations

import ssl

from gateway.failure import InputError
from gateway.settings.value import Certificate


class CertificateError(InputError):
    """The certificate or its key cannot be used."""


def server_context(settings: Certificate | None, setting: str) -> ssl.SSLContext | None:
    """The TLS context of the listeners, or None without a certificate.

    ``setting`` is what an error names.

    Raises:
        CertificateError: naming the files and the reason.

    """
    if settings is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    load_certificate(context, settings, setting)
    return context


def load_certificate(context: ssl.SSLContext, settings: Certificate, setting: str) -> None:
    """Load certificate and key into a context that may be in use already.

    Raises:
        CertificateError: naming the files and the reason.

    """
    try:
        context.load_cert_chain(settings.certificate, settings.key)
    except (OSError, ssl.SSLError) as error:
        raise CertificateError(
            f"{setting}: cannot use {settings.certificate} with {settings.key}: "
            f"{error.strerror or error}; both are PEM files, and the key belongs to the certificate"
        ) from None
