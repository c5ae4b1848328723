"""The photographs that a command names, and what is left out of their folders, lists, archives and tables."""

import sys
from collections.abc import Sequence
from pathlib import Path

from facejax.images import Listing, list_sources


def list_command_photos(sources: Sequence[str | Path], out: object) -> Listing:
    """List all photographs, without results in `out`, and say on stderr what is left out: one line for each source.

    A command whose listing is not `whole` ends with exit status 1. Raises ValueError or FileNotFoundError like
    `facejax.images.list_sources`.
    """
    listing = list_sources(sources, without=str(out))
    for one in listing.left_out:
        print(one, file=sys.stderr)
    return listing
