"""What is printed ends quietly where nobody reads it."""

import signal
import subprocess
import sys

PRINTER = (
    "from nepal_flows.cli.output import print_lines\n"
    "for number in range(100000): print_lines(f'line {number}')\n"
)


def test_reader_that_leaves_ends_the_program_as_it_ends_others():
    printer = subprocess.Popen(
        [sys.executable, "-c", PRINTER], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert printer.stdout.readline() == b"line 0\n"
    printer.stdout.close()
    assert printer.wait(60) == -signal.SIGPIPE
    assert printer.stderr.read() == b""
    printer.stderr.close()


def test_signal_is_ignored_again_after_printing():
    code = (
        "import os, socket; from nepal_flows.cli.output import print_lines; print_lines('x')\n"
        "ours, theirs = socket.socketpair(); theirs.close()\n"
        "try: ours.send(b'x')\nexcept BrokenPipeError: print('alive')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "x\nalive\n"
