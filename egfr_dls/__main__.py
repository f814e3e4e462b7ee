"""``python -m egfr_dls`` is ``egfr-dls``."""

from egfr_dls.cli import main

main()
