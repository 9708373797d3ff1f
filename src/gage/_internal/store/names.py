"""Short names of runs that are easily spoken: proquints.

A proquint writes 16 bits as five letters, consonant vowel consonant vowel consonant: 4 bits a
consonant, 2 bits a vowel (D. S. Wilkerson, "A Proposal for Proquints: Identifiers that are
Readable, Spellable, and Pronounceable", 2009, arXiv:0901.4016).
"""

from __future__ import annotations

import os

_CONSONANTS = "bdfghjklmnprstvz"
_VOWELS = "aiou"


def run_name(run_id: str) -> str:
    """Return the name of a run: its id's first 32 bits as two proquints.

    For example `kivob-sazut`. The name follows from the id alone.
    """
    return _name(int(run_id[:8], 16))


def group_name() -> str:
    """Return a name for a group that no other has: as those of runs, of random bits."""
    return _name(int.from_bytes(os.urandom(4), "big"))


def _name(bits: int) -> str:
    return f"{_proquint(bits >> 16)}-{_proquint(bits & 0xFFFF)}"


def _proquint(bits: int) -> str:
    return (
        _CONSONANTS[bits >> 12]
        + _VOWELS[bits >> 10 & 3]
        + _CONSONANTS[bits >> 6 & 15]
        + _VOWELS[bits >> 4 & 3]
        + _CONSONANTS[bits & 15]
    )
