"""Text that looks like a secret: tokens with well-known beginnings, keys, passwords in quotes."""

from __future__ import annotations

import re

from gage._internal.lifecycle.masking import MASK

# What is in all that a pattern finds. To look for these takes a tenth of the time, and is all that
# most files need.
_IN_TOKENS = (
    *(b"AKIA", b"ASIA", b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_", b"github_pat_", b"glpat-"),
    *(b"sk-", b"hf_", b"xox", b"AIza", b"npm_", b"pypi-", b"dop_v1_", b"k_live_", b"k_test_"),
    *(b"SG.", b"eyJ"),
)
_IN_NAMES = (b"passw", b"secret", b"token", b"credential", b"apikey", b"api_key", b"access")
_KEY = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----(?:(?!-----END)[^\0])*(?:-----END [A-Z ]*-----)?"
)
_TOKEN = re.compile(
    rb"""(?:
    (?:AKIA|ASIA)[0-9A-Z]{16}
  | gh[pousr]_\w{20,} | github_pat_\w{20,} | glpat-[\w-]{20,}
  | sk-[\w-]{20,} | hf_[A-Za-z0-9]{20,} | xox[abeoprs]-[\w-]{10,}
  | AIza[\w-]{35} | npm_\w{30,} | pypi-AgEI[\w-]{20,} | dop_v1_[0-9a-f]{40,}
  | [sr]k_(?:live|test)_\w{16,} | SG\.[\w-]{16,}\.[\w-]{16,}
  | eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]*
    )""",
    re.VERBOSE,
)
# A name that says so, and a value in quotes, or on the rest of a line as in `.env`.
_ASSIGNED = re.compile(
    rb"""(?P<name>
    (?:[Pp]assw(?:or)?d|PASSW(?:OR)?D|[Ss]ecret|SECRET|[Tt]oken|TOKEN|[Cc]redential|CREDENTIAL
      |[Aa](?:pi|ccess)_?[Kk]ey|A(?:PI|CCESS)_?KEY)
    [\w.-]*["']?\s*[=:]\s*)
    (?:(?P<quote>["'])[^"'\n]{6,}(?P=quote)|[^\s"'(){}\[\],;]{12,}(?=\s*$))""",
    re.MULTILINE | re.VERBOSE,
)
_WORD = re.compile(rb"[\w-]")


def mask_tokens(data: bytes) -> tuple[bytes, int]:
    """Return text with all in it that looks like a secret masked, and how often that was."""
    found = 0

    def mask_key(match: re.Match[bytes]) -> bytes:
        nonlocal found
        found += 1
        return MASK.encode() + b"\n" * match[0].count(b"\n")

    def mask_token(match: re.Match[bytes]) -> bytes:
        nonlocal found
        before = match.string[match.start() - 1 : match.start()]
        if _WORD.match(before):
            return match[0]
        found += 1
        return MASK.encode()

    def mask_assigned(match: re.Match[bytes]) -> bytes:
        nonlocal found
        found += 1
        quote = match["quote"] or b""
        return match["name"] + quote + MASK.encode() + quote

    data = _KEY.sub(mask_key, data) if b"-----BEGIN " in data else data
    if any(part in data for part in _IN_TOKENS):
        data = _TOKEN.sub(mask_token, data)
    small = data.lower()
    if any(part in small for part in _IN_NAMES):
        data = _ASSIGNED.sub(mask_assigned, data)
    return data, found
