"""``python -m fedhome``: the command line, where its script is not on the path."""

from fedhome.cli import main

if __name__ == "__main__":
    main()
