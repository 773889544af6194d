"""`python -m gateway` is the command `chengxin`."""

from gateway.cli import main

if __name__ == "__main__":
    main()
