"""Who asks: tokens of a file, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import re
from pathlib import Path

from crafts.core.errors import ConfigError

LOCAL = "local"
"""Owner of everything where no tokens are asked for."""
_TOKEN = re.compile(r"[\x21-\x7e]{16,256}")


class Tokens:
    """Tokens that are let in.

    Args:
        tokens: none: whoever reaches the server is :data:`LOCAL`.
    """

    def __init__(self, tokens: tuple[str, ...] = ()) -> None:
        self._digests = [hashlib.sha256(token.encode()).digest() for token in tokens]

    @property
    def asked(self) -> bool:
        """Whether a token is needed."""
        return bool(self._digests)

    def owner(self, given: str) -> str | None:
        """The name under which a token's data are kept; None for a wrong token.

        Every known token is compared to its end, so that time tells nothing.
        """
        if not self.asked:
            return LOCAL
        digest = hashlib.sha256(given.encode("utf-8", "replace")).digest()
        found = None
        for known in self._digests:
            if hmac.compare_digest(known, digest):
                found = known
        return hashlib.sha256(b"owner" + found).hexdigest()[:24] if found else None


def load_tokens(path: Path | None) -> Tokens:
    """Read a token file: one token a line; empty lines and lines with # are left out.

    Raises:
        ConfigError: no such file, no token in it, or one that is short or has spaces.
    """
    if path is None:
        return Tokens()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise _refused(
            path, f"unreadable ({getattr(error, 'strerror', None) or 'no UTF-8'})"
        ) from None
    tokens = [line.strip() for line in text.splitlines()]
    tokens = [token for token in tokens if token and not token.startswith("#")]
    wrong = [number for number, token in enumerate(tokens, 1) if not _TOKEN.fullmatch(token)]
    if wrong or not tokens:
        raise _refused(path, f"token {wrong[0]} of another form" if wrong else "no token")
    if path.stat().st_mode & 0o004:
        raise _refused(path, "a file that everyone on this machine can read")
    return Tokens(tuple(tokens))


def _refused(path: Path, came: str) -> ConfigError:
    return ConfigError(
        f"serve: token_file {path}",
        came=came,
        allowed="one token a line, of 16 to 256 visible ASCII characters; readable by its owner",
        do="Write it for example with `(umask 077; openssl rand -hex 24 > tokens)`.",
    )
