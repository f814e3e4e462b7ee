"""``egfr-dls`` with small segments, so that they fill, are archived and recycled many times within a short trace.

python -m benchmarks.durability.small listener --config FILE
"""

from benchmarks.durability.load import MIB
from egfr_dls import cli
from egfr_dls.spool import DirectorySpool

SEGMENT_BYTES = 2 * MIB


def shrink() -> None:
    """Make segments small from now on, in this process."""
    defaults = DirectorySpool.__init__.__kwdefaults__
    defaults["segment_bytes"] = SEGMENT_BYTES


if __name__ == "__main__":
    shrink()
    cli.main()
