"""The table of errors: its page, its examples, and that no error, log or audit line tells secrets."""
import os
import re
import shutil
import subprocess
from json import loads

from cli_rig import IGN, SLOW, Case, env, ign, main, path, tiny, write

TABLE = ign("help", "--errors", "--json").json()["errors"]
NAN = tiny(nan=1)


class Table(Case):
    def test_page(self):
        """docs/TROUBLESHOOTING.md is what the program prints."""
        with open("docs/TROUBLESHOOTING.md", encoding="utf-8") as f:
            self.assertEqual(self.ok("help", "--errors").text, f.read())

    def test_complete(self):
        self.assertEqual(len({row["code"] for row in TABLE}), len(TABLE))
        for row in TABLE:
            self.assertTrue(row["means"] and row["hint"] and row["examples"], row)
            self.assertIn(row["exit"], (1, 2, 3, 4, 130))

    def run_example(self, command, json):
        folder = path("scratch")
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(os.path.join(folder, "home"))
        os.makedirs(os.path.join(folder, "bin"))
        os.symlink(IGN, os.path.join(folder, "bin", "ign"))
        os.link(tiny(), os.path.join(folder, "model.gguf"))
        os.link(NAN, os.path.join(folder, "nan.gguf"))
        if json:
            command = re.sub(r"\bign ([a-z-]+)", r"ign \1 --json", command)
        return subprocess.run(["sh", "-c", command], cwd=folder, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60 * SLOW,
                              env=env(HOME=os.path.join(folder, "home"),
                                      PATH=os.path.join(folder, "bin") + ":" + os.environ["PATH"]))

    def test_examples(self):
        """Each gives the exit code and, in both forms, the code, a message and a hint."""
        for row in TABLE:
            for command in row["examples"]:
                if "ulimit -v" in command and SLOW > 1:
                    continue  # a sanitizer wants terabytes of addresses
                with self.subTest(code=row["code"], command=command):
                    plain, json = self.run_example(command, False), self.run_example(command, True)
                    for _ in range(5):  # a busy machine: the signal came before the program did
                        if row["code"] == "cancelled" and not (plain.stderr and json.stdout):
                            plain = self.run_example(command, False)
                            json = self.run_example(command, True)
                    self.assertEqual((plain.returncode, json.returncode), (row["exit"],) * 2,
                                     (plain, json))
                    self.assertEqual(plain.stdout, b"")
                    if row["code"] == "cancelled":
                        self.assertRegex(plain.stderr, b"^ign: (error: )?interrupted")
                        self.assertIn(b'"code":"cancelled"', json.stdout)
                        continue
                    error = loads(json.stdout)["error"]
                    self.assertEqual(error["code"], row["code"], error)
                    line = f"ign: error: {error['message']}; {error['hint']}"
                    self.assertRegex(line, r"^ign: error: .+ \(.+\); .+$")
                    for p in (plain, json):
                        said = re.sub(r"\.[0-9a-f]{8}\.\d+\.tmp", ".N.tmp", p.stderr.decode()).splitlines()
                        self.assertIn(re.sub(r"\.[0-9a-f]{8}\.\d+\.tmp", ".N.tmp", line), said)


MARK = "Xyzzy7"


class Secrets(Case):
    """What a user says to a model, and a key, are in no error, log or audit line."""

    def look(self, code, *args, stdin="", said=False):
        """Runs at debug level into a log and an audit log. `said`: standard output may have it."""
        log, audit = path("secret.log"), path("secret.audit")
        for level in ("debug", "info"):
            extra = ["--log-level", level]
            if level == "debug":
                extra += ["--log-file", log, "--log-format", "json"]
            if args[0] in ("generate", "chat", "initialize", "logits", "perplexity"):
                extra += ["--audit", audit, "--audit-key-file", self.key]
            r = ign(*args, *extra, stdin=stdin)
            self.assertEqual(r.code, code, r)
            self.assertNotIn(MARK.encode(), r.err, r)
            if not said:
                self.assertNotIn(MARK.encode(), r.out, r)
        for name in (log, audit, audit + ".head"):
            if os.path.exists(name):
                with open(name, "rb") as f:
                    self.assertNotIn(MARK.encode(), f.read(), (name, args))

    def setUp(self):
        self.key = write("secret.key", f"{MARK} is the key of this log\n")
        os.chmod(self.key, 0o600)

    def test_generate(self):
        m = ["--model", tiny()]
        p = ["--prompt", MARK]
        file = write("secret.txt", MARK * 100)
        self.look(0, "generate", *m, *p, "--max-tokens", "2", said=True)
        for code, args in (
                (0, [*m, *p, "--stop", MARK, "--system", MARK, "--max-tokens", "1"]),
                (2, [*m, *p, "--temperature", "9"]), (2, [*m, *p, "--top-k", "99999"]),
                (2, [*m, *p, "--raw", "--system", MARK]), (2, [*m, *p, "--prompt-file", file]),
                (2, [*m, *p, "--logit-bias", "x"]), (2, [*m, *p, "--unknown"]),
                (2, [*m, MARK]), (2, [*m, *p, MARK, "and", MARK]), (2, [*m, *p, "--stop", ""]),
                (4, [*p, "--model", "nothing"]), (1, [*p, "--model", "."]),
                (1, [*p, "--model", file]), (1, [*p, "--model", NAN]),
                (3, [*m, "--prompt-file", file]), (3, [*m, "--prompt", MARK * 100]),
                (3, [*m, "--prompt", MARK * 100, "--json"]),
                (4, [*m, *p, "--output-file", "/no/such/folder/file"]),
                (1, [*p, "--model", NAN, "--json", "--system", MARK])):
            with self.subTest(args=args):
                self.look(code, "generate", *args, said=code == 0 or "/no/such" in args[-1])

    def test_others(self):
        m = ["--model", tiny()]
        broken = write("broken.json", f'[{{"role":"user","content":{MARK}}}]')
        colon = write("colon.json", f'[{{"role":"user","content" "{MARK}"}}]')
        wrong = write("wrong.json", f'[{{"role":"{MARK}","content":"{MARK}"}}]')
        for code, args, stdin in (
                (3, ["chat", *m], MARK * 100 + "\n"), (1, ["chat", "--model", NAN], MARK + "\n"),
                (1, ["chat", *m, "--history", broken], ""),
                (1, ["chat", *m, "--history", wrong], ""),
                (2, ["logits", *m, "--ids", MARK], ""), (2, ["logits", *m], f"1 2 {MARK}"),
                (2, ["detokenize", *m, "--ids", f"7 {MARK}"], ""),
                (1, ["template", *m, "--messages", broken], ""),
                (1, ["template", *m, "--messages", self.key], ""),
                (1, ["template", *m, "--messages", colon], ""),
                (1, ["chat", *m, "--history", colon], ""),
                (0, ["initialize", *m, "--dry-run", "--test-prompt", MARK], ""),
                (2, ["tokenize", *m, MARK], ""),
                (2, ["perplexity", *m], MARK)):
            with self.subTest(args=args):
                self.look(code, *args, stdin=stdin)

    def test_key(self):
        """Too short, too long, wrong, or not there."""
        log = path("keyed.audit")
        self.ok("logits", "--model", tiny(), "--ids", "1", "--audit", log, "--audit-key-file",
                self.key)
        for text, code in ((MARK, 2), (MARK * 2000, 1), (f"{MARK} is another one", 1)):
            other = write("other.key", text)
            os.chmod(other, 0o600)
            for args in (["logits", "--model", tiny(), "--ids", "1", "--audit", log],
                         ["audit", "verify", log], ["audit", "verify", log, "--json"]):
                r = ign(*args, "--audit-key-file", other)
                self.assertEqual(r.code, code, r)
                self.assertNotIn(MARK.encode(), r.err + r.out, r)
        os.chmod(self.key, 0o644)
        self.fails(2, "audit", "verify", log, "--audit-key-file", self.key)
        self.fails(4, "audit", "verify", log, "--audit-key-file", path("no.key"))


if __name__ == "__main__":
    main()
