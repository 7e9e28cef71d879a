"""`python -m phloem` is `phloem`, where its script is not on the path."""

from phloem.cli.main import main

if __name__ == "__main__":
    main()
