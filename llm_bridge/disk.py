"""Tell errors of this machine's disk from those of a network: both arrive as the same kinds of exception."""

from __future__ import annotations

import errno
import os
import re

__all__ = ["disk_error", "disk_error_in"]

# No connection fails with these.
_FULL_OR_BROKEN = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
# A connection may be refused with these too, but then no file is named.
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)
# As Python (and so pip) writes it, and as programs written in Rust do.
_IN_TEXT = (re.compile(r"\[Errno (\d+)\]([^\n]*)"), re.compile(r"\(os error (\d+)\)([^\n]*)"))
# How Python names the file: ": '/some/where'".
_NAMED = re.compile(r":\s*(['\"])(.+?)\1")


def disk_error(error: BaseException) -> OSError | None:
    """The disk's error that an exception is, or was raised from, or tells of in its text; None if there is none.

    No room, a quota, a read-only place, a file that may not be written, a disk that does not answer. A missing file
    is none of these: hub clients raise that for missing networks.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError):
            if cause.errno in _FULL_OR_BROKEN or (cause.errno in _FORBIDDEN and cause.filename is not None):
                return cause
        elif (told := disk_error_in(str(cause))) is not None:
            return told
        cause = cause.__cause__
    return None


def disk_error_in(text: str) -> OSError | None:
    """The disk's error that another program's message tells of, by number; None if it tells of none."""
    for pattern in _IN_TEXT:
        for match in pattern.finditer(text):
            number, named = int(match[1][:6]), _NAMED.search(match[2])
            if number in _FULL_OR_BROKEN or (number in _FORBIDDEN and named):
                return OSError(number, os.strerror(number), named[2] if named else None)
    return None
