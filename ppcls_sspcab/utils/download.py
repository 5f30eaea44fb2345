"""Published weights: the only thing that this project ever fetches, and only when asked to."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ppcls_sspcab.errors import ModelError
from ppcls_sspcab.utils.files import atomic_write, sha256_of
from ppcls_sspcab.utils.logger import get_logger


def published_weights(url: str, md5: str | None) -> str:
    """Fetches a file once into Paddle's cache, says from where, and checks it; returns its path.

    Args:
        md5: what the publisher says the file's MD5 is. If None, the SHA-256 of the first download
            is kept beside the file, and every later use is held to it.

    Raises:
        ModelError: another scheme than https, no connection, or another file than was published.
    """
    from paddle.utils import download

    if not url.startswith("https://"):
        raise ModelError(f"{url}: weights are fetched by https only")
    get_logger().info(f"Arch.pretrained: weights of {url}, kept in {download.WEIGHTS_HOME}")
    try:
        path = download.get_path_from_url(url, download.WEIGHTS_HOME, md5, decompress=False)
    except Exception as error:  # RuntimeError, OSError, the HTTP library's own...
        raise ModelError(f"{url}: could not be downloaded ({error})") from error
    if md5 is None:
        _hold_to_the_first(Path(path), url)
    elif hashlib.md5(Path(path).read_bytes()).hexdigest() != md5:
        raise ModelError(f"{path}: is not the file that was published (MD5 differs); delete it")
    return str(path)


def _hold_to_the_first(path: Path, url: str) -> None:
    note, found = path.with_name(f"{path.name}.sha256"), sha256_of(path)
    if not note.exists():
        atomic_write(note, found + "\n")
        get_logger().warning(f"{url}: its publisher names no hash; its SHA-256 is {found}")
    elif note.read_text(encoding="utf-8").strip() != found:
        raise ModelError(
            f"{path}: is not the file that was first downloaded (SHA-256 differs from {note}); "
            "delete both to fetch it anew"
        )
