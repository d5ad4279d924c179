"""Wrong use, wrong values, broken streams, odd environments: the right code, one line, no surprise."""
import os
import subprocess
import sys
import unittest

from cli_rig import BYTE, IGN, Case, env, ign, main, path, tiny, write


class Flags(Case):
    def test_unknown(self):
        for args, hint in ((["generate", "--promt", "x"], b"--prompt"),
                           (["generate", "--max-token", "3"], b"--max-tokens"),
                           (["inspect", "--tensor", "f"], b"--tensors"),
                           (["generat"], b"generate"), (["tokenise"], b"tokenize")):
            r = self.fails(2, *args)
            self.assertIn(b"did you mean", r.err)
            self.assertIn(hint, r.err)
        self.fails(2)
        self.fails(2, "")
        self.fails(2, "-x")
        self.fails(2, "generate", "-p", "x")
        self.fails(2, "frobnicate", "--json")

    def test_not_yet(self):
        """Knobs and verbs of later versions are unknown, not ignored."""
        self.fails(2, "generate", "--prompt", "x", "--speculate", "1")
        self.fails(2, "generate", "--prompt", "x", "--device", "cuda")
        self.fails(2, "serve")

    def test_ranges(self):
        for flag, bad in (("--temperature", ("-0.1", "2.1", "nan", "inf", "", "x", "1,5", "0x1")),
                          ("--top-p", ("0.09", "1.1", "-1")), ("--top-k", ("-1", "1.5", "1e3")),
                          ("--min-p", ("-0.1", "1.1")), ("--repeat-penalty", ("0.4", "2.1")),
                          ("--max-tokens", ("0", "-1", "4097", "99999999999999999999")),
                          ("--seed", ("-1", "18446744073709551616", "x")),
                          ("--timeout", ("0", "-1", "x")), ("--threads", ("0", "-1", "9999")),
                          ("--context", ("0", "511", "-1", "x")), ("--logprobs", ("-1", "21")),
                          ("--batch", ("0",)), ("--device", ("", "gpu")), ("--kv-type", ("f8",)),
                          ("--color", ("yes",)), ("--logit-bias", ("x", "1", "=2", "1=", "1=x",
                                                                  "-1=2", "1=1e99", "1=nan"))):
            for value in bad:
                r = self.fails(2, "generate", "--model", tiny(), "--prompt", "x",
                               f"{flag}={value}", "--json")
                self.assertIn(flag.encode(), r.err)
        for flag, good in (("--temperature", ("0", "2")), ("--top-p", ("0.1", "1")),
                           ("--top-k", ("0", "267")), ("--max-tokens", ("1", "4096")),
                           ("--repeat-penalty", ("0.5", "2")), ("--logprobs", ("0", "20"))):
            for value in good:
                self.ok("generate", "--model", tiny(), "--prompt", "x", flag, value)
        self.ok("generate", "--model", tiny(), "--prompt", "x", "--max-tokens", "5000",
                "--unbounded")
        # Known only when the vocabulary is: still a wrong value.
        self.fails(2, "generate", "--model", tiny(), "--prompt", "x", "--logit-bias", "267=1")
        self.fails(2, "generate", "--model", tiny(), "--prompt", "x", "--top-k", "268")
        self.fails(2, "chat", "--model", tiny(), "--top-k", "268")
        self.fails(2, "generate", "--model", tiny(), "--prompt", "x", "--stop", "")

    def test_context(self):
        r = self.ok("generate", "--model", tiny(), "--prompt", "x" * 300, "--context", "512",
                    "--max-tokens", "1")
        self.assertIn(b"more than the 256 that the model was trained for", r.err)
        big = tiny(context=40000)
        self.ok("generate", "--model", big, "--prompt", "x", "--context", "40000", "--max-tokens",
                "1")
        self.fails(2, "generate", "--model", big, "--prompt", "x", "--context", "40001")
        self.fails(3, "generate", "--model", tiny(), "--prompt", "x" * 300)
        r = self.fails(3, "generate", "--model", tiny(), "--prompt", "x" * 300, "--json")
        self.assertEqual(r.json()["error"]["code"], "no_fit")

    def test_prompt(self):
        m = tiny()
        self.fails(2, "generate", "--model", m)
        self.fails(2, "generate", "--model", m, "--prompt", "x", "--prompt-file", "y")
        self.fails(4, "generate", "--model", m, "--prompt-file", path("no file"))
        self.fails(1, "generate", "--model", m, "--prompt-file", "/")
        self.fails(2, "generate", "--model", m, "--prompt", "x", "--raw", "--system", "y")
        self.ok("generate", "--model", m, "--prompt", "", "--max-tokens", "2")
        r = self.fails(2, "generate", "--model", m, "--prompt", "", "--raw")
        self.assertIn(b"empty", r.err)
        self.fails(2, "generate", "--model", m, "--prompt", "x", "operand")

    def test_not_found(self):
        for args in (["generate", "--prompt", "x"], ["tokenize", "--text", "x"], ["inspect"],
                     ["chat"], ["logits", "--ids", "1"], ["perplexity"], ["template"]):
            stdin = "[]" if args[0] == "template" else ""
            r = self.fails(4, *args, stdin=stdin)
            self.assertIn(b"ign models pull demo", r.err)
            name = ["nothing here"] if args[0] == "inspect" else ["--model", "nothing here"]
            self.fails(4, *args, *name, stdin=stdin)
        self.fails(2, "tokenize", "--model", "", "--text", "x")
        self.fails(4, "tokenize", "--model", "../no/such/file", "--text", "x")

    def test_dashes(self):
        os.makedirs(path("work"), exist_ok=True)
        os.symlink(tiny(), path("work/--tensors"))
        r = self.ok("inspect", "--json", "--", "--tensors", cwd=path("work"))
        self.assertEqual(r.json()["architecture"], "llama")
        self.ok("generate", "--model", tiny(), "--prompt=--json", "--max-tokens", "1")
        self.fails(2, "generate", "--model", tiny(), "--", "--prompt", "x")

    def test_text_in_arguments(self):
        """Formats and control characters in arguments are text."""
        for name in ("%n%s%n", "a\x1b[2Jb", "a\nb", "\u202e", b"\xff\xfe"):
            self.fails(4, "inspect", name)
        d = self.ok("tokenize", "--model", tiny(), "--text", "%n%s", "--json").json()
        self.assertEqual(d["ids"], [BYTE + b for b in b"%n%s"])

    def test_long_arguments(self):
        # One argument may have 128 KiB on Linux; many make a megabyte.
        word = "x" * 120000
        r = self.ok("tokenize", "--model", tiny(), "--text", word)
        self.assertEqual(len(r.text.split()), 120000)
        self.fails(4, "inspect", word)
        self.fails(2, "--" + word)
        self.fails(2, "generate", "--" + word)
        self.fails(2, word)
        stops = [a for i in range(9) for a in ("--stop", f"{i}" + word)]
        self.fails(2, "generate", "--model", tiny(), "--prompt", "x", *stops)

    def test_no_argv(self):
        if sys.platform != "linux":
            self.skipTest("needs execve with an empty argument list")
        code = ("import ctypes, sys; libc = ctypes.CDLL(None);"
                "libc.execve(sys.argv[1].encode(), (ctypes.c_char_p * 1)(None),"
                " (ctypes.c_char_p * 1)(None))")
        p = subprocess.run([sys.executable, "-c", code, IGN], stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, timeout=60)
        self.assertEqual(p.returncode, 2, p)


class Streams(Case):
    ARGS = {
        "generate": ["--prompt", "x", "--max-tokens", "5", "--ignore-eos"],
        "inspect": [], "tokenize": ["--text", "x"], "detokenize": ["--ids", "70 71"],
        "logits": ["--ids", "5"], "help": [], "version": [],
    }

    def each(self):
        for verb, args in self.ARGS.items():
            model = [] if verb in ("help", "version") else ["--model", tiny()]
            for more in ([], ["--json"]):
                yield [verb, *model, *args, *more]

    def test_full_disk(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("there is no /dev/full here")
        for args in self.each():
            with open("/dev/full", "wb") as full:
                p = subprocess.run([IGN, *args], stdin=subprocess.DEVNULL, stdout=full,
                                   stderr=subprocess.PIPE, env=env(), timeout=60)
            self.assertEqual(p.returncode, 1, args)
            self.assertIn(b"ign: error: ", p.stderr)
            self.assertIn(b"standard output", p.stderr)

    def test_closed_pipe(self):
        for args in self.each():
            r, w = os.pipe()
            os.close(r)
            p = subprocess.run([IGN, *args], stdin=subprocess.DEVNULL, stdout=w,
                               stderr=subprocess.PIPE, env=env(), timeout=60)
            os.close(w)
            self.assertEqual(p.returncode, 1, args)
            self.assertIn(b"ign: error: ", p.stderr)

    def test_reader_goes_away(self):
        """Generation ends when nobody reads any more."""
        p = subprocess.Popen([IGN, "generate", "--model", tiny(context=32768), "--context",
                              "32768", "--prompt", "x", "--unbounded", "--ignore-eos"],
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, env=env())
        p.stdout.read(50)
        p.stdout.close()
        err = p.stderr.read()
        self.assertEqual(p.wait(timeout=60), 1)
        self.assertIn(b"ign: error: ", err)
        p.stderr.close()

    def test_closed_descriptors(self):
        for args in self.each():
            for fd in (0, 1, 2):
                p = subprocess.run(["sh", "-c", f'"$@" {fd}{"<" if fd == 0 else ">"}&-', "sh", IGN,
                                    *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, env=env(), timeout=60)
                self.assertEqual(p.returncode, 1 if fd == 1 else 0, (fd, args, p))
        p = subprocess.run(["sh", "-c", '"$@" 0<&-', "sh", IGN, "tokenize", "--model", tiny()],
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env(), timeout=60)
        self.assertEqual(p.returncode, 1)

    def test_closed_descriptors_and_files(self):
        """With no standard output a file that is written must not take its place."""
        out = path("closed.json")
        p = subprocess.run(["sh", "-c", '"$@" 0<&- 1>&- 2>&-', "sh", IGN, "generate", "--model",
                            tiny(), "--prompt", "x", "--output-file", out, "--json"], env=env(),
                           timeout=60)
        self.assertEqual(p.returncode, 1)
        with open(out) as f:
            self.assertTrue(f.read().startswith('{"prompt":"x"'))

    def test_endless_input(self):
        if not os.path.exists("/dev/zero"):
            self.skipTest("there is no /dev/zero here")
        with open("/dev/zero", "rb") as zero:
            p = subprocess.run([IGN, "generate", "--model", tiny(), "--prompt-file", "-"],
                               stdin=zero, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               env=env(), timeout=60)
        self.assertEqual(p.returncode, 1)
        self.assertIn(b"standard input", p.stderr)


class Environment(Case):
    def test_locale(self):
        want = self.ok("generate", "--model", tiny(), "--prompt", "\u0130I", "--seed", "5",
                       "--temperature", "0.5", "--json").json()["token_ids"]
        for loc in ("C", "tr_TR.UTF-8", "de_DE.UTF-8", "", "nonsense", "C.UTF-8"):
            got = self.ok("generate", "--model", tiny(), "--prompt", "\u0130I", "--seed", "5",
                          "--temperature", "0.5", "--json", environ=env(LC_ALL=loc, LANG=loc))
            self.assertEqual(got.json()["token_ids"], want, loc)

    def test_no_home(self):
        bare = env(HOME=None)
        self.ok("tokenize", "--model", tiny(), "--text", "x", environ=bare)
        r = self.fails(4, "tokenize", "--text", "x", environ=bare)
        self.assertIn(b"HOME", r.err)
        self.ok("tokenize", "--model", tiny(), "--text", "x", environ={})

    def test_bad_variables(self):
        r = self.fails(2, "generate", "--model", tiny(), "--prompt", "x",
                       environ=env(IGN_TEMPERATURE="hot"))
        self.assertIn(b"IGN_TEMPERATURE", r.err)

    def test_odd_places(self):
        name = os.path.join(path("m\u00f6del \u65e5\u672c.gguf"))
        os.link(tiny(), name)
        self.ok("tokenize", "--model", name, "--text", "x")
        raw = os.path.join(os.fsencode(os.path.dirname(name)), b"\xff\xfe.gguf")
        os.link(tiny(), raw)
        self.ok("tokenize", "--model", raw, "--text", "x")
        os.makedirs(path("readonly"), exist_ok=True)
        os.chmod(path("readonly"), 0o555)
        self.ok("generate", "--model", tiny(), "--prompt", "x", cwd=path("readonly"))

    def test_color(self):
        r = ign("inspect", "nothing", "--color", "always")
        self.assertIn(b"\x1b[1;31mign: error:\x1b[0m", r.err)
        for args in ([], ["--color", "never"], ["--color", "auto"]):
            self.assertNotIn(b"\x1b", ign("inspect", "nothing", *args).err)


if __name__ == "__main__":
    main()
