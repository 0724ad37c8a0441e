"""Small file systems of a test's own: one that can lose its power, one that can be full.

Both need root and loop or tmpfs mounts. Where mounting is refused, `Unavailable` tells why, and the
tests that need it are skipped with that reason.
"""

import fcntl
import os
import struct
import subprocess
from pathlib import Path

# ext4's shutdown request, _IOR('X', 125, u32): stops the file system at once, as a loss of power
# does. Flag 2 does not even write out the journal: what was not synced is gone.
EXT4_IOC_SHUTDOWN = 0x8004587D
GOING_NO_LOG_FLUSH = 2


class Unavailable(Exception):
    """This machine does not let us make such a file system."""


def _run(*command):
    environment = {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"}
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        raise Unavailable(f"{command[0]}: {done.stderr.strip() or done.returncode}")


class _Mount:
    """A mounted file system; a context manager that leaves nothing mounted."""

    def __init__(self, folder):
        self.path = Path(folder)
        self.path.mkdir(parents=True, exist_ok=True)
        self.mounted = False

    def unmount(self):
        if self.mounted:
            _run("umount", self.path)
            self.mounted = False

    def __enter__(self):
        self.mount()
        return self

    def __exit__(self, *_):
        if self.mounted:
            # Lazily if need be: a test that failed may have left a process with open files.
            subprocess.run(["umount", "-l", str(self.path)], capture_output=True)
            self.mounted = False


class Ext4(_Mount):
    """An ext4 file system in an image file."""

    def __init__(self, scratch, size_bytes):
        super().__init__(Path(scratch) / "disk")
        self.image = Path(scratch) / "disk.ext4"
        if os.geteuid() != 0:
            raise Unavailable("mounting needs root")
        with open(self.image, "wb") as image:
            image.truncate(size_bytes)
        _run("mkfs.ext4", "-q", "-F", "-m", "0", self.image)

    def mount(self):
        _run("mount", "-o", "loop", self.image, self.path)
        self.mounted = True

    def cut_power(self):
        """From now on nothing reaches the image. Unmount and mount to see what it holds."""
        folder = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, EXT4_IOC_SHUTDOWN, struct.pack("I", GOING_NO_LOG_FLUSH))
        finally:
            os.close(folder)


class Tmpfs(_Mount):
    """A file system in memory with a fixed size."""

    def __init__(self, scratch, size_bytes):
        super().__init__(Path(scratch) / "disk")
        self.size_bytes = size_bytes
        if os.geteuid() != 0:
            raise Unavailable("mounting needs root")

    def mount(self):
        _run("mount", "-t", "tmpfs", "-o", f"size={self.size_bytes}", "tmpfs", self.path)
        self.mounted = True
