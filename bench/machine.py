"""What the figures were taken on."""

from __future__ import annotations

import os
import platform
import subprocess


def describe_machine(folder: str) -> list[str]:
    """Return lines that describe this machine, and the file system of a directory."""
    load = " ".join(f"{value:.2f}" for value in os.getloadavg())
    return [
        f"machine  {os.cpu_count()} cores, {_cpu_model()}, load {load}",
        f"system   {platform.system()} {platform.release()}, {_file_system(folder)}",
        f"python   {platform.python_implementation()} {platform.python_version()}",
        "sync     gage run as users have it, GAGE_SYNC unset: it does not wait for the disk",
    ]


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                name, _, value = line.partition(":")
                if name.strip() == "model name":
                    return value.strip()
    except OSError:
        pass
    return platform.machine()


def _file_system(folder: str) -> str:
    done = subprocess.run(
        ["stat", "-f", "-c", "%T", folder],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown file system"
