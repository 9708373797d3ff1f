"""A container: the run has the reference of an image, which an engine gets where it starts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gage._internal.errors import RuntimeFailed
from gage._internal.fs import printable
from gage._internal.store.runtime_record import IMAGE, RuntimeRecord, record_values
from gage.plugins import Outline, Provided, RuntimeContext

# `[HOST[:PORT]/]NAME[:TAG]@sha256:DIGEST`, see the specification of references in
# github.com/distribution/reference.
_REFERENCE = re.compile(r"[A-Za-z0-9][\w.:/-]*@sha256:[0-9a-f]{64}")


class ContainerImage:
    """Provides the reference of an image, which says by its digest what it is."""

    def provide(self, settings: Mapping[str, Any], context: RuntimeContext) -> Provided:
        """Return what is recorded of the image that `image` names; nothing is fetched.

        Raises:
            RuntimeFailed: there is no reference, or one without a digest.
        """
        image = _image(settings)
        record = RuntimeRecord("container", IMAGE, image)
        return Provided(record=record_values(record), said=f"the name of the image {image}")

    def outline(self, settings: Mapping[str, Any], context: RuntimeContext) -> Outline:
        """Return the reference of the image.

        Raises:
            RuntimeFailed: there is none, or one without a digest.
        """
        return Outline(IMAGE, _image(settings))


def _image(settings: Mapping[str, Any]) -> str:
    image = settings.get("image")
    if not isinstance(image, str):
        raise RuntimeFailed(
            "runtime: container needs an image",
            'runtime = { name = "container", image = "NAME@sha256:DIGEST" }',
        )
    if not _REFERENCE.fullmatch(image):
        raise RuntimeFailed(
            f"runtime: {printable(image)} has no digest, and what a tag means changes",
            "name it as NAME@sha256:DIGEST, which podman images --digests or docker images"
            " --digests prints",
        )
    return image
