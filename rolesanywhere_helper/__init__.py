"""Temporary AWS credentials from an X.509 certificate, through IAM Roles Anywhere.

The rooms of the house, from the ground up (docs/architecture.md draws who may enter which):

=============  ===========================================================================
``errors``     everything that can go wrong, each with a hint and an exit code
``frozen``     frozen values, as ``dataclasses`` makes them, at a tenth of the price
``fastpath``   a cached ``credential-process`` and nothing else
``domain``     what things are: frozen values and rules, no I/O, no clock
``protocol``   what the bytes look like: pure functions
``system``     what the operating system does: private files, locks, clocks, detached processes
``identity``   who we are: a certificate and the key that belongs to it
``pki``        making throwaway and local certificates
``transport``  how bytes leave the machine
``aws``        what needs an AWS client
``cache``      where credentials rest
``config``     what the user asked for
``mint``       making one session
``broker``     the one verb: a set of credentials, cached or minted
``vend``       handing out
``wiring``     the only place that joins rooms of one level
``doctor``     looking at the whole way, step by step
``emulator``   a local Roles Anywhere that verifies like the service
``cli``        the command line
``api``        the library: what ``boto3_session``, ``aiobotocore_session`` and ``credentials`` of this package are
=============  ===========================================================================
"""

__version__ = "0.1.0"

# Not listed in __all__, and imported when first asked for: whoever imports this package pays nothing for it. Type
# checkers find them in __init__.pyi.
_LIBRARY = frozenset({"Credentials", "SessionArguments", "aiobotocore_session", "boto3_session", "credentials"})


def __getattr__(name: str) -> object:
    """Import the library when one of its names is first used (PEP 562)."""
    if name not in _LIBRARY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib  # noqa: PLC0415 - the import of this package imports nothing

    return getattr(importlib.import_module(f"{__name__}.api"), name)
