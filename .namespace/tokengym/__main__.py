"""``python -m tokengym`` is the command line."""

from .train.command_line import main

if __name__ == "__main__":
    main()
