"""What ``python -m rolesanywhere_helper`` and the launchers run: the fast path, or else the command line."""

import sys

if sys.flags.no_site:  # the launcher's `python -I -S`: only the standard library can be found yet
    sys.path.append(__file__.rpartition("/")[0].rpartition("/")[0])

from rolesanywhere_helper import fastpath


def main() -> int:
    """Run the command line of this process and return its exit code."""
    code = fastpath.answer(sys.argv[1:])
    if code is not None:
        return code
    import gc  # noqa: PLC0415 - not on the fast way

    # What is imported stays: looking through it for garbage again and again only delays the answer. The daemon, which
    # lives long, turns it on again.
    gc.disable()
    if sys.flags.no_site:
        import site  # noqa: PLC0415 - not on the fast way

        site.main()
    from rolesanywhere_helper.cli.main import main as command_line  # noqa: PLC0415 - not on the fast way

    return command_line(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
