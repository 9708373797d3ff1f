"""Files that by their name hold secrets: they are staged only where a rule names them."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

# Of a path, the last names: those of the directories that a tool keeps its credentials in, too.
_SECRETS = (
    ".env", ".env.*", "*.env", ".envrc", ".netrc", "_netrc", ".git-credentials", ".pypirc",
    ".npmrc", ".pgpass", ".my.cnf", ".htpasswd", ".vault-token", ".dockercfg", ".terraformrc",
    "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", "id_ecdsa_sk", "id_ed25519_sk",
    "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", "*.ppk",
    ".aws/credentials", ".aws/config", ".docker/config.json", ".kube/config", ".boto", ".s3cfg",
    ".config/gcloud/*", "application_default_credentials.json", "service-account*.json",
    "service_account*.json", "credentials.json", "client_secret*.json", "kaggle.json",
    ".azure/*", ".oci/config", "rclone.conf", ".huggingface/token", ".ssh/*", ".gnupg/*",
    "secrets.toml", "secrets.yaml", "secrets.yml", "secrets.json", ".databrickscfg",
)  # fmt: skip
_NOT_SECRETS = (
    ".env.example", ".env.sample", ".env.template", ".env.dist", "example.env", "sample.env",
    "template.env", "*.pub", "cacert.pem",
)  # fmt: skip


_LAST_NAMES = [glob.rpartition("/")[2] for glob in _SECRETS]
_NAMES = frozenset(name for name in _LAST_NAMES if "*" not in name)
_ENDS = tuple(name[1:] for name in _LAST_NAMES if name.startswith("*") and name != "*")
_STARTS = tuple(name.partition("*")[0] for name in _LAST_NAMES if "*" in name[1:])


def is_secret(path: str) -> bool:
    """Tell whether a file, by the names in its path, is one that holds secrets."""
    name = path.rpartition("/")[2]
    # Of most files these few comparisons tell that they are not.
    if not (
        name in _NAMES or name.endswith(_ENDS) or name.startswith(_STARTS) or "/." in f"/{path}"
    ):
        return False
    names = path.split("/")
    return any(_fits(names, glob.split("/")) for glob in _SECRETS) and not any(
        fnmatch.fnmatchcase(name, glob) for glob in _NOT_SECRETS
    )


def _fits(names: Sequence[str], globs: Sequence[str]) -> bool:
    return len(names) >= len(globs) and all(map(fnmatch.fnmatchcase, names[-len(globs) :], globs))


def is_named(path: str, names: Sequence[str]) -> bool:
    """Tell whether a pattern, by the names in it, means a secret at a path.

    It does with the name itself, or with a pattern of which more is left without its asterisks
    than those of a secret have: `certs/*.pem` and `.env*` mean secrets, and `*` means none.
    """
    name = path.rpartition("/")[2]
    last = names[-1]
    if last == name:
        return True
    core = last.strip("*")
    return bool(core) and core != last and is_secret("/".join((*names[:-1], core)))
