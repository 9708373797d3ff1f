"""The seal of a run: a digest that vouches for its meta files and, by the manifest, for its files.

It lies in the meta directory, where `sha256sum -c seal` accepts it:

    # gage seal 1
    # inputs DIGEST
    # staged
    #	manifest	DIGEST
    DIGEST  NAME
    # ended
    DIGEST  NAME

The first section is written when the run is staged, and has every meta file that changes no more.
Of the manifest, to which the end of the run adds, it has the digest that this had then: that of
the section `staged`, none of it superseded. When the run has ended, the second section has all the
rest. The digest of a run is that of the first section; `inputs` that of what decides what it does.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from gage._internal import fs
from gage._internal.store import layout, meta
from gage._internal.store.manifest import (
    Manifest,
    file_digest,
    format_manifest,
    has_content_outside,
    read_manifest,
)
from gage._internal.types import Run

_HEADER = "# gage seal 1"
_STAGED = "# staged"
_ENDED = "# ended"
# Files that go on changing, or that are there for a while only.
_NEVER = (layout.SEAL, layout.LOCK, layout.SPARE)
_LATER = (*_NEVER, layout.MANIFEST, layout.RUNNER_LOG, layout.FILES_LOG)
# What decides what a run does, besides its files.
_INPUTS = (layout.CMD, layout.ENV, layout.CONFIG, layout.RUNTIME)
# What tells of the interpreter of a run that has no runtime of its own.
_INHERITED = (f"{layout.SYS}/interpreter", f"{layout.SYS}/packages")
_INPUTS_LINE = re.compile(rb"[^\n]*\n# inputs ([0-9a-f]{64})\n")
_SEAL = re.compile(
    rf"{_HEADER}\n# inputs ([0-9a-f]{{64}})\n"
    rf"({_STAGED}\n#\tmanifest\t([0-9a-f]{{64}})\n((?:\\?[0-9a-f]{{64}}  [^\n]+\n)*))"
    rf"(?:{_ENDED}\n((?:\\?[0-9a-f]{{64}}  [^\n]+\n)*))?"
)


class Seal(NamedTuple):
    """What a run was sealed with: the SHA-256 of each meta file, by name.

    `digest` is that of the run as it was staged, `manifest` that of its manifest then; `ended` is
    None until the run has ended.
    """

    digest: str
    inputs: str
    manifest: str
    staged: Mapping[str, str]
    ended: Mapping[str, str] | None = None


def seal_staged(run: Run, staged: str) -> None:
    """Seal a run that is being staged; `staged` is the path of its time stamp, until it has it.

    Everything else that is to be sealed has been written.
    """
    digests = dict(_digests(run, _LATER))
    digests[layout.STAGED] = _digest(fs.read_bytes(staged))
    data = meta.read_meta(run, layout.MANIFEST)
    manifest = _digest(data)
    names = [*_INPUTS]
    if layout.RUNTIME not in digests:
        names += [name for name in _INHERITED if name in digests]
    if has_content_outside(data):
        # What is there now may be another content by the next run: no two are called the same.
        names.append(layout.ID)
    inputs = "".join(f"{name} {digests.get(name, '-')}\n" for name in names)
    lines = [_HEADER, f"# inputs {_digest((inputs + manifest).encode())}"]
    lines += [_STAGED, f"#\tmanifest\t{manifest}", *_lines(digests)]
    meta.write_meta(run, layout.SEAL, os.fsencode("\n".join(lines) + "\n"))


def seal_ended(run: Run, stopped: str) -> None:
    """Seal what has come since a run was staged; `stopped` as `staged` above."""
    text = os.fsdecode(meta.read_meta(run, layout.SEAL)).partition(_ENDED + "\n")[0]
    sealed = parse_seal(text).staged
    digests = {name: digest for name, digest in _digests(run, _NEVER) if name not in sealed}
    digests[layout.STOPPED] = _digest(fs.read_bytes(stopped))
    text += "\n".join([_ENDED, *_lines(digests)]) + "\n"
    meta.write_meta(run, layout.SEAL, os.fsencode(text))


def reopen_seal(run: Run) -> None:
    """Leave of a seal what a run was staged with: it goes on."""
    text = os.fsdecode(meta.read_meta(run, layout.SEAL))
    meta.write_meta(run, layout.SEAL, os.fsencode(text.partition(_ENDED + "\n")[0]))


def read_seal(run: Run) -> Seal:
    """Return the seal of a run that is or was staged.

    Raises:
        RunDamaged: it is missing or cannot be understood.
    """
    data = meta.read_meta(run, layout.SEAL)
    try:
        return parse_seal(os.fsdecode(data))
    except ValueError as error:
        raise meta.damaged(run, layout.SEAL, str(error)) from None


def parse_seal(text: str) -> Seal:
    """Return the seal that `text` is.

    Raises:
        ValueError: it is none, or was cut short.
    """
    match = _SEAL.fullmatch(text)
    if match is None:
        raise ValueError("is cut short, or was written by another version")
    inputs, section, manifest, staged, ended = match.groups()
    return Seal(
        _digest(os.fsencode(section)),
        inputs,
        manifest,
        _parse_lines(staged),
        None if ended is None else _parse_lines(ended),
    )


def find_inputs(data: bytes) -> str:
    """Return the digest of the inputs that a seal tells; empty where it tells none.

    To look at the seals of many runs this does not read them to their end.
    """
    match = _INPUTS_LINE.match(data)
    return match[1].decode() if match else ""


def find_digests(run: Run) -> Mapping[str, str]:
    """Return the digest of each file that a seal can have, as it is now; "" if it is unreadable."""
    return dict(_digests(run, _NEVER, must_read=False))


def manifest_digest(manifest: Manifest) -> str:
    """Return the digest that a manifest had when the run was staged."""
    staged = tuple(each._replace(superseded=False) for each in manifest.staged)
    return _digest(os.fsencode(format_manifest(Manifest(staged))))


def staged_manifest_digest(run: Run) -> str:
    """Return the digest that the manifest of a run had when the run was staged.

    Raises:
        RunDamaged: the manifest is missing or cannot be understood.
    """
    data = meta.read_meta(run, layout.MANIFEST)
    if f"\n{_ENDED}\n".encode() not in data:
        return _digest(data)
    return manifest_digest(read_manifest(run))


def _digests(
    run: Run, without: tuple[str, ...], must_read: bool = True
) -> Iterator[tuple[str, str]]:
    folder = layout.run_meta_dir(run)
    for name in fs.iter_paths(folder):
        if name in without or fs.find_name_beside(os.path.basename(name)) is not None:
            continue
        try:
            yield name, file_digest(f"{folder}/{name}")[1]
        except OSError:
            if must_read:
                raise
            yield name, ""


def _lines(digests: Mapping[str, str]) -> list[str]:
    """Return a line for each file, by the bytes of its name, as sha256sum writes it."""
    lines = []
    for name in sorted(digests, key=os.fsencode):
        escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
        mark = "\\" if escaped != name else ""
        lines.append(f"{mark}{digests[name]}  {escaped}")
    return lines


def _parse_lines(text: str) -> dict[str, str]:
    digests = {}
    # Names may hold what str.splitlines takes for the end of a line.
    for line in text.split("\n")[:-1]:
        mark = line.startswith("\\")
        digest, name = line[mark : mark + 64], line[mark + 66 :]
        digests[fs.unescape_path(name) if mark else name] = digest
    return digests


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
