"""See, hear and shape the sound of a video in a browser: ``python studio.py``."""

from common.errors import end_on_interrupt

if __name__ == "__main__":
    end_on_interrupt()
    from studio.__main__ import main  # not above: the imports are slow

    main()
