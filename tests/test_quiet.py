"""What a C library prints on standard error while it is called is silenced; what others write is not."""

import subprocess
import sys
from pathlib import Path

import pytest

from gateway.core.signing import sm2_is_here

PROGRAM = """
import contextlib, os, sys, threading
from gateway.core.errors import ExchangeError
from gateway.core.signing import SM2_TYPE, Sm2Signer, Sm2Verifier
from gateway.quiet import quietly

if sys.argv[1] == "quiet":
    Sm2Verifier.around = quietly
signer = Sm2Signer.new("a.example/x")
good = signer.sign(b"said")

def verify():
    for number in range(30):
        assert signer.verifier.verify(b"said", good)
        assert not signer.verifier.verify(b"said otherwise", good)
        os.write(2, b"a line of the log\\n")

threads = [threading.Thread(target=verify) for _ in range(4)]
for each in threads:
    each.start()
for each in threads:
    each.join()
try:
    Sm2Verifier("a.example/x", b"\\x04" + bytes(64))
except ExchangeError as error:
    print(error.code)
if sys.argv[1] == "quiet":
    Sm2Verifier.around = contextlib.nullcontext
    print(signer.verifier.verify(b"once more", good))
"""


def said(how: str) -> tuple[str, list[str]]:
    """Standard output, and the lines on standard error that are none of ours."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, timeout=60, check=True)
    lines = done.stderr.splitlines()
    assert lines.count("a line of the log") == 120, "no line of ours is lost"
    return done.stdout, [line for line in lines if line != "a line of the log"]


@pytest.mark.skipif(not sm2_is_here(), reason="the extra `gm` is not installed")
@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only glibc is silenced")
def test_a_failed_signature_is_told_by_its_answer_alone() -> None:
    """Threads that verify wrong signatures write their own lines and no others; before and afterwards the library is heard again."""
    code, heard = said("loud")
    assert (code, len(heard) >= 120) == ("SIG_FORMAT\n", True), "the library speaks by itself"
    answers, heard_after = said("quiet")
    assert answers == "SIG_FORMAT\nFalse\n"
    assert 1 <= len(heard_after) <= 3, "only the last one, which was not silenced"
