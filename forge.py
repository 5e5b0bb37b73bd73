"""Run Forge from a checkout: python forge.py --config configs/….yaml (installed, the command is `forge`)."""

import sys

from forge.cli import main

if __name__ == "__main__":
    sys.exit(main())
