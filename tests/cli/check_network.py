"""No verb uses a network but `models pull`, watched by strace: a verb may not make a socket of any kind
but the one with which the C library asks for a user's name (nscd, a path on this machine). Exit status
77 where processes may not be traced.
"""
import json
import os
import re
import shutil
import subprocess
import sys

from check_every_verb import calls, verbs
from cli_rig import IGN, SLOW, Case, env, ign, main, path, tiny, write
from nasty_server import Server

MAY_FAIL = ("audit", "initialize", "perplexity")  # for what they find, not for how they are called
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
                works = verb in calls() and verb not in MAY_FAIL
                self.assertIn(code, (0,) if works else (0, 1, 2, 3, 4), verb)
                self.assertEqual(found, [], verb)

    def test_models(self):
        """Of the actions on models `pull` alone makes sockets: to the server that it is told."""
        server = Server()
        with open(tiny(), "rb") as f:
            server.files = {"m.gguf": (f.read(), '"1"')}
        known = write("net.json", json.dumps({
            "format": "ign-catalogue", "version": 1, "models": [{
                "name": "m", "family": "F", "parameters": "1", "about": "m", "store": "m.gguf",
                "licence": {"name": "L", "address": "A"}, "sources": [{"hub": "o/r"}],
                "files": [{"path": "m.gguf", "sha256": server.sha256("m.gguf")}]}]}))
        store = ["--store", path("net-store")]
        pull = ["pull", "m", "--from", server.url + "/good", "--catalogue", known]
        usage = self.ok("models", "--help").text.split("\n\n")[1]
        actions = re.findall(r"(?<=[ |])[a-z]+(?=[ |])", usage[usage.index("list|"):] + " ") + ["list"]
        calls = [["import", tiny(), "--name", "n"], ["catalog"], ["catalog", "--catalogue", known],
                 ["catalog", "mistral-7b"], ["sweep"],
                 ["list"], ["verify"], ["bundle", "n", "--output", path("net.bundle")],
                 ["remove", "n"], ["unbundle", path("net.bundle")], ["keygen", path("net.key")],
                 ["pull", "m", "--from", os.path.dirname(tiny()), "--catalogue", known]]
        self.assertEqual({c[0] for c in calls}, set(actions), "an action that nobody watches")
        for words in calls:
            code, found = self.trace([IGN, "models", *words, *store])
            self.assertIn(code, (0, 4) if words[0] == "pull" else (0,), words)
            self.assertEqual(found, [], words)
        for secret in ("https://tok#en:pw@h/x.gguf", "https://tok?en@h/x.gguf", "https://tok/en:pw@h/x.gguf"):
            code, found = self.trace([IGN, "models", "pull", secret, "--sha256", "0" * 64, *store])
            self.assertEqual((code, found), (2, []), secret)
        code, found = self.trace([IGN, "models", *pull, *store])
        server.close()
        self.assertEqual(code, 0)
        to = [x for x in found if "connect(" in x]
        self.assertGreater(len(to), 0)
        for line in to:
            self.assertIn(f"htons({server.port})", line)
            self.assertIn("127.0.0.1", line)


if __name__ == "__main__":
    if not strace_works():
        print("strace is not here or may not trace")
        sys.exit(77)
    main()
