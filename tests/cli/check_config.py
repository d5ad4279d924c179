"""Settings by the program itself: files, their order, what is refused, show, check and path."""
import json
import os
import random
import re
import shutil
import subprocess
import unittest

try:
    import tomllib
except ImportError:  # before Python 3.11
    tomllib = None

from cli_rig import FOLDER, HOME, IGN, Case, env, ign, main, path, tiny, write

USER = os.path.join(HOME, ".config/ign/ign.toml")


def user(text):
    """The user's settings; None takes them away."""
    shutil.rmtree(os.path.join(HOME, ".config"), ignore_errors=True)
    if text is not None:
        os.makedirs(os.path.dirname(USER))
        with open(USER, "w", encoding="utf-8") as f:
            f.write(text)


GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../model/golden")


class Sampling(Case):
    """What a model's own file says of sampling counts before the default, and after all else."""

    def tearDown(self):
        user(None)

    def folder(self, **settings):
        target = path("own")
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(os.path.join(GOLDEN, "tiny-qwen2"), target)
        with open(os.path.join(target, "generation_config.json"), "w", encoding="utf-8") as f:
            json.dump(dict(settings, eos_token_id=255), f)
        return target

    def used(self, model, *args, **more):
        run = self.ok("generate", "--model", model, "--raw", "--prompt", "x", "--max-tokens", "1",
                      "--context", "512", "--verbose", *args, **more)
        text = re.search(r"sampling: temperature (\S+), top-k (\d+), top-p (\S+), min-p (\S+), "
                         r"repeat penalty (\S+)", run.err.decode())
        return [float(x.rstrip(",")) for x in text.groups()]

    def test_order(self):
        plain = self.folder()
        self.assertEqual(self.used(plain), [0.7, 40, 0.9, 0, 1])
        own = self.folder(do_sample=True, temperature=0.5, top_k=7, top_p=0.25, min_p=0.125,
                          repetition_penalty=1.5)
        self.assertEqual(self.used(own), [0.5, 7, 0.25, 0.125, 1.5])
        user("top-k = 3\n")
        self.assertEqual(self.used(own), [0.5, 3, 0.25, 0.125, 1.5])
        self.assertEqual(self.used(own, environ=env(IGN_TOP_K="4")), [0.5, 4, 0.25, 0.125, 1.5])
        self.assertEqual(self.used(own, "--top-k", "5", "--temperature", "1", "--top-p", "0.75",
                                   "--min-p", "0", "--repeat-penalty", "1",
                                   environ=env(IGN_TOP_K="4")), [1, 5, 0.75, 0, 1])
        # a default that somebody has typed is no default
        self.assertEqual(self.used(own, "--top-k", "40")[1], 40)

    def test_greedy(self):
        model = self.folder(do_sample=False, temperature=0.5)
        self.assertEqual(self.used(model)[0], 0)
        self.assertEqual(self.used(model, "--temperature", "1")[0], 1)

    def test_inspect(self):
        own = self.folder(temperature=0.5, top_k=7, min_p=None)
        doc = self.ok("inspect", own, "--json").json()
        self.assertEqual(doc["sampling"], {"temperature": 0.5, "top-k": 7})
        self.assertIn("temperature 0.5, top-k 7", self.ok("inspect", own).text)
        self.assertEqual(self.ok("inspect", tiny(), "--json").json()["sampling"], {})

    def test_absurd(self):
        """Out of a flag's bounds, or no number: a warning, and the default."""
        own = self.folder(temperature=-1, top_k="many", top_p=7.5, min_p=True,
                          repetition_penalty=1e30)
        self.assertEqual(self.used(own), [0.7, 40, 0.9, 0, 1])
        run = self.ok("inspect", own)
        for name in ("temperature", "top_k", "top_p", "min_p", "repetition_penalty"):
            self.assertIn(f"'{name}'".encode(), run.err)


class Files(Case):
    def tearDown(self):
        user(None)

    def value(self, name, *args, verb=None, **more):
        doc = self.ok("config", "show", "--json", *args, **more).json()
        knob = (doc["verbs"][verb] if verb else doc["knobs"])[name]
        return knob["value"], knob["origin"], knob["where"]

    def test_order(self):
        """Flag, variable, --config, the user's file, default: the first of them wins."""
        more = write("more.toml", "top-k = 3\n")
        self.assertEqual(self.value("top-k"), (40, "default", "default"))
        user("# mine\ntop-k = 2\ntop-p = 0.5\n")
        self.assertEqual(self.value("top-k"), (2, "file", f"{USER}, line 2"))
        self.assertEqual(self.value("top-k", "--config", more), (3, "file", f"{more}, line 1"))
        self.assertEqual(self.value("top-k", environ=env(IGN_CONFIG=more))[0], 3)
        self.assertEqual(self.value("top-k", "--config=" + more, environ=env(IGN_CONFIG="none"))[0], 3)
        self.assertEqual(self.value("top-k", "--config", more, environ=env(IGN_TOP_K="4")),
                         (4, "environment", "IGN_TOP_K"))
        self.assertEqual(self.value("top-k", "--config", more, "--top-k", "5",
                                    environ=env(IGN_TOP_K="4")), (5, "flag", "--top-k"))
        self.assertEqual(self.value("top-p", "--config", more)[0], 0.5)
        other = path("elsewhere")
        os.makedirs(os.path.join(other, "ign"), exist_ok=True)
        write("elsewhere/ign/ign.toml", "top-k = 6\n")
        self.assertEqual(self.value("top-k", environ=env(XDG_CONFIG_HOME=other))[0], 6)

    def test_machine(self):
        """/etc/ign/ign.toml, in a file system of its own."""
        etc = path("etc/ign")
        os.makedirs(etc, exist_ok=True)
        write("etc/ign/ign.toml", "top-k = 1\nmin-p = 0.25\n")
        inside = ["unshare", "-rm", "sh", "-c", f'mount --bind {path("etc")} /etc && exec "$@"', "-"]
        if subprocess.run(inside + ["true"], stderr=subprocess.DEVNULL).returncode:
            self.skipTest("this system lets nobody mount")
        user("top-k = 2\n")
        run = subprocess.run(inside + [IGN, "config", "show", "--json"], env=env(),
                             stdout=subprocess.PIPE, check=True)
        knobs = json.loads(run.stdout)["knobs"]
        self.assertEqual(knobs["min-p"]["where"], "/etc/ign/ign.toml, line 2")
        self.assertEqual(knobs["top-k"]["where"], f"{USER}, line 1")

    def test_used(self):
        """What a file says is what a verb does, for that verb alone where it says so."""
        m = tiny()
        user(f"model = '{m}'\ntemperature = 0\n[generate]\nmax-tokens = 3\n[chat]\nmax-tokens = 5\n")
        r = self.ok("generate", "--prompt", "x", "--json")
        self.assertEqual(r.json()["new_tokens"], 3)
        r = self.ok("generate", "--prompt", "x", "--json", "--max-tokens", "2")
        self.assertEqual(r.json()["new_tokens"], 2)
        self.ok("inspect")
        self.assertEqual(self.value("max-tokens")[0], 512)
        self.assertEqual(self.value("max-tokens", verb="chat")[0], 5)
        user(f"model = '{m}'\ntemperature = 0\nignore-eos = true\nmax-tokens = 40\n")
        text = self.ok("generate", "--prompt", "x", "--json").json()["text"]
        with open(USER, "a", encoding="utf-8") as f:
            f.write(f"stop = ['never there', {json.dumps(text[5:9], ensure_ascii=False)}]\n")
        self.assertEqual(self.ok("generate", "--prompt", "x", "--json").json()["stop_reason"], "stop")

    def test_show_is_a_file(self):
        user('system = "a\\n\\"b\\""\nstop = ["x"]\n[chat]\ntop-k = 7\n')
        first = self.ok("config", "show", "--origin")
        self.assertIn(f"# {USER}, line 1".encode(), first.out)
        user(None)
        again = self.ok("config", "show", "--config", write("shown.toml", first.out))
        user('system = "a\\n\\"b\\""\nstop = ["x"]\n[chat]\ntop-k = 7\n')
        self.assertEqual(again.out, self.ok("config", "show").out)
        self.assertIn(b'system = "a\\n\\"b\\""', again.out)

    def test_every_knob(self):
        """Everything that a variable may set can be shown, and no flag of one call is."""
        shown = self.ok("config", "show", "--json").json()["knobs"]
        page = self.ok("help", "--all").text
        for name in shown:
            self.assertIn("IGN_" + name.upper().replace("-", "_"), page)
        self.assertFalse({"prompt", "json", "config", "history"} & set(shown))
        self.fails(2, "config", "show", "--prompt", "x")


@unittest.skipUnless(tomllib, "this Python has no TOML")
class Toml(Case):
    """Python's own reader of the whole language: what is read here is TOML, with the same values."""

    def seeds(self):
        folder = os.path.join(os.path.dirname(__file__), "../config/corpus_config_file")
        for name in sorted(os.listdir(folder)):
            with open(os.path.join(folder, name), "rb") as f:
                yield f.read()

    def agree(self, data):
        """Ours may refuse more, never less; and reads what Python reads. Returns whether it reads."""
        r = ign("config", "show", "--config", write("seed.toml", data))
        self.assertIn(r.code, (0, 2), r)
        if r.code:
            return False
        theirs = tomllib.loads(data.decode().removeprefix("\ufeff"))
        ours = tomllib.loads(r.out.decode())
        for name, value in theirs.items():
            if isinstance(value, dict):
                for key, inner in value.items():
                    self.assertEqual(ours.get(name, {}).get(key, ours.get(key)), inner, data)
            elif value != "":
                self.assertEqual(ours[name], value, data)
        return True

    def test_seeds(self):
        self.assertGreater(sum(self.agree(data) for data in self.seeds()), 3)

    def test_mutated(self):
        """Bytes changed, doubled and taken out at random, the same ones every time."""
        rng = random.Random(4)
        good = [data for data in self.seeds() if self.agree(data)]
        read = 0
        for _ in range(300):
            data = bytearray(rng.choice(good))
            for _ in range(rng.randint(1, 2)):
                i = rng.randrange(len(data) + 1)
                piece = rng.choice((b"", b'"', b"'", b"\n", b"#", b"[", b"]", b"=", b".", b"_", b"0",
                                    b"\\", b",", b" ", b"\r", b"e", b"-", b"+", data[i:i + 9] * 2))
                data[i:i + rng.randint(0, 2)] = piece
            read += self.agree(bytes(data))
        self.assertGreater(read, 20)

    def test_show(self):
        doc = self.ok("config", "show", "--json").json()["knobs"]
        page = tomllib.loads(self.ok("config", "show", "--origin").text)
        self.assertEqual(page, {name: knob["value"] for name, knob in doc.items()
                                if knob["value"] is not None and knob["value"] != []})


class Broken(Case):
    def tearDown(self):
        user(None)

    def test_every_verb(self):
        """A broken file stops each verb but those that help to mend it."""
        user("top-k = 1\ntemprature = 1\n")
        words = f"there is no setting temprature ({USER}, line 2, column 1); did you mean temperature?"
        verbs = [v["name"] for v in self.ok("help", "--json").json()["verbs"]]
        for verb in set(verbs) - {"help", "version", "config", "completion", "doctor", "status"}:
            r = self.fails(2, verb)
            self.assertIn(words.encode(), r.err)
            self.fails(2, verb, "--json")
        for verb in ("help", "version"):
            self.assertIn(("ign: warning: " + words).encode(), self.ok(verb).err)
        self.ok("completion", "bash")
        self.assertIn(words.encode(), self.ok("config", "path").err)
        for action in ("show", "check"):
            r = ign("config", action)
            self.assertEqual(r.code, 2, r)
            self.assertEqual(r.err, f"ign: error: {words}\n".encode())
            self.assertTrue(r.out)
            r = ign("config", action, "--json")
            self.assertEqual(r.code, 2, r)
            self.assertEqual(r.json()["files"][1]["state"], "broken")
            self.assertEqual(r.json()["files"][1]["error"], words)
        self.assertFalse(ign("config", "check", "--json").json()["ok"])

    def test_check(self):
        good = write("good.toml", "[generate]\nmax-tokens = 9000\nunbounded = true\n")
        r = self.ok("config", "check", "--config", good)
        self.assertIn(b"read    " + good.encode(), r.out)
        self.assertIn(b"absent  " + USER.encode(), r.out)
        self.assertTrue(self.ok("config", "check", "--json", "--config", good).json()["ok"])
        lifted = write("lifted.toml", "max-tokens = 9000\n")
        r = ign("config", "check", "--config", lifted)
        self.assertEqual(r.code, 2, r)
        self.assertIn(f"9000 is not in 1..4096 ({lifted}, line 1, max-tokens)".encode(), r.err)
        r = self.ok("config", "path", "--config", good)
        self.assertEqual(r.text.split("\n"), ["/etc/ign/ign.toml", USER, good, ""])
        self.fails(2, "config")
        self.fails(2, "config", "edit")
        self.fails(2, "config", "show", "check")

    def test_codes(self):
        run = lambda *args: self.fails(*args[:1], "tokenize", "--text", "x", "--config", *args[1:])
        run(4, path("no file"))
        run(4, "")
        run(1, FOLDER)
        run(1, "/dev/zero")
        run(2, write("a.toml", "top-k = 1\ntop-k = 2\n"))
        run(2, write("a.toml", b"\xff\xfet\x00o\x00p\x00"))
        run(2, write("a.toml", "top-p = 2\n"))
        run(2, write("a.toml", b"system = \"\x1b[2J\"\n"))
        run(2, write("a.toml", "stop = " + "[" * 100000))
        run(2, write("a.toml", b"\x00" * 1000))
        run(1, write("a.toml", "#" * (1 << 20) + "#"))
        os.makedirs(path("a\x1b[2J\nb"), exist_ok=True)
        run(2, write("a\x1b[2J\nb/c.toml", "x = 1"))
        self.fails(2, "tokenize", "--config")
        with open(path("huge.toml"), "wb") as f:
            f.truncate(1 << 40)
        run(1, path("huge.toml"))
        os.mkfifo(path("fifo.toml"))
        run(1, path("fifo.toml"))
        os.symlink(path("loop.toml"), path("loop.toml"))
        run(1, path("loop.toml"))

    def test_no_permission(self):
        os.chmod(write("closed.toml", "top-k = 1\n"), 0)
        more = {"user": 65534} if os.geteuid() == 0 else {}
        os.chmod(FOLDER, 0o755)
        try:
            r = ign("tokenize", "--config", path("closed.toml"), **more)
        except PermissionError:
            self.skipTest("only its owner can run the program")
        finally:
            os.chmod(FOLDER, 0o700)
        self.assertEqual(r.code, 1, r)
        self.assertIn(f"cannot open: Permission denied ({path('closed.toml')})".encode(), r.err)

    def test_odd_homes(self):
        """Services have homes that are none."""
        for home in ("/nonexistent", "/dev/null", "", "relative", None):
            r = ign("config", "path", environ=env(HOME=home))
            self.assertEqual(r.code, 0, r)
            self.assertIn(b"/etc/ign/ign.toml\n", r.out)
            self.assertEqual(r.err, b"", r)

    def test_nothing_of_a_secret(self):
        """A key in the wrong place is refused by its name; what was given for it is not shown."""
        for text in ("api-key = 'hunter2'", "password = \"hunter2\"", "[generate]\nkey = 'hunter2'"):
            for args in (["version"], ["config", "show"], ["config", "check", "--json"],
                         ["tokenize", "--text", "x"]):
                r = ign(*args, "--config", write("s.toml", text))
                self.assertNotIn(b"hunter2", r.out + r.err)

    def test_truncated(self):
        """A file cut at each byte is read or refused, never a crash."""
        text = ('# c\r\nmodel = "a\\u00e9\\n"\nstop = ["x", # y\n \'z\']\n[chat]\n'
                'temperature = 1.5e-1\n').encode()
        for i in range(len(text)):
            r = ign("config", "check", "--config", write("cut.toml", text[:i]))
            self.assertIn(r.code, (0, 2), r)


class Manual(Case):
    def pages(self):
        verbs = [v["name"] for v in self.ok("help", "--json").json()["verbs"]]
        pages = {"ign.1": self.ok("help", "--man").out,
                 "ign.toml.5": self.ok("help", "--man", "ign.toml").out}
        for verb in verbs:
            pages[f"ign-{verb}.1"] = self.ok("help", "--man", verb).out
        return pages

    def test_lint(self):
        if not shutil.which("mandoc"):
            self.skipTest("no mandoc")
        for name, page in self.pages().items():
            run = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", write(name, page)],
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            self.assertEqual((run.returncode, run.stdout), (0, b""), name)

    def test_complete(self):
        """Every flag of --help is on the verb's page, as a reader sees it."""
        if not shutil.which("mandoc"):
            self.skipTest("no mandoc")
        for name, page in self.pages().items():
            text = subprocess.run(["mandoc", "-T", "ascii", write(name, page)], env=env(MANWIDTH="300"),
                                  stdout=subprocess.PIPE, check=True).stdout.decode()
            text = "".join(c for i, c in enumerate(text) if c != "\b" and text[i + 1:i + 2] != "\b")
            if name in ("ign.1", "ign.toml.5"):
                continue
            for line in self.ok("help", name[4:-2]).text.splitlines():
                if line.startswith("  --"):
                    self.assertIn(line.split()[0], text.split(), name)

    def test_example(self):
        """The example of ign.toml(5) is a file that is read."""
        page = self.ok("help", "--man", "ign.toml").text
        lines = [line[3:-3] for line in page.splitlines() if line.startswith("\\fB    ")]
        self.assertGreater(len(lines), 5)
        text = "\n".join(lines).replace("\\-", "-").replace("\\(aq", "'").replace("\\&", "")
        self.ok("config", "check", "--config", write("example.toml", text))

    def test_unknown(self):
        self.fails(2, "help", "--man", "frobnicate")
        self.fails(2, "help", "ign.toml")


if __name__ == "__main__":
    main()
