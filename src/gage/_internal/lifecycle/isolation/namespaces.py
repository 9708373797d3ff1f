"""The first rung: a user namespace, and in it a tree of mounts in which nothing else is.

A process in it is who it was: with the same user and groups, of no more rights, and for root of
fewer. All functions but `map_users` are for the child, between fork and exec.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Callable

from gage._internal.lifecycle.isolation import kernel
from gage._internal.lifecycle.isolation.view import (
    KERNEL,
    KERNEL_SETTINGS,
    SHARED_MEMORY,
    TEMPORARY,
    View,
    iter_devices,
)

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


def enter(view: View, network: bool, map_by_parent: Callable[[], None]) -> None:
    """Leave this process nothing but what the view has.

    `map_by_parent` has the parent call `map_users` for this process.

    Raises:
        OSError: it is forbidden here, or the kernel is too old.
    """
    machine = kernel.find_machine()
    assert machine
    ids = os.geteuid(), os.getegid()
    kernel.unshare(kernel.CLONE_NEWUSER | kernel.CLONE_NEWNS | _network_flag(network))
    if ids[0] == 0:
        map_by_parent()
    else:
        _map_self(*ids)
    kernel.mount("", "/", "", kernel.MS_SLAVE | kernel.MS_REC)
    root = os.path.join(view.own, "root")
    _make_tree(view, root)
    kernel.change_root(machine, root)
    kernel.make_mount_read_only("/", recursive=False)
    os.chdir(view.run_dir)
    if not network:
        _raise_loopback()
    kernel.drop_capabilities()
    kernel.gain_nothing()
    kernel.let_be_looked_at()


def _network_flag(network: bool) -> int:
    return 0 if network else kernel.CLONE_NEWNET


def map_users(pid: int) -> None:
    """Let all users and groups of this process be themselves for another one.

    Raises:
        OSError: this process may not.
    """
    for kind in ("uid_map", "gid_map"):
        with open(f"/proc/self/{kind}", encoding="ascii") as file:
            spans = [line.split() for line in file]
        lines = "".join(f"{first} {first} {count}\n" for first, _, count in spans)
        with open(f"/proc/{pid}/{kind}", "w", encoding="ascii") as file:
            file.write(lines)


def _map_self(user: int, group: int) -> None:
    for name, text in (
        ("uid_map", f"{user} {user} 1\n"),
        # The kernel wants that first, where anybody may do this.
        ("setgroups", "deny"),
        ("gid_map", f"{group} {group} 1\n"),
    ):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)


def _make_tree(view: View, root: str) -> None:
    kernel.mount("tmpfs", root, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=0755")
    for place in TEMPORARY:
        os.makedirs(root + place)
        kernel.bind(os.path.join(view.own, "tmp"), root + place)
    for path in sorted((*view.readable, *view.writable, *KERNEL[:2])):
        _bind(path, root)
        if path not in view.writable and path != "/proc":
            kernel.make_mount_read_only(root + path)
    for path in KERNEL_SETTINGS:
        if os.path.exists(root + path):
            kernel.bind(root + path, root + path)
            kernel.make_mount_read_only(root + path)
    for path in iter_devices():
        _bind(path, root)
    os.makedirs(root + SHARED_MEMORY)
    kernel.mount("tmpfs", root + SHARED_MEMORY, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV)
    for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        os.symlink(f"/proc/self/fd{target}", f"{root}/dev/{name}")
    for path, target in view.links.items():
        if not os.path.lexists(root + path):
            os.makedirs(os.path.dirname(root + path), exist_ok=True)
            os.symlink(target, root + path)


def _bind(path: str, root: str) -> None:
    if os.path.isdir(path):
        os.makedirs(root + path, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(root + path), exist_ok=True)
        os.close(os.open(root + path, os.O_WRONLY | os.O_CREAT, 0o600))
    kernel.bind(path, root + path)


def _raise_loopback() -> None:
    """Let the run talk to itself."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack_from("H", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request), 16)[0]
        request = struct.pack("16sH14x", b"lo", flags | _IFF_UP)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, request)
