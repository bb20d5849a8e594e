"""Nasty AWS ini files, as a strategy of hypothesis: what people, editors and other tools leave behind."""

from __future__ import annotations

from hypothesis import strategies as st

PROFILES = ("default", "prod", "build agent", "x-1")
KEYS = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
_SECTIONS = (*PROFILES, " prod ", "profile prod", 'profile "build agent"', "DEFAULT", "a]b", "sso-session x", "Prod")
_OTHER_KEYS = ("region", "output", "role_arn", "credential_process", "café", "x_principal_arn", "s3")
_VALUES = ("", "old", "x = y", "# none", "a ; b", "v" * 5000, "[prod]", "\xa0odd\u2028space", "ünï", "%(no)s", "a:b")
_COMMENTS = ("# a comment", "; another = one", "#", "  # aws_access_key_id = no", "", "", "   ", "\t")
_DAMAGE = ("garbage", "= nothing", "\ufeff", "[prod]", "region = twice", "  dangling")


def _options(key: str) -> st.SearchStrategy[list[str]]:
    """Make options of one key: in any case, with any space, in more lines than one, or with settings below it."""
    spelling = st.sampled_from((key, key, key.upper(), key.title()))
    equals = st.sampled_from(("=", " = ", " = ", ":", "\t:  ", "=  "))
    line = st.builds(lambda name, sign, value: name + sign + value, spelling, equals, st.sampled_from(_VALUES))
    more = st.sampled_from(((), (), (), ("  more",), ("\tand = more", "   # aside", "  b"), ("", "    [b]")))
    plain = st.builds(lambda first, rest: [first, *rest], line, more)
    inner = st.sampled_from(("  a = b", "   aws_access_key_id = inner", "  max_queue_size=9", ""))
    nested = st.builds(lambda rest: [f"{key} =", *rest], st.lists(inner, max_size=3))
    comments = st.lists(st.sampled_from(_COMMENTS), max_size=1)
    return st.builds(lambda option, rest: option + rest, st.one_of(plain, plain, nested), comments)


_OPTIONS = {key: _options(key) for key in (*KEYS, *_OTHER_KEYS)}
_KEY_LISTS = st.lists(st.sampled_from((*KEYS, *_OTHER_KEYS)), unique=True, max_size=5)
_INDENTS = st.sampled_from(("", "", "", "", " ", "  "))
_AFTER_HEADERS = st.sampled_from(("", "", " ", " # a comment"))
_NAMES = st.lists(st.sampled_from(_SECTIONS), unique=True, max_size=4)
_BEGINNINGS = st.lists(st.sampled_from(_COMMENTS), max_size=2)
_USUAL_ENDS = st.sampled_from(("\n", "\n", "\r\n", "\r", "mixed"))


@st.composite
def _section(draw: st.DrawFn, name: str) -> list[str]:
    indent = draw(_INDENTS)
    lines = [f"{indent}[{name}]{draw(_AFTER_HEADERS)}"]
    for key in draw(_KEY_LISTS):
        lines += [indent + line for line in draw(_OPTIONS[key])]
    return lines


@st.composite
def ini_files(draw: st.DrawFn, profile: str) -> str:
    """Return a file's text, which more often than not has the profile.

    Most can be read, and are written in every way that ``configparser`` allows; some cannot.
    """
    lines = draw(_BEGINNINGS)
    names = draw(_NAMES)
    if profile not in names and draw(st.booleans()):
        names.insert(draw(st.integers(0, len(names))), profile)
    for name in names:
        lines += draw(_section(name))
    if draw(st.integers(0, 9)) == 0:
        lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(_DAMAGE)))
    usual = draw(_USUAL_ENDS)
    lacks_last_end = draw(st.booleans())
    ends = [("\n", "\r\n")[number % 2] if usual == "mixed" else usual for number in range(len(lines))]
    text = "".join(line + end for line, end in zip(lines, ends, strict=True))
    return text.removesuffix(ends[-1]) if ends and lacks_last_end else text
