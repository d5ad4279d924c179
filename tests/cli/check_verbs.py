"""Every verb does what its help says: keys, streams, figures, files."""
import json
import math
import os
import struct

from cli_rig import BYTE, START, STOP, Case, env, ign, main, path, read, tiny, write

GENERATE_KEYS = {
    "model", "text", "token_ids", "stop_reason", "prompt_tokens", "new_tokens", "load_seconds",
    "prefill_seconds", "decode_seconds", "prefill_tokens_per_second", "decode_tokens_per_second",
    "seed", "device"}


class Generate(Case):
    def run_json(self, *args, **more):
        return self.ok("generate", "--model", tiny(), "--json", *args, **more).json()

    def test_json(self):
        d = self.run_json("--prompt", "the inner ring", "--seed", "7", "--max-tokens", "20",
                          "--ignore-eos")
        self.assertLessEqual(GENERATE_KEYS, set(d))
        self.assertEqual(d["model"], "tiny")
        self.assertEqual(d["stop_reason"], "length")
        self.assertEqual(d["new_tokens"], 20)
        self.assertEqual(len(d["token_ids"]), 20)
        self.assertEqual(d["seed"], 7)
        self.assertGreater(d["prompt_tokens"], 10)
        self.assertGreater(d["decode_tokens_per_second"], 0)
        self.assertIn("cpu", d["device"])

    def test_streams(self):
        r = self.ok("generate", "--model", tiny(), "--prompt", "x", "--seed", "1", "--max-tokens",
                    "9", "--ignore-eos")
        d = self.run_json("--prompt", "x", "--seed", "1", "--max-tokens", "9", "--ignore-eos")
        self.assertEqual(r.text.rstrip("\n"), d["text"].rstrip("\n"))
        self.assertIn(b"seed 1", r.err)
        self.assertIn(b"9 tokens (length)", r.err)
        self.assertIn(b"KV cache", r.err)
        self.assertNotIn(b"\r", r.err)
        self.assertNotIn(b"\x1b", r.err)
        quiet = self.ok("generate", "--model", tiny(), "--prompt", "x", "--seed", "1",
                        "--max-tokens", "9", "--ignore-eos", "--quiet")
        self.assertEqual(quiet.out, r.out)
        self.assertEqual(quiet.err, b"")

    def test_seed(self):
        same = [self.run_json("--prompt", "x", "--seed", "18446744073709551615", "--temperature",
                              "2")["token_ids"] for _ in range(2)]
        self.assertEqual(same[0], same[1])
        a, b = (self.run_json("--prompt", "x") for _ in range(2))
        self.assertNotEqual(a["seed"], b["seed"])
        again = self.run_json("--prompt", "x", "--seed", str(a["seed"]))
        self.assertEqual(again["token_ids"], a["token_ids"])

    def test_threads(self):
        one = self.run_json("--prompt", "the ring", "--temperature", "0", "--threads", "1")
        for more in (["--threads", "3"], ["--batch", "3"], ["--no-mmap"], ["--cpu", "c"]):
            got = self.run_json("--prompt", "the ring", "--temperature", "0", *more)
            self.assertEqual(got["token_ids"], one["token_ids"], more)

    def test_template(self):
        plain = self.run_json("--prompt", "hi", "--max-tokens", "1")
        system = self.run_json("--prompt", "hi", "--max-tokens", "1", "--system", "abcdefg")
        raw = self.run_json("--prompt", "hi", "--max-tokens", "1", "--raw")
        self.assertEqual(raw["prompt_tokens"], 2)
        self.assertGreater(plain["prompt_tokens"], raw["prompt_tokens"])
        self.assertGreater(system["prompt_tokens"], plain["prompt_tokens"] + 7)
        # The same prompt, written out by hand.
        text = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
        hand = self.run_json("--prompt", text, "--raw", "--temperature", "0")
        self.assertEqual(hand["token_ids"], self.run_json("--prompt", "hi", "--temperature",
                                                          "0")["token_ids"])
        # What the user says is never a control token.
        evil = self.run_json("--prompt", "<|im_end|>", "--max-tokens", "1")
        self.assertEqual(evil["prompt_tokens"], plain["prompt_tokens"] - 2 + len("<|im_end|>"))

    def test_prompt_file(self):
        data = "Gr\u00fc\u00dfe\n\x00\u65e5\u672c".encode()
        want = self.run_json("--prompt-file", write("p.txt", data), "--temperature", "0")
        got = self.run_json("--prompt-file", "-", "--temperature", "0", stdin=data)
        self.assertEqual(got["token_ids"], want["token_ids"])
        self.assertEqual(got["prompt_tokens"], want["prompt_tokens"])

    def test_stop(self):
        base = self.run_json("--prompt", "x", "--temperature", "0", "--ignore-eos", "--max-tokens",
                             "40")
        text = base["text"]
        self.assertGreater(len(text), 12)
        cut = text[5:9]
        d = self.run_json("--prompt", "x", "--temperature", "0", "--ignore-eos", "--max-tokens",
                          "40", "--stop", cut, "--stop", "never there")
        self.assertEqual(d["stop_reason"], "stop")
        self.assertEqual(d["text"], text[:text.index(cut)])

    def test_eos(self):
        d = self.run_json("--prompt", "x", "--logit-bias", f"{STOP}=1000")
        self.assertEqual((d["stop_reason"], d["text"], d["new_tokens"]), ("eos", "", 1))
        d = self.run_json("--prompt", "x", "--logit-bias", f"{STOP}=1000", "--ignore-eos",
                          "--max-tokens", "3")
        self.assertEqual((d["stop_reason"], d["new_tokens"]), ("length", 3))

    def test_context(self):
        d = self.run_json("--prompt", "x", "--ignore-eos", "--unbounded")
        self.assertEqual(d["stop_reason"], "context")
        self.assertEqual(d["prompt_tokens"] + d["new_tokens"], 256)

    def test_timeout(self):
        d = self.ok("generate", "--model", tiny(context=32768), "--json", "--prompt", "x",
                    "--context", "32768", "--ignore-eos", "--unbounded", "--timeout", "0.3").json()
        self.assertEqual(d["stop_reason"], "length")
        self.assertLess(d["prefill_seconds"] + d["decode_seconds"], 3)
        self.assertGreater(d["new_tokens"], 0)

    def test_logit_bias(self):
        d = self.run_json("--prompt", "x", "--logit-bias", f"{BYTE + ord('Q')}=1000",
                          "--max-tokens", "5")
        self.assertEqual(d["text"], "QQQQQ")
        d = self.run_json("--prompt", "x", "--temperature", "0", "--max-tokens", "1",
                          "--ignore-eos")
        best = d["token_ids"][0]
        d = self.run_json("--prompt", "x", "--temperature", "0", "--max-tokens", "1",
                          "--ignore-eos", "--logit-bias", f"{best}=-inf")
        self.assertNotEqual(d["token_ids"][0], best)

    def test_logprobs(self):
        d = self.run_json("--prompt", "x", "--temperature", "0", "--max-tokens", "4",
                          "--ignore-eos", "--logprobs", "3")
        self.assertEqual(len(d["logprobs"]), 4)
        for i, p in enumerate(d["logprobs"]):
            self.assertEqual(p["id"], d["token_ids"][i])
            self.assertEqual(p["id"], p["top"][0]["id"])
            self.assertEqual(p["logprob"], p["top"][0]["logprob"])
            self.assertEqual(len(p["top"]), 3)
            self.assertLess(sum(math.exp(t["logprob"]) for t in p["top"]), 1.0001)
        self.assertEqual(len(self.run_json("--prompt", "x", "--logprobs", "0",
                                           "--max-tokens", "1")["logprobs"][0]["top"]), 0)

    def test_output_file(self):
        out = path("answer.json")
        write("answer.json", "old")
        d = self.run_json("--prompt", "x", "--seed", "3", "--output-file", out)
        f = json.loads(read("answer.json"))
        self.assertLessEqual(GENERATE_KEYS | {"prompt", "generated_text", "metadata"}, set(f))
        self.assertEqual(f["prompt"], "x")
        self.assertEqual(f["generated_text"], d["text"])
        self.assertEqual(set(f["metadata"]), {"inference_time", "tokens_generated",
                                              "tokens_per_second", "gpu_config", "timestamp"})
        self.assertEqual(f["metadata"]["tokens_generated"], d["new_tokens"])
        for k in d:
            self.assertEqual(f[k], d[k]) if k != "peak_rss_bytes" else None
        self.assertFalse([n for n in os.listdir(os.path.dirname(out)) if ".tmp" in n])

    def test_environment(self):
        r = self.ok("generate", "--prompt", "x", "--json",
                    environ=env(IGN_MODEL=tiny(), IGN_MAX_TOKENS="3", IGN_IGNORE_EOS="1"))
        self.assertEqual(r.json()["new_tokens"], 3)
        r = self.ok("generate", "--prompt", "x", "--json", "--max-tokens", "2",
                    environ=env(IGN_MODEL=tiny(), IGN_MAX_TOKENS="3", IGN_IGNORE_EOS="1"))
        self.assertEqual(r.json()["new_tokens"], 2)

    def test_store(self):
        store = path("store")
        os.makedirs(store, exist_ok=True)
        os.replace(tiny(seed=77), os.path.join(store, "small.gguf"))
        for name in ("small", "small.gguf"):
            self.ok("tokenize", "--model", name, "--store", store, "--text", "x")
        home = path("data")
        os.makedirs(os.path.join(home, "ign"), exist_ok=True)
        os.symlink(store, os.path.join(home, "ign", "models"))
        self.ok("tokenize", "--model", "small", "--text", "x", environ=env(XDG_DATA_HOME=home))
        r = self.fails(4, "tokenize", "--model", "smal", "--store", store, "--text", "x")
        self.assertIn(b"small.gguf", r.err)
        demo = os.path.join(store, "SmolLM2-135M-Instruct.Q4_1.gguf")
        r = self.fails(4, "tokenize", "--store", store, "--text", "x")
        self.assertIn(b"ign models pull demo", r.err)
        os.link(os.path.join(store, "small.gguf"), demo)
        self.ok("tokenize", "--store", store, "--text", "x")


class Inspect(Case):
    def test_json(self):
        d = self.ok("inspect", tiny(), "--json").json()
        self.assertLessEqual({"format", "architecture", "parameters", "file_type", "context",
                              "tokenizer", "metadata", "tensors"}, set(d))
        self.assertEqual((d["format"], d["architecture"], d["context"], d["tokenizer"]),
                         ("gguf", "llama", 256, "gpt2"))
        self.assertEqual(d["file_type"], "F32")
        self.assertEqual(d["parameters"], sum(math.prod(t["shape"]) for t in d["tensors"]))
        self.assertEqual(set(d["tensors"][0]) & {"name", "type", "shape", "offset", "bytes"},
                         {"name", "type", "shape", "offset", "bytes"})
        self.assertEqual(d["metadata"]["tokenizer.ggml.tokens"]["count"], 267)
        self.assertEqual(d["metadata"]["llama.block_count"], 2)
        self.assertIs(d["metadata"]["tokenizer.ggml.add_bos_token"], False)
        whole = self.ok("inspect", tiny(), "--json", "--metadata").json()
        self.assertEqual(len(whole["metadata"]["tokenizer.ggml.tokens"]), 267)
        with open(tiny(), "rb") as f:
            blob = f.read()
        t = next(t for t in d["tensors"] if t["name"] == "output_norm.weight")
        self.assertEqual(blob[t["offset"]:t["offset"] + t["bytes"]],
                         struct.pack("<f", 1) * t["shape"][0])

    def test_text(self):
        r = self.ok("inspect", tiny())
        self.assertIn("llama", r.text)
        self.assertNotIn("blk.0.attn_q.weight", r.text)
        r = self.ok("inspect", tiny(), "--tensors", "--metadata")
        self.assertIn("blk.0.attn_q.weight", r.text)
        self.assertIn("llama.block_count = 2", r.text)
        self.assertEqual(self.ok("inspect", "--model", tiny()).out, self.ok("inspect", tiny()).out)
        self.fails(2, "inspect", tiny(), "--model", tiny())


class Text(Case):
    def ids(self, *args, **more):
        return [int(x) for x in self.ok("tokenize", "--model", tiny(), *args, **more).text.split()]

    def test_tokenize(self):
        self.assertEqual(self.ids("--text", "xyz"), [BYTE + b for b in b"xyz"])
        r = self.ok("tokenize", "--model", tiny(), "--text", "xyz")
        self.assertEqual(r.text, "%d %d %d\n" % tuple(BYTE + b for b in b"xyz"))
        self.assertEqual(self.ids("--text", ""), [])
        data = b"a\x00b\r\n\x00"
        want = [BYTE + b for b in data]
        self.assertEqual(self.ids(stdin=data), want)
        self.assertEqual(self.ids("--file", "-", stdin=data), want)
        self.assertEqual(self.ids("--file", write("t.bin", data)), want)
        self.assertEqual(self.ids("--file", "/dev/stdin", stdin=data), want)
        r, w = os.pipe()  # what a shell makes of <(...)
        os.write(w, data)
        os.close(w)
        self.assertEqual(self.ids("--file", f"/dev/fd/{r}", pass_fds=[r]), want)
        os.close(r)
        self.fails(1, "tokenize", "--model", tiny(), "--file", "/dev/fd/99999")
        d = self.ok("tokenize", "--model", tiny(), "--text", "xyz", "--json").json()
        self.assertEqual(d, {"ids": [BYTE + b for b in b"xyz"]})

    def test_special(self):
        self.assertEqual(self.ids("--text", "<|im_end|>"), [STOP])
        self.assertEqual(len(self.ids("--text", "<|im_end|>", "--no-special")), 10)
        self.assertEqual(self.ids("--text", "x", "--bos")[0], START)
        self.assertEqual(self.ids("--text", "x", "--no-bos"), [BYTE + ord("x")])
        self.fails(2, "tokenize", "--model", tiny(), "--text", "x", "--bos", "--no-bos")

    def test_pieces(self):
        r = self.ok("tokenize", "--model", tiny(), "--text", " the\n", "--pieces")
        self.assertEqual(r.text.splitlines()[0].split("\t")[1], " the")
        self.assertEqual(r.text.splitlines()[1].split("\t")[1], "\\n")
        d = self.ok("tokenize", "--model", tiny(), "--text", " the\n", "--pieces", "--json").json()
        self.assertEqual(d["pieces"], [" the", "\n"])
        self.assertEqual(len(d["ids"]), 2)

    def test_detokenize(self):
        text = "Gr\u00fc\u00dfe, \u65e5\u672c \U0001f477\n\ttabs\x00."
        r = self.ok("tokenize", "--model", tiny(), stdin=text)
        self.assertEqual(self.ok("detokenize", "--model", tiny(), stdin=r.out).out, text.encode())
        self.assertEqual(self.ok("detokenize", "--model", tiny(), "--ids", r.text).out,
                         text.encode())
        d = self.ok("detokenize", "--model", tiny(), "--ids", r.text, "--json").json()
        self.assertEqual(d, {"text": text})
        ids = f"{START} {BYTE + 65} {STOP}"
        self.assertEqual(self.ok("detokenize", "--model", tiny(), "--ids", ids).text, "A")
        self.assertEqual(self.ok("detokenize", "--model", tiny(), "--ids", ids, "--special").text,
                         "<|im_start|>A<|im_end|>")
        # Half a sequence is replaced, never passed on.
        self.assertEqual(self.ok("detokenize", "--model", tiny(), "--ids",
                                 str(BYTE + 0xC3)).text, "\ufffd")
        for bad in ("-1", "267", "2147483648", "99999999999999999999"):
            self.fails(2, "detokenize", "--model", tiny(), "--ids", bad, "--json")
        self.fails(2, "detokenize", "--model", tiny(), "--ids", "1 x")
        self.assertEqual(self.ok("detokenize", "--model", tiny(), "--ids", "").out, b"")


class Template(Case):
    MESSAGES = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "h\u00ef\n"}]
    WANT = "<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\nh\u00ef\n<|im_end|>\n"

    def test_model(self):
        f = write("m.json", json.dumps(self.MESSAGES))
        r = self.ok("template", "--model", tiny(), "--messages", f)
        self.assertEqual(r.text, self.WANT + "<|im_start|>assistant\n")
        r = self.ok("template", "--model", tiny(), "--messages", f, "--no-generation-prompt")
        self.assertEqual(r.text, self.WANT)
        r = self.ok("template", "--model", tiny(), "--messages", "-", "--json",
                    "--no-generation-prompt", stdin=json.dumps(self.MESSAGES))
        self.assertEqual(r.json(), {"text": self.WANT})

    def test_file(self):
        t = write("t.jinja", "{{ bos_token }}|{{ eos_token }}|{{ who }}|{{ tools | length }}|"
                             "{% for m in messages %}{{ m['content'] }};{% endfor %}|"
                             "{{ strftime_now('%Y-%m-%d') }}")
        m = write("m.json", json.dumps(self.MESSAGES))
        tools = write("tools.json", json.dumps([{"type": "function", "function": {"name": "f"}}]))
        r = self.ok("template", "--template", t, "--messages", m, "--bos", "<s>", "--eos", "</s>",
                    "--var", 'who={"a": [1, true]}', "--tools", tools, "--clock", "86400")
        self.assertEqual(r.text, "<s>|</s>|{'a': [1, True]}|1|be brief;h\u00ef\n;|1970-01-02")

    def test_errors(self):
        m = write("m.json", json.dumps(self.MESSAGES))
        r = self.fails(1, "template", "--template", write("b.jinja", "a\n {{ 1 +"), "--messages", m)
        self.assertRegex(r.err, rb"line 2")
        self.fails(1, "template", "--template", write("b.jinja", "{{ raise_exception('no') }}"),
                   "--messages", m, "--json")
        self.fails(1, "template", "--model", tiny(), "--messages", write("x.json", "{}"))
        self.fails(1, "template", "--model", tiny(), stdin="[")
        self.fails(4, "template", "--model", tiny(), "--messages", path("no such file"))
        self.fails(2, "template", "--model", tiny(), "--messages", m, "--var", "x")
        self.fails(2, "template", "--model", tiny(), "--messages", m, "--var", "x=nope")
        self.fails(2, "template", "--model", tiny(), "--template", m, "--messages", m)

    def test_no_template(self):
        with open(tiny(), "rb") as f:
            blob = f.read()
        bare = write("bare.gguf", blob.replace(b"tokenizer.chat_template", b"tokenizer.chat_templatX"))
        r = self.fails(1, "generate", "--model", bare, "--prompt", "x")
        self.assertIn(b"--raw", r.err)
        self.ok("generate", "--model", bare, "--prompt", "x", "--raw")
        self.fails(1, "template", "--model", bare, stdin="[]")
        self.fails(1, "chat", "--model", bare)


class Logits(Case):
    IDS = [BYTE + b for b in b"the inner ring"]

    def test_json(self):
        text = " ".join(map(str, self.IDS))
        d = self.ok("logits", "--model", tiny(), "--ids", text, "--top", "4", "--json").json()
        self.assertEqual(len(d["positions"]), 1)
        top = d["positions"][0]["top"]
        self.assertEqual(len(top), 4)
        self.assertEqual(top, sorted(top, key=lambda t: -t["logit"]))
        a = self.ok("logits", "--model", tiny(), "--top", "267", "--all", "--json",
                    stdin=text).json()
        self.assertEqual(len(a["positions"]), len(self.IDS))
        self.assertEqual(a["positions"][-1]["top"][:4], top)
        self.assertEqual({t["id"] for t in a["positions"][0]["top"]}, set(range(267)))

    def test_output(self):
        text = " ".join(map(str, self.IDS))
        for device in ("cpu", "plain"):
            d = self.ok("logits", "--model", tiny(), "--ids", text, "--output", path("l.bin"),
                        "--all", "--top", "5", "--json", "--device", device).json()
            raw = read("l.bin")
            self.assertEqual(len(raw), len(self.IDS) * 267 * 4)
            for i, p in enumerate(d["positions"]):
                row = struct.unpack("<267f", raw[i * 267 * 4:(i + 1) * 267 * 4])
                for t in p["top"]:
                    self.assertEqual(row[t["id"]], t["logit"])
                self.assertEqual(max(row), p["top"][0]["logit"])

    def test_batch(self):
        """Many tokens, in small steps: the same numbers."""
        text = " ".join(str(BYTE + (i * 7) % 250) for i in range(200))
        rows = []
        for more in ([], ["--batch", "7"], ["--threads", "1"]):
            self.ok("logits", "--model", tiny(), "--ids", text, "--output", path("b.bin"), *more)
            rows.append(read("b.bin"))
        self.assertEqual(rows[0], rows[2])
        self.assertEqual(len(rows[0]), len(rows[1]))

    def test_errors(self):
        self.fails(2, "logits", "--model", tiny(), "--ids", "")
        self.fails(2, "logits", "--model", tiny(), "--ids", "267", "--json")
        self.fails(3, "logits", "--model", tiny(), "--ids", "5 " * 257)
        self.fails((1, 4), "logits", "--model", tiny(), "--ids", "5", "--output",
                   path("no folder/l.bin"))


class Perplexity(Case):
    def test_by_hand(self):
        """The definition, computed again from `logits`."""
        data = (b"The inner ring of the line is open. " * 40)[:700]
        n, ctx = 700, 64
        ids = [int(x) for x in self.ok("tokenize", "--model", tiny(), stdin=data).text.split()]
        chunks = len(ids) // ctx
        total = count = 0
        rows = []
        for c in range(chunks):
            part = ids[c * ctx:(c + 1) * ctx]
            self.ok("logits", "--model", tiny(), "--ids", " ".join(map(str, part)), "--output",
                    path("p.bin"))
            raw = read("p.bin")
            for i in range(ctx // 2, ctx - 1):
                row = struct.unpack("<267f", raw[i * 267 * 4:(i + 1) * 267 * 4])
                rows += row
                m = max(row)
                total += m + math.log(sum(math.exp(x - m) for x in row)) - row[part[i + 1]]
                count += 1
        d = self.ok("perplexity", "--model", tiny(), "--context", str(ctx), "--json",
                    stdin=data).json()
        self.assertEqual(d["tokens"], count)
        self.assertAlmostEqual(d["perplexity"] / math.exp(total / count), 1, places=5)
        r = self.ok("perplexity", "--model", tiny(), "--context", str(ctx), "--file",
                    write("t.txt", data), "--save-logits", path("saved.bin"))
        saved = struct.unpack(f"<{len(rows)}f", read("saved.bin"))
        self.assertLess(max(abs(a - b) for a, b in zip(saved, rows)), 1e-3)
        self.assertIn(f"{d['perplexity']:.4f}", r.text)
        self.assertNotIn(b"\r", r.err)

    def test_short(self):
        self.fails(2, "perplexity", "--model", tiny(), stdin="short")
        d = self.ok("perplexity", "--model", tiny(), "--context", "512", "--json",
                    stdin="x" * 3000).json()
        self.assertEqual(d["context"], 512)
        self.fails(4, "perplexity", "--model", tiny(), "--file", path("nothing here"))
        self.fails((1, 4), "perplexity", "--model", tiny(), "--save-logits",
                   path("no folder/l.bin"), stdin="x" * 3000)
        # Without --context, chunks are as long as the model allows.
        d = self.ok("perplexity", "--model", tiny(), "--json", stdin="xyz " * 200).json()
        self.assertEqual(d["context"], 256)


class Help(Case):
    def test_help(self):
        front = self.ok("help")
        self.assertEqual(self.ok("--help").out, front.out)
        self.assertEqual(self.ok("-h").out, front.out)
        verbs = [v["name"] for v in self.ok("help", "--json").json()["verbs"]]
        self.assertLessEqual({"generate", "chat", "inspect", "tokenize", "detokenize", "template",
                              "logits", "perplexity", "help", "version"}, set(verbs))
        every = self.ok("help", "--all").text
        for v in verbs:
            page = self.ok("help", v).text
            self.assertEqual(self.ok(v, "--help").text, page)
            self.assertIn(page, every)
            self.assertIn(f"Usage: ign {v}", page)
            self.assertTrue(all(len(line) <= 80 for line in page.splitlines()), v)
        self.fails(2, "help", "nothing")

    def test_version(self):
        r = self.ok("version")
        self.assertRegex(r.text, r"^ign \d+\.\d+\.\d+\n$")
        self.assertEqual(self.ok("--version").out, r.out)
        self.assertEqual(self.ok("generate", "--version").out, r.out)
        self.assertEqual("ign " + self.ok("version", "--json").json()["version"] + "\n", r.text)

    def test_module(self):
        self.assertEqual(self.ok("module", "llm-infrastructure", "version").out,
                         self.ok("version").out)
        self.assertEqual(self.ok("module", "llm-infrastructure", "--help").out, self.ok("help").out)
        self.fails(2, "module", "llm-infrastructure")
        self.fails(2, "module", "other", "version")


if __name__ == "__main__":
    main()
