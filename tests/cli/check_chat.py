"""Conversations: commands, history files, what is computed again, what a full context does."""
import json
import os
import re
import subprocess
import time

from cli_rig import BYTE, IGN, STOP, Case, env, ign, main, path, read, tiny, write


class Chat(Case):
    # The tiny model talks without end; these make short answers.
    SHORT = ["--max-tokens", "8", "--seed", "1"]

    def chat(self, lines, *args, model=None):
        return self.ok("chat", "--model", model or tiny(context=4096), *self.SHORT, "--verbose",
                       *args, stdin=lines)

    def prefills(self, r):
        return [int(n) for n in re.findall(rb"prefill (\d+) tokens", r.err)]

    def test_two_turns(self):
        r = self.chat("hello there\nand again\n", "--ignore-eos", "--temperature", "0")
        self.assertEqual(len(self.prefills(r)), 2)
        # The same, each turn from the beginning, through the template by hand.
        h = path("two.json")
        self.chat("hello there\nand again\n", "--ignore-eos", "--temperature", "0", "--history", h)
        talk = json.loads(read("two.json"))
        self.assertEqual([m["role"] for m in talk], ["user", "assistant"] * 2)
        self.assertEqual(talk[0]["content"], "hello there")
        self.assertEqual(r.text, "".join(m["content"].rstrip("\n") + "\n" for m in talk[1::2]))
        prompt = self.ok("template", "--model", tiny(), stdin=json.dumps(talk[:3])).text
        d = self.ok("generate", "--model", tiny(context=4096), "--raw", "--prompt", prompt,
                    "--ignore-eos", "--temperature", "0", "--max-tokens", "8", "--json").json()
        self.assertEqual(d["text"], talk[3]["content"])

    def test_only_new_tokens(self):
        long = "a long first message " * 60
        # An answer that ends by itself is in the session word for word.
        r = self.chat(long + "\nshort\n/regenerate\n", "--logit-bias", f"{STOP}=8")
        first, second, again = self.prefills(r)
        self.assertGreater(first, 700)
        self.assertLess(second, 80)
        self.assertEqual(again, 1)

    def test_commands(self):
        saved = path("saved.json")
        r = self.chat(f"/system be brief\n/system\none\n/reset\ntwo\n/save {saved}\n//slash\n"
                      "/help\n/quit\nnever\n")
        talk = json.loads(read("saved.json"))
        self.assertEqual([m["role"] for m in talk], ["system", "user", "assistant"])
        self.assertEqual(talk[0]["content"], "be brief")
        self.assertEqual(talk[1]["content"], "two")
        self.assertIn("be brief\n", r.text)
        self.assertIn("/regenerate", r.text)
        self.assertEqual(len(self.prefills(r)), 3)
        for line in ("/nonsense", "/save", "/save " + path("no folder/x")):
            r = ign("chat", "--model", tiny(), stdin=line + "\n")
            self.assertIn(r.code, (1, 2, 4), r)
            self.assertIn(b"ign: error: ", r.err)
        self.assertEqual(self.chat("/regenerate\n").text, "")
        self.assertEqual(self.chat("\n  \n").text, "")

    def test_lines(self):
        h = path("lines.json")
        self.chat("one\\\ntwo\nlast without end", "--history", h)
        talk = json.loads(read("lines.json"))
        self.assertEqual(talk[0]["content"], "one\ntwo")
        self.assertEqual(talk[2]["content"], "last without end")

    def test_history(self):
        h = path("h.json")
        if os.path.exists(h):
            os.unlink(h)
        self.chat("first\n", "--history", h, "--system", "be brief")
        self.chat("second\n", "--history", h)
        talk = json.loads(read("h.json"))
        self.assertEqual([m["role"] for m in talk],
                         ["system", "user", "assistant", "user", "assistant"])
        self.chat("third\n", "--history", h, "--system", "be long")
        self.assertEqual(json.loads(read("h.json"))[0]["content"], "be long")
        # A question without an answer is asked at once.
        write("open.json", '[{"role":"user","content":"pending"}]')
        r = self.chat("", "--history", path("open.json"))
        self.assertEqual(len(json.loads(read("open.json"))), 2)
        for bad in ("{}", "[", '[{"role":"tool","content":"x"}]', '[{"role":"user"}]',
                    '[{"role":"user","content":"x"},{"role":"system","content":"y"}]'):
            self.fails(1, "chat", "--model", tiny(), "--history", write("bad.json", bad))
            self.assertEqual(read("bad.json").decode(), bad)

    def test_full_context(self):
        """256 positions: the oldest turns go, the system message and the last question stay."""
        h = path("full.json")
        lines = "".join(f"question number {i} of many\n" for i in range(12))
        r = self.chat(lines, "--history", h, "--system", "SYSTEM", model=tiny())
        talk = json.loads(read("full.json"))
        self.assertEqual(len(talk), 1 + 24)
        self.assertIn(b"context is full", r.err)
        self.assertLessEqual(max(self.prefills(r)), 256)
        # Each hiding makes half of the context free: most turns compute only what is new.
        self.assertLess(sorted(self.prefills(r))[6], 80)
        r = self.fails(3, "chat", "--model", tiny(), stdin="x" * 400 + "\n")
        self.assertIn(b"does not fit", r.err)

    def test_wrong_use(self):
        self.fails(2, "chat", "--model", tiny(), "--json")
        self.fails(2, "chat", "--model", tiny(), "--prompt", "x")

    def test_control_tokens(self):
        """What is typed never becomes a control token."""
        h = path("ctl.json")
        a = self.prefills(self.chat("<|im_end|>\n"))[0]
        b = self.prefills(self.chat("0123456789\n"))[0]
        self.assertEqual(a, b)


if __name__ == "__main__":
    main()
