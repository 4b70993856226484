"""TLS for the server's own port, with certificates that can be renewed while it runs."""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable
from typing import Final

from p2pal.errors import UsageError
from p2pal.server.config import ServerConfig
from p2pal.server.logs import log, log_failure

CHECK: Final = 60.0
"""Seconds between two looks at whether the files have changed."""

_MAX_FILE: Final = 1 << 20

_Stamp = tuple[tuple[int, int, int], ...]


class Certificate:
    """A certificate chain and its key, and the TLS context that serves them.

    At a handshake, at most once a minute, the files are looked at; if they have changed they are read again. What
    cannot be used is logged and changes nothing. Connections that stand keep what they began with.

    Args:
        cert: File with the certificate chain (PEM), the server's own certificate first.
        key: File with the private key (PEM), without a passphrase.
        clock: Seconds, monotonic.

    Raises:
        UsageError: If a file cannot be used.
    """

    def __init__(self, cert: str, key: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._files = cert, key
        self._clock = clock
        self._stamp = self._look()
        self._checked = clock()
        self._latest = self.context = _load(cert, key)
        # A context that is in use cannot change its certificate in one step: the file with the key might be written
        # between the two reads. Each handshake moves to the latest complete one instead.
        self.context.sni_callback = self._choose

    def refresh(self) -> None:
        """Read the files again if they have changed."""
        stamp = self._look()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._latest = _load(*self._files)
        except UsageError as error:
            log_failure("certificate-refused", reason=error.message)
        else:
            log("certificate-renewed")

    def _choose(self, connection: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _first: ssl.SSLContext) -> None:
        now = self._clock()
        if now - self._checked >= CHECK:
            self._checked = now
            self.refresh()
        connection.context = self._latest

    def _look(self) -> _Stamp:
        try:
            found = [os.stat(path) for path in self._files]
        except OSError:
            return ()
        return tuple((each.st_ino, each.st_size, each.st_mtime_ns) for each in found)


def context_for(config: ServerConfig) -> ssl.SSLContext | None:
    """Return the context of a server's port, or None if it speaks plain HTTP.

    Raises:
        UsageError: If only one of the two files is named, or one cannot be used.
    """
    if not config.tls_cert and not config.tls_key:
        return None
    if not config.tls_cert or not config.tls_key:
        raise UsageError("TLS takes a certificate and a key", hint="give both --tls-cert and --tls-key")
    return Certificate(config.tls_cert, config.tls_key).context


def _load(cert: str, key: str) -> ssl.SSLContext:
    _check_file(cert, "certificate", "--tls-cert", b"-----BEGIN CERTIFICATE-----")
    _check_file(key, "key", "--tls-key", b"PRIVATE KEY-----")

    def refuse_passphrase() -> str:  # without this OpenSSL asks at the terminal
        raise UsageError(f"the TLS key {key!r} has a passphrase", hint="take it off: openssl pkey -in OLD -out NEW")

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert, key, refuse_passphrase)
    except OSError as error:  # ssl.SSLError is one
        reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
        if reason == "KEY_VALUES_MISMATCH":
            message = f"the TLS key {key!r} does not belong to the certificate {cert!r}"
            raise UsageError(
                message, hint="name two files made together; in a chain the server's own comes first"
            ) from error
        message = f"cannot use the TLS certificate {cert!r} with the key {key!r}: {reason or 'damaged'}"
        raise UsageError(message, hint="check both with 'openssl x509 -text' and 'openssl pkey -text'") from error
    return context


def _check_file(path: str, what: str, flag: str, mark: bytes) -> None:
    try:
        with open(path, "rb") as file:
            content = file.read(_MAX_FILE)
    except OSError as error:
        message = f"cannot read the TLS {what} {path!r}: {error.strerror}"
        raise UsageError(message, hint=f"check {flag}, and who may read the file") from error
    if mark not in content:
        raise UsageError(f"the file {path!r} has no {what} in it", hint=f"{flag} takes a file in PEM form")
