"""`python -m tinygrad_rnn`: the command line."""

from .cli import main

if __name__ == "__main__":
    main()
