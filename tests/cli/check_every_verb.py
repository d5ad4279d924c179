"""Every verb of the table under its long name. The table is the program's own, `ign help --json`, so
that a new verb is covered on its first day.
"""
import os

from cli_rig import Case, ign, main, path, tiny, write

LONG = ["module", "llm-infrastructure"]


def verbs():
    return [v["name"] for v in ign("help", "--json").json()["verbs"]]


# How each verb is made to do its work on a tiny model. A verb that is not named here is called with
# nothing but its name.
def calls():
    m = ["--model", tiny()]
    text = write("every.txt", "the inner ring of the pump " * 40)
    talk = write("every.json", '[{"role":"user","content":"Hello"}]')
    short = ["--max-tokens", "3", "--seed", "1"]
    return {
        "generate": [*m, "--prompt", "x", *short, "--output-file", path("every.out")],
        "chat": [*m, *short, "--history", path("every-talk.json")],
        "inspect": [tiny()], "tokenize": [*m, "--text", "x"], "detokenize": [*m, "--ids", "70"],
        "template": [*m, "--messages", talk], "logits": [*m, "--ids", "5 6"],
        "perplexity": [*m, "--file", text, "--context", "512"],
        "initialize": [*m, "--test-prompt", "x"],
        "imatrix": [*m, "--file", text, "--context", "512", "--output", path("every.dat")],
        "quantize": [tiny(), path("every.gguf"), "--type", "q8_0"],
        "embed": [*m, "--text", "x"],
        "compare": [tiny(), tiny(), "--file", text, "--context", "512"],
        "benchmark": [*m, "--prompt-tokens", "16", "--new-tokens", "4", "--repeat", "1"],
        "config": ["show"], "audit": ["tail", path("every.audit")], "completion": ["bash"], "models": ["list"],
    }


def run(words):
    if os.path.exists(path("every-talk.json")):
        os.unlink(path("every-talk.json"))
    args = calls().get(words[-1], [])
    return ign(*words, *args, stdin="hello\n" if words[-1] == "chat" else "")


class Long(Case):
    def test_names(self):
        """`ign module llm-infrastructure VERB` is `ign VERB`."""
        found = verbs()
        self.assertGreaterEqual(len(found), 10)
        for verb in found:
            a, b = ign(verb, "--help"), ign(*LONG, verb, "--help")
            self.assertEqual((a.code, a.out, a.err), (b.code, b.out, b.err))
            self.assertEqual(a.code, 0, a)
            self.assertIn(verb, a.text)
            a, b = ign(verb, "--no-such-flag"), ign(*LONG, verb, "--no-such-flag")
            self.assertEqual((a.code, a.out, a.err), (b.code, b.out, b.err))
            self.assertEqual(a.code, 2, a)

    def test_runs(self):
        """Each does its work under its long name."""
        for verb in verbs():
            a, b = run([verb]), run([*LONG, verb])
            self.assertEqual(a.code, b.code, (a, b))
            self.assertNotEqual(b.code, 2, b)
            if verb in ("generate", "chat", "inspect", "tokenize", "logits", "perplexity", "help"):
                self.assertEqual(a.code, 0, a)
                self.assertEqual(a.out, b.out)

    def test_no_module(self):
        self.fails(2, "module", "generate")
        self.fails(2, *LONG, "frobnicate")
        self.fails(2, *LONG)


if __name__ == "__main__":
    main()
