"""What holds for every test that trains."""

from __future__ import annotations

import os

# As `egfr-dls train` sets it, before PyTorch is imported: tests share the machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
