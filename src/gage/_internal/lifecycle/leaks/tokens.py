"""Tokens and private keys in texts: of well-known forms only, so that what is said is so.

A token is never repeated; its kind and line are told.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# Each form is that of one issuer: its prefix, then what and how long the rest is.
_FORMS = (
    (r"gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}", "GitHub"),
    (r"glpat-[A-Za-z0-9_-]{20,64}", "GitLab"),
    (r"hf_[A-Za-z]{34,40}", "Hugging Face"),
    (r"(?:AKIA|ASIA)[A-Z2-7]{16}", "AWS"),
    (r"xox[abprs]-[0-9]{8,14}-[A-Za-z0-9-]{16,}", "Slack"),
    (r"sk-ant-[A-Za-z0-9]{2,8}-[A-Za-z0-9_-]{60,}", "Anthropic"),
    (
        r"sk-(?:proj-|svcacct-)[A-Za-z0-9_-]{40,}|sk-[A-Za-z0-9]{20}T3BlbkFJ[A-Za-z0-9]{20}",
        "OpenAI",
    ),
    (r"AIza[A-Za-z0-9_-]{35}", "Google"),
    (r"[sr]k_live_[A-Za-z0-9]{24,}", "Stripe"),
    (r"pypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,}", "PyPI"),
    (r"npm_[A-Za-z0-9]{36}", "npm"),
)
# A token is all of such a word: to look for words takes a tenth of what it takes to look for forms.
_WORD = re.compile(r"[A-Za-z0-9_-]{20,}")
_TOKEN = re.compile(
    "|".join(f"(?P<form{number}>{form})" for number, (form, _) in enumerate(_FORMS))
)
_KEY = re.compile(
    r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----\s*(?:\\n)?[A-Za-z0-9+/=:-]"
)
# An example has fewer different ones.
_FEWEST_CHARACTERS = 8


def find_tokens(text: str) -> Iterator[tuple[int, str]]:
    """Yield the line, from 1, of each token or private key, and what it is."""
    for word in _WORD.finditer(text):
        match = _TOKEN.fullmatch(text, *word.span())
        if match is None:
            continue
        kind = _FORMS[int(str(match.lastgroup).removeprefix("form"))][1]
        if len(set(match[0][4:])) >= _FEWEST_CHARACTERS and "EXAMPLE" not in match[0]:
            yield text.count("\n", 0, match.start()) + 1, f"a token of {kind}"
    for match in _KEY.finditer(text):
        yield text.count("\n", 0, match.start()) + 1, "a private key"
