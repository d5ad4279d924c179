"""The audit log by the program: a line for each action, whatever its end; and the log beside it."""
import array
import fcntl
import json
import os
import resource
import signal
import stat
import subprocess
import termios
import time

from cli_rig import IGN, SLOW, Case, env, ign, main, path, tiny, write

ZEROS = "0" * 64


def fresh(name):
    for end in ("", ".head", ".lock"):
        if os.path.exists(path(name) + end):
            os.unlink(path(name) + end)
    return path(name)


def lines(log):
    with open(log, encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def unread(pipe):
    """Bytes in a pipe that nobody has taken yet."""
    count = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, count)
    return count[0]


class Lines(Case):
    def act(self, log, *args, code=0, **more):
        """Runs with --audit; the line that this has added."""
        before = len(lines(log)) if os.path.exists(log) else 0
        r = ign(*args, "--audit", log, **more)
        self.assertEqual(r.code, code, r)
        after = lines(log)
        self.assertEqual(len(after), before + 1, r)
        self.assertTrue(self.ok("audit", "verify", log, "--json").json()["intact"])
        return after[-1]

    def test_members(self):
        log, m = fresh("members"), tiny()
        a = self.act(log, "generate", "--model", m, "--prompt", "hello", "--system", "s",
                     "--max-tokens", "3", "--ignore-eos", "--temperature", "0.5", "--stop", "never")
        self.assertEqual(list(a), ["n", "time", "user", "uid", "host", "process", "verb", "outcome",
                                   "model", "model_sha256", "parameters", "prompt_tokens",
                                   "new_tokens", "prev"])
        self.assertEqual((a["n"], a["prev"], a["verb"], a["outcome"], a["new_tokens"], a["uid"]),
                         (1, ZEROS, "generate", "done", 3, os.getuid()))
        self.assertRegex(a["time"], r"^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        self.assertEqual(a["model"], os.path.basename(m))
        self.assertIsNone(a["model_sha256"])
        self.assertGreater(a["prompt_tokens"], 5)
        self.assertEqual(a["parameters"], {"max-tokens": 3, "temperature": 0.5, "ignore-eos": True,
                                           "model": m, "audit": log})
        b = self.act(log, "generate", "--model", m, "--prompt", "hello", "--system", "be brief",
                     "--max-tokens", "2", "--ignore-eos", "--seed", "1", "--audit-text", "--json")
        self.assertEqual(b["prompt"], "hello")
        self.assertEqual(b["parameters"]["system"], "be brief")
        again = self.ok("generate", "--model", m, "--prompt", "hello", "--system", "be brief",
                        "--max-tokens", "2", "--ignore-eos", "--seed", "1", "--json").json()
        self.assertEqual(b["answer"], again["text"])
        self.assertEqual((b["prompt_tokens"], b["new_tokens"]), (again["prompt_tokens"], 2))

    def test_checksum(self):
        """As it is recorded beside the model, and nothing else."""
        log, m = fresh("checksum"), path("named.gguf")
        os.link(tiny(), m)
        run = ["logits", "--model", m, "--ids", "1"]
        good = "ab" * 32
        for text, want in ((f"{good}  named.gguf\n", good), (f"{good} *named.gguf\n", good),
                           (f"{good}  other.gguf\n", None), (f"{good}\n", None), ("", None),
                           ("zz" * 32 + "  named.gguf\n", None), (good * 2, None)):
            write("named.gguf.sha256", text)
            self.assertEqual(self.act(log, *run)["model_sha256"], want, text)

    def test_verbs(self):
        log, m = fresh("verbs"), ["--model", tiny()]
        text = write("verbs.txt", "the inner ring of the pump " * 40)
        a = self.act(log, "logits", *m, "--ids", "5 6 7")
        self.assertEqual((a["verb"], a["prompt_tokens"], a["new_tokens"]), ("logits", 3, 0))
        self.assertNotIn("ids", a["parameters"])
        a = self.act(log, "perplexity", *m, "--file", text, "--context", "512")
        self.assertGreaterEqual(a["prompt_tokens"], 512)
        for verb, args in (("initialize", []), ("benchmark", ["--prompt-tokens", "8",
                                                              "--new-tokens", "2",
                                                              "--repeat", "1"])):
            if ign(verb, "--help").code == 0:
                self.assertEqual(self.act(log, verb, *m, *args)["verb"], verb)
        # What does not compute is no action, and does not know the flag.
        self.fails(2, "inspect", tiny(), "--audit", log)
        self.ok("inspect", tiny(), environ=env(IGN_AUDIT=log))

    def test_outcomes(self):
        log, m = fresh("outcomes"), ["--model", tiny()]
        p = ["--prompt", "x"]
        for code, outcome, args in (
                (4, "not_found", ["--model", "nothing", *p]), (1, "format", ["--model", ".", *p]),
                (1, "device", ["--model", tiny(nan=1), *p]), (2, "usage", m),
                (2, "range", [*m, *p, "--top-k", "9999"]),
                (3, "no_fit", [*m, "--prompt", "x" * 300]),
                (4, "not_found", [*m, *p, "--max-tokens", "1", "--output-file", "/no/such/one"])):
            a = self.act(log, "generate", *args, code=code)
            self.assertEqual(a["outcome"], outcome, args)
        self.assertEqual(a["new_tokens"], 1)
        # Flags that cannot be understood are no action: nothing was going to be done.
        self.fails(2, "generate", *m, *p, "--temperature", "9", "--audit", log)
        self.assertEqual(len(lines(log)), 7)

    def test_settings(self):
        """By variable and by file, with a key."""
        log, key = fresh("settings"), write("settings.key", "0123456789abcdef\n")
        os.chmod(key, 0o600)
        conf = write("audit.toml", f'audit = "{log}"\naudit-key-file = "{key}"\n')
        self.ok("logits", "--model", tiny(), "--ids", "1", "--config", conf)
        self.ok("logits", "--model", tiny(), "--ids", "1",
                environ=env(IGN_AUDIT=log, IGN_AUDIT_KEY_FILE=key))
        d = self.ok("audit", "verify", "--config", conf, "--json").json()
        self.assertEqual((d["entries"], d["intact"], d["keyed"], d["first_bad"]),
                         (2, True, True, None))
        self.fails(2, "audit", "verify", log)

    def test_chat(self):
        """A line for each turn, one for a chat without any."""
        log, m = fresh("chat"), ["--model", tiny(), "--max-tokens", "2", "--ignore-eos"]
        ign("chat", *m, "--audit", log, "--audit-text", stdin="one\n/system brief\ntwo\n/quit\n")
        self.assertEqual([(a["verb"], a["outcome"], a["prompt"], a["new_tokens"])
                          for a in lines(log)],
                         [("chat", "done", "one", 2), ("chat", "done", "two", 2)])
        self.act(log, "chat", *m, stdin="/help\n")
        a = self.act(log, "chat", *m, stdin="x" * 400 + "\n", code=3)
        self.assertEqual(a["outcome"], "no_fit")
        self.act(log, "chat", "--model", "nothing", code=4)


class Ends(Case):
    def test_interrupted(self):
        """While it waits for the prompt, and in the middle of an answer."""
        log = fresh("interrupted")
        big = tiny(context=32768)
        for n, args in enumerate((["--prompt-file", "-"],
                                  ["--prompt", "x", "--unbounded", "--ignore-eos", "--context",
                                   "32768"])):
            p = subprocess.Popen([IGN, "generate", "--model", big, *args, "--audit", log],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, env=env())
            if n == 0:
                p.stdin.write(b"hello")
                p.stdin.flush()
                while unread(p.stdin):
                    time.sleep(0.01)
            else:
                p.stdout.read(20)
            p.send_signal(signal.SIGINT)
            p.communicate(timeout=60 * SLOW)
            self.assertEqual(p.returncode, 130)
            a = lines(log)[-1]
            self.assertEqual((a["n"], a["outcome"]), (n + 1, "interrupted"))
        self.assertGreater(a["new_tokens"], 0)
        self.assertTrue(self.ok("audit", "verify", log, "--json").json()["intact"])

    def test_no_room(self):
        """A line that cannot be written: nothing is let go, exit code 1, and the log is as it was."""
        log = fresh("room")
        run = [IGN, "generate", "--model", tiny(), "--prompt", "x", "--max-tokens", "2",
               "--audit", log]
        subprocess.run(run, env=env(), check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        size = os.path.getsize(log)

        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, size + 10))
        p = subprocess.run([*run, "--json"], env=env(), preexec_fn=limit, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, timeout=60 * SLOW)
        self.assertEqual(p.returncode, 1, p)
        self.assertEqual(json.loads(p.stdout)["error"]["code"], "io")
        self.assertIn(b"not in the audit log", p.stderr)
        self.assertEqual(os.path.getsize(log), size)
        self.assertTrue(self.ok("audit", "verify", log, "--json").json()["intact"])

        def limit_chat():
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, size + 10))
        p = subprocess.run([IGN, "chat", "--model", tiny(), "--max-tokens", "1", "--audit", log],
                           input=b"one\ntwo\n", env=env(), preexec_fn=limit_chat,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60 * SLOW)
        self.assertEqual(p.returncode, 1, p)
        self.assertEqual(p.stderr.count(b"ign: error"), 1)

    def test_refused_before(self):
        """Where no line can be written, nothing is begun."""
        log = fresh("refused")
        run = ["generate", "--model", tiny(), "--prompt", "x", "--max-tokens", "2", "--audit"]
        self.fails((1, 4), *run, "/no/such/folder/log")
        self.fails(1, *run, "/")
        self.ok(*run, log)
        with open(log, "ab") as f:
            f.write(b"{}\n")
        r = self.fails(1, *run, log, "--json")
        self.assertIn("ign audit verify", r.json()["error"]["hint"])
        r = ign("audit", "verify", log, "--json")
        self.assertEqual((r.code, r.json()["first_bad"], r.json()["entries"]), (1, 2, 1))
        r = ign("audit", "verify", log)
        self.assertEqual(r.code, 1)
        self.assertRegex(r.text, r"^not intact: 1 entries are in order; entry 2: ")

    def test_side_by_side(self):
        log = fresh("many")
        run = [IGN, "logits", "--model", tiny(), "--ids", "1", "--audit", log, "--quiet"]
        for _ in range(3):
            many = [subprocess.Popen(run, env=env(), stdout=subprocess.DEVNULL) for _ in range(4)]
            self.assertEqual([p.wait(timeout=60 * SLOW) for p in many], [0] * 4)
        d = self.ok("audit", "verify", log, "--json").json()
        self.assertEqual((d["entries"], d["intact"]), (12, True))
        self.assertEqual(len(self.ok("audit", "tail", log, "--lines", "5", "--json")
                             .json()["lines"]), 5)
        self.assertEqual(len(self.ok("audit", "tail", log).text.splitlines()), 10)
        self.fails(4, "audit", "verify", path("no log"))
        self.fails(2, "audit", "frobnicate", log)
        self.assertFalse(os.path.exists(path("no log.lock")))

    def test_tail_of_anything(self):
        """Also of what is no log at all: a line may hold any byte."""
        log = write("zeros.log", "a\0b\n\0\n")
        self.assertEqual(len(self.ok("audit", "tail", log, "--json").json()["lines"]), 2)


class Log(Case):
    RUN = ["logits", "--model", tiny(), "--ids", "1"]

    def test_levels(self):
        for args, some, none in (([], b"KV cache", b"begins"), (["--log-level", "error"], b"", b"ign"),
                                 (["--log-level", "debug"], b"logits begins", b"warn"),
                                 (["--verbose"], b"logits begins", b"warn"),
                                 (["--quiet"], b"", b"ign"),
                                 (["--quiet", "--log-level", "info"], b"KV cache", b"begins")):
            r = self.ok(*self.RUN, *args)
            self.assertIn(some, r.err, args)
            self.assertNotIn(none, r.err, args)
        self.fails(2, *self.RUN, "--log-level", "loud")

    def test_file(self):
        text, jsonl = fresh("text.log"), fresh("json.log")
        for _ in range(2):
            r = self.ok(*self.RUN, "--log-file", text, "--log-level", "debug")
            self.assertEqual(r.err, b"")
            self.ok(*self.RUN, "--log-file", jsonl, "--log-format", "json", "--verbose")
        ign("logits", "--model", "nothing", "--ids", "1", "--log-file", jsonl, "--log-format",
            "json")
        with open(text) as f:
            said = f.read().splitlines()
        self.assertEqual(sum("logits begins" in line for line in said), 2)
        for line in said:
            self.assertRegex(line, r"^20\d\d-\S+Z \d+ (error|warn|info|debug): .+$")
        docs = lines(jsonl)
        self.assertEqual({tuple(d) for d in docs}, {("time", "level", "process", "text")})
        self.assertEqual(docs[-1]["level"], "error")
        self.assertIn("no model 'nothing'", docs[-1]["text"])
        self.assertEqual(stat.S_IMODE(os.stat(text).st_mode), 0o600)
        answer = ("generate", "--raw", "--prompt", "x", "--max-tokens", "2", "--ignore-eos")
        for args, code, level, text in (((*answer, "--model", tiny()), 0, "info", "2 tokens"),
                                        ((*answer, "--model", "nothing"), 4, "error", "no model")):
            r = ign(*args, "--log-format", "json")
            self.assertEqual(r.code, code, r)
            said = [json.loads(line) for line in r.err.decode().splitlines()]
            self.assertEqual(said[-1]["level"], level, r)
            self.assertIn(text, said[-1]["text"], r)

    def test_no_room(self):
        """A log that cannot be written stops nothing, and is said once; so is one that cannot be
        opened."""
        if os.path.exists("/dev/full"):
            r = self.ok(*self.RUN, "--log-file", "/dev/full", "--log-level", "debug")
            self.assertEqual(r.err.count(b"lines of the log are lost"), 1, r)
            self.assertIn(b"No space left", r.err)
            with open("/dev/full", "wb") as full:
                p = subprocess.run([IGN, *self.RUN], stdout=subprocess.PIPE, stderr=full, env=env(),
                                   timeout=60 * SLOW)
            self.assertEqual(p.returncode, 0)
        self.fails(4, *self.RUN, "--log-file", "/no/such/folder/log")
        self.fails(1, *self.RUN, "--log-file", "/")
        both = path("both.log")
        r = self.fails(2, *self.RUN, "--log-file", both, "--audit", both)
        self.assertIn(b"same file", r.err)


if __name__ == "__main__":
    main()
