"""``python -m whynorm`` is the command ``whynorm``."""

from whynorm.cli import entry

if __name__ == "__main__":
    entry()
