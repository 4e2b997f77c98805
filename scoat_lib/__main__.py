"""`python -m scoat_lib` is the command `scoat`."""

from scoat_lib.cli import main

if __name__ == "__main__":
    main()
