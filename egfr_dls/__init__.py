"""The kernel: words and durable state that the stages share. Imports no stage."""

from importlib.metadata import version

PRODUCT_NAME = "egfr-dls"
PRODUCT_VERSION = version("egfr-dls")
