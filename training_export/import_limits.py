"""How large a network file may be. Far above any network of this kind, far below what would harm the machine."""

from __future__ import annotations

MAX_FILE_BYTES = 1 << 30  # of the file; also of all weights together, as declared
MAX_CONFIG_BYTES = 16 << 20  # of the JSON that states the architecture, and of any list of names
MAX_NAMES = 20_000  # layers, weights of a layer, nodes of a graph
MAX_MODEL_DEPTH = 8  # models within models
MAX_PATH_DEPTH = 16  # groups within groups on the way to a weight
MAX_ELEMENTS = 1 << 24  # of one tensor of one image

CHILD_MEMORY_BYTES = 8 << 30  # of address space
CHILD_CPU_SECONDS = 120
CHILD_WALL_SECONDS = 600.0
