"""`python -m utcp`."""

import sys

from utcp.cli import main

sys.exit(main())
