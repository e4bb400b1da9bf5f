"""Writing a file so that nothing is lost: it is complete, or the old one stays."""
import os
from pathlib import Path


def replace_file(path, write):
    """Call ``write(file)`` on a file beside ``path``, then rename it to ``path``; on any failure remove it."""
    path = Path(path)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
