#!/usr/bin/env python3
"""Drives a machine's console, as somebody at its keyboard would.

usage: console.py LOG SECONDS COMMAND... < STEPS

COMMAND runs on a pseudo terminal; all it prints goes to LOG. STEPS are lines:
  expect REGEX        wait until the output since the last match matches
  send TEXT           type TEXT and return
  key BYTES           type BYTES as they are (Python escapes: \\x1d is Ctrl-])
  sh NAME: COMMAND    type a shell command, wait for its end, `ok - NAME` if it succeeded
  want NAME: REGEX: COMMAND
                      the same, and its output must match
  host NAME: COMMAND  run a shell command on this side; `ok - NAME` if it succeeded
  kill                kill COMMAND with SIGKILL
  ends NAME: CODE     COMMAND ends by itself with that exit code
SECONDS bound each step; HULL_SLOW multiplies them. A step that fails prints `not ok` and the last of
the output, and ends the run with 1; COMMAND is killed then.
"""
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

ANSI = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>()][A-Z0-9]?|\r|\x00")


class Console:
    def __init__(self, log, seconds, command):
        self.log = open(log, "wb", buffering=0)
        self.seconds = seconds * float(os.environ.get("HULL_SLOW", "1"))
        self.seen = b""  # what no step has matched yet, without escapes
        self.count = 0
        self.code = None
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvp(command[0], command)

    def pump(self, until):
        """Reads what is there; false at the end of the output or of the time."""
        left = until - time.monotonic()
        if left <= 0 or not select.select([self.fd], [], [], left)[0]:
            return False
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            return False
        self.log.write(data)
        self.seen = (self.seen + ANSI.sub(b"", data))[-200000:]
        return bool(data)

    def expect(self, regex):
        until = time.monotonic() + self.seconds
        pattern = re.compile(regex.encode(), re.M)
        while True:
            match = pattern.search(self.seen)
            if match:
                self.seen = self.seen[match.end():]
                return match
            if not self.pump(until):
                return None

    def type(self, text):
        while text:
            text = text[os.write(self.fd, text[:64]):]

    def shell(self, command):
        """Exit code and output of a command; None when its end was not seen."""
        self.count += 1
        mark = "done%d" % self.count
        # The quotes keep the echo of the line from looking like its result.
        self.type(("%s; echo '%s':$?:\n" % (command, mark[:2] + "''" + mark[2:])).encode())
        match = self.expect(r"(?s)\A(.*?)%s:(\d+):" % mark)
        return match and (int(match.group(2)), match.group(1).decode(errors="replace"))

    def wait(self):
        until = time.monotonic() + self.seconds
        while time.monotonic() < until:
            self.pump(time.monotonic() + 0.1)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
                return self.code
            time.sleep(0.02)
        return None

    def kill(self):
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def fields(text, n):
    return [part.strip() for part in text.split(": ", n - 1)]


def step(c, line):
    """Performs one line; returns (name, None) or (name, what went wrong)."""
    verb, _, rest = line.partition(" ")
    if verb == "expect":
        return line, None if c.expect(rest) else "not seen: " + rest
    if verb == "send":
        return c.type(rest.encode() + b"\n"), None
    if verb == "key":
        return c.type(rest.encode().decode("unicode_escape").encode("latin1")), None
    if verb == "host":
        name, command = fields(rest, 2)
        done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
        return name, None if done.returncode == 0 else "exit code %d\n%s" % (
            done.returncode, done.stdout + done.stderr)
    if verb == "kill":
        return c.kill(), None
    if verb == "ends":
        name, code = fields(rest, 2)
        ended = c.wait()
        return name, None if ended == int(code) else "ended with %s, not %s" % (ended, code)
    if verb in ("sh", "want"):
        name, regex, command = fields(rest, 3) if verb == "want" else (fields(rest, 2)[0], "", fields(rest, 2)[1])
        result = c.shell(command)
        if not result:
            return name, "no end of: " + command
        if result[0] != 0:
            return name, "exit code %d of: %s\n%s" % (result[0], command, result[1])
        if not re.search(regex, result[1], re.M):
            return name, "no match of %s in:\n%s" % (regex, result[1])
        return name, None
    return line, "unknown step"


def main():
    c = Console(sys.argv[1], float(sys.argv[2]), sys.argv[3:])
    for line in sys.stdin:
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        name, wrong = step(c, line)
        if wrong:
            tail = c.seen[-3000:].decode(errors="replace")
            print("not ok - %s\n    %s\n    the console said last:\n%s" % (name, wrong, tail))
            c.kill()
            return 1
        if line.split()[0] in ("sh", "want", "ends", "expect", "host"):
            print("ok - %s" % name, flush=True)
    c.kill()
    return 0


if __name__ == "__main__":
    sys.exit(main())
