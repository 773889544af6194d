"""TOML that somebody wrote or sent, parsed within bounds: tables, lists and dotted keys nest sixteen deep.

The parser of the library takes the square of a dotted key's length, recurses into brackets and lets a number of thousands of digits
end in an error of Python's own; so nesting is looked at before, and whatever cannot be read is one fault with its line.
"""

import re
import tomllib
from codecs import BOM_UTF8
from datetime import date, datetime, time
from typing import Any, Final, TypeVar

import msgspec

MAX_DEPTH: Final = 16
DAYS: Final = (date, datetime, time)
"""What TOML has a form of its own for: a day in quotes is a text, and no day."""

_T = TypeVar("_T")

_TOKEN: Final = re.compile(
    rb'"""(?:[^"\\]|\\.|"(?!""))*+"""|\'\'\'.*?\'\'\'|"(?:[^"\\\n]++|\\.)*+"|\'[^\'\n]*+\'|#[^\n]*+'
    rb"|[\[\]{}]|(?P<chain>\.)|(?P<end>[=,\n])",
    re.DOTALL,
)
_AT_LINE: Final = re.compile(r"\(at line ([0-9]+), column [0-9]+\)")


class TomlFault(Exception):
    """What keeps a text from being read: `detail`, the `line` where that is known, and a `hint`. No value is repeated."""

    def __init__(self, detail: str, hint: str, line: int | None = None) -> None:
        super().__init__(detail)
        self.detail, self.hint, self.line = detail, hint, line


def parse(text: bytes) -> dict[str, Any]:
    """The values of a TOML text.

    Raises TomlFault.
    """
    if text.startswith(BOM_UTF8):
        raise TomlFault("begins with a byte order mark, which TOML has not", "save the file as UTF-8 without BOM", 1)
    _check_depth(text)
    try:
        return tomllib.loads(text.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise TomlFault("not UTF-8", "save the file as UTF-8", text.count(b"\n", 0, error.start) + 1) from None
    except tomllib.TOMLDecodeError as error:
        match = _AT_LINE.search(str(error))
        line = int(match[1]) if match else text.count(b"\n") + 1
        detail = f"no TOML: {_AT_LINE.sub('', str(error)).strip()}"
        raise TomlFault(detail, "a key may stand once in its table; see the rules of TOML 1.0", line) from None
    except RecursionError:
        raise TomlFault("nested too deeply", "no key of ours nests so deep") from None
    except ValueError:  # digits beyond Python's limit; the library does not say where
        raise TomlFault("no TOML: a number of thousands of digits", "numbers have at most 64 bits") from None


def decode(text: bytes, to: type[_T]) -> _T:
    """A TOML text as a Struct, strictly.

    Raises TomlFault, msgspec.ValidationError.
    """
    return msgspec.convert(parse(text), to, builtin_types=DAYS)


def _check_depth(text: bytes) -> None:
    brackets = dots = 0
    for token in _TOKEN.finditer(text):
        if token["chain"]:
            dots += 1
        elif token["end"]:
            dots = 0
        elif token[0] in b"[{":
            brackets += 1
            dots = 0
        elif token[0] in b"]}":
            brackets -= 1
        if brackets > MAX_DEPTH or dots >= MAX_DEPTH:
            what = "brackets" if brackets > MAX_DEPTH else "dotted keys"
            line = text.count(b"\n", 0, token.start()) + 1
            raise TomlFault(f"{what} nested deeper than {MAX_DEPTH}", "no key of ours nests so deep", line)
