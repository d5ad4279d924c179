"""No verb uses a network, watched by strace: a verb may not make a socket of any kind but the one with
which the C library asks for a user's name (nscd, a path on this machine). Exit status 77 where
processes may not be traced.
"""
import re
import shutil
import subprocess
import sys

from check_every_verb import calls, verbs
from cli_rig import IGN, SLOW, Case, env, main, path

NETWORK = "trace=socket,connect,bind,listen,accept,accept4,sendto,sendmsg,sendmmsg,socketpair"


def strace_works():
    if not shutil.which("strace"):
        return False
    p = subprocess.run(["strace", "-f", "-o", path("probe.trace"), "true"],
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return p.returncode == 0


class Network(Case):
    def trace(self, args, stdin=b""):
        out = path("net.trace")
        p = subprocess.run(["strace", "-f", "-qq", "-e", NETWORK, "-e", "signal=none", "-o", out,
                            *args], input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           env=env(ASAN_OPTIONS="detect_leaks=0"), timeout=240 * SLOW)
        with open(out, errors="replace") as f:
            return p.returncode, [x for x in f.read().splitlines() if "AF_UNIX" not in x and
                                  re.search(r"\b(socket|connect|bind|listen|accept4?|send\w+)\(", x)]

    def test_watch_sees(self):
        """The watch itself: a program that asks for a socket is caught."""
        code = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM)"
        _, found = self.trace([sys.executable, "-c", code])
        self.assertTrue(found)

    def test_no_verb(self):
        for verb in verbs():
            for more in ([], ["--json"]) if verb != "chat" else ([],):
                code, found = self.trace([IGN, verb, *calls().get(verb, []), *more],
                                         b"hello\n" if verb == "chat" else b"")
                self.assertIn(code, (0, 1, 2, 3, 4), verb)
                self.assertEqual(found, [], verb)


if __name__ == "__main__":
    if not strace_works():
        print("strace is not here or may not trace")
        sys.exit(77)
    main()
