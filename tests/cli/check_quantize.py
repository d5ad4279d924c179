"""Quantizing by the program: every type, the same bytes by any threads and level, what is lost, what
is refused; a full disk, signals and a killed process leave nothing under the name."""
import array
import fcntl
import hashlib
import math
import os
import random
import re
import resource
import shutil
import signal
import struct
import subprocess
import time

from cli_rig import FOLDER, IGN, SLOW, Case, env, ign, main, path, read, tiny, write

TYPES = {"f32": "F32", "f16": "F16", "bf16": "BF16", "q8_0": "Q8_0", "q4_0": "Q4_0", "q4_1": "Q4_1",
         "q5_0": "Q5_0", "q5_1": "Q5_1", "q2_k": "Q2_K", "q3_k_m": "Q3_K", "q4_k_s": "Q4_K",
         "q4_k_m": "Q4_K", "q5_k_m": "Q5_K", "q6_k": "Q6_K", "int8": "Q8_0", "int4": "Q4_K"}


def wide():
    """Rows that super-blocks divide."""
    return tiny(d=256, seed=3)


def split(model, name, count):
    """A model in `count` files, as llama-gguf-split makes them; the path of the first."""
    data, at = read(os.path.basename(model)), 24
    version, n_tensor, n_kv = struct.unpack_from("<IQQ", data, 4)
    size = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}

    def skip(at, kind):
        if kind == 8:
            return at + 8 + struct.unpack_from("<Q", data, at)[0]
        if kind != 9:
            return at + size[kind]
        kind, n = struct.unpack_from("<IQ", data, at)
        at += 12
        for _ in range(n):
            at = skip(at, kind)
        return at

    for _ in range(n_kv):
        at = skip(at, 8)
        at = skip(at + 4, struct.unpack_from("<I", data, at)[0])
    kv, tensors = data[24:at], []
    for _ in range(n_tensor):
        start, at = at, skip(at, 8)
        at += 4 + 8 * struct.unpack_from("<I", data, at)[0] + 4
        tensors.append((struct.unpack_from("<Q", data, at)[0], data[start:at]))
        at += 8
    base = -(-at // 32) * 32
    tensors.sort()
    ends = [x[0] for x in tensors[1:]] + [len(data) - base]
    share = -(-n_tensor // count)
    for i in range(count):
        mine = list(zip(tensors, ends))[i * share:(i + 1) * share]
        keys = b"".join(struct.pack("<Q", len(k)) + k + struct.pack(f, t, v) for k, f, t, v in (
            (b"split.no", "<IH", 2, i), (b"split.count", "<IH", 2, count),
            (b"split.tensors.count", "<Ii", 5, n_tensor)))
        out = b"GGUF" + struct.pack("<IQQ", version, len(mine), (n_kv if i == 0 else 0) + 3)
        out += (kv if i == 0 else b"") + keys
        body = b""
        for (start, info), end in mine:
            out += info + struct.pack("<Q", len(body))
            body += data[base + start:base + end]
            body += bytes(-len(body) % 32)
        write(f"{name}-{i + 1:05}-of-{count:05}.gguf", out + bytes(-len(out) % 32) + body)
    return path(f"{name}-00001-of-{count:05}.gguf")


def left():
    return [x for x in os.listdir(FOLDER) if ".tmp" in x]


class Types(Case):
    def test_all(self):
        """Each type is written, named in the metadata, read back, and predicts about as well."""
        text = write("q.txt", "the inner ring of the pump " * 60)
        before = self.ok("perplexity", "--model", wide(), "--file", text, "--json").json()
        meta = self.ok("inspect", wide(), "--json", "--metadata").json()["metadata"]
        for name, main_type in TYPES.items():
            out = path(f"q-{name}.gguf")
            r = self.ok("quantize", wide(), out, "--type", name, "--json").json()
            self.assertEqual(r["bytes_out"], os.path.getsize(out))
            self.assertAlmostEqual(
                r["bits_per_weight"],
                8 * r["bytes_out"] / self.ok("inspect", out, "--json").json()["parameters"], 6)
            seen = {t["to"] for t in r["tensors"]}
            self.assertIn(main_type, seen, name)
            for t in r["tensors"]:
                if t["from"] == t["to"]:
                    self.assertEqual(t["rmse"], 0, t)
                self.assertLess(t["rmse"], 0.4, t)
            after = self.ok("inspect", out, "--json", "--metadata").json()["metadata"]
            self.assertIn("general.file_type", after)
            self.assertEqual(after["general.quantization_version"], 2)
            for key, value in meta.items():
                if key not in ("general.file_type", "general.quantization_version"):
                    self.assertEqual(after[key], value, key)
            self.assertEqual([t["name"] for t in r["tensors"]],
                             [t["name"] for t in self.ok("inspect", out, "--json", "--tensors")
                              .json()["tensors"]])
            p = self.ok("perplexity", "--model", out, "--file", text, "--json").json()
            self.assertLess(p["perplexity"], before["perplexity"] * 3, name)
        self.assertEqual(left(), [])

    def test_narrow(self):
        """Rows that super-blocks do not divide get the next larger type."""
        r = self.ok("quantize", tiny(), path("q-narrow.gguf"), "--type", "q4_k_m", "--json").json()
        to = {t["to"] for t in r["tensors"]}
        self.assertNotIn("Q4_K", to)
        self.assertLessEqual(to, {"F32", "F16", "Q5_0", "Q5_1", "Q8_0"})

    def test_same_bytes(self):
        for name in ("q4_0", "q5_1", "q8_0", "q2_k", "q4_k_m", "q6_k"):
            made = []
            for more in (["--threads", "1"], ["--threads", "2"], ["--cpu", "c"]):
                self.ok("quantize", wide(), path("q-same.gguf"), "--type", name, *more)
                made.append(read("q-same.gguf"))
            self.assertEqual(made[0], made[1], name)
            self.assertEqual(made[0], made[2], name)

    def test_again(self):
        """What has the type already is copied bit for bit."""
        self.ok("quantize", wide(), path("q-a.gguf"), "--type", "q6_k")
        r = self.ok("quantize", path("q-a.gguf"), path("q-b.gguf"), "--type", "q6_k")
        self.assertEqual(read("q-a.gguf"), read("q-b.gguf"))
        self.assertIn("rmse 0\n", r.text)
        self.ok("quantize", path("q-a.gguf"), path("q-b.gguf"), "--type", "q4_k_m")
        self.assertLess(os.path.getsize(path("q-b.gguf")), os.path.getsize(path("q-a.gguf")))


class Folder(Case):
    def test_same_logits(self):
        """A Hugging Face folder becomes a file that says what the folder says, bit for bit."""
        golden = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "model", "golden")
        for name in ("tiny-llama31", "tiny-mistral", "tiny-mixtral", "tiny-qwen2"):
            out = path("q-folder.gguf")
            self.ok("quantize", os.path.join(golden, name), out, "--type", "f32")
            self.assertNotIn(b"is not used", self.ok("inspect", out).err)
            said = [self.ok("logits", "--model", m, "--ids", "5 6 7 8 9 10 11", "--all", "--json",
                            "--device", "plain").out for m in (os.path.join(golden, name), out)]
            self.assertEqual(said[0], said[1], name)
            types = {t["name"]: t["type"] for t in
                     self.ok("inspect", out, "--json", "--tensors").json()["tensors"]}
            self.assertEqual(types["output_norm.weight"], "F32")


class Against(Case):
    def test_numbers(self):
        """The divergence from itself is nothing; from a coarser one what Python computes of both."""
        text = write("q-kl.txt", "the inner ring of the pump " * 60)
        coarse = path("q-coarse.gguf")
        self.ok("quantize", wide(), coarse, "--type", "q2_k")
        base = ["--file", text, "--context", "128", "--json"]
        a = self.ok("perplexity", "--model", wide(), *base, "--save-logits", path("q-a.logits"))
        same = self.ok("perplexity", "--model", wide(), *base, "--against", path("q-a.logits")).json()
        self.assertLess(abs(same["kl_mean"]), 1e-7)
        self.assertEqual(same["top1_agreement"], 1)
        self.assertEqual(same["perplexity"], a.json()["perplexity"])
        b = self.ok("perplexity", "--model", coarse, *base, "--against", path("q-a.logits"),
                    "--save-logits", path("q-b.logits")).json()
        n = b["tokens"]
        first = array.array("f", read("q-a.logits"))
        other = array.array("f", read("q-b.logits"))
        n_vocab = len(first) // n
        apart, agree = [], 0
        for i in range(n):
            p, q = (x[i * n_vocab:(i + 1) * n_vocab] for x in (first, other))
            zp, zq = (math.log(sum(math.exp(v - max(x)) for v in x)) + max(x) for x in (p, q))
            apart.append(sum(math.exp(u - zp) * ((u - zp) - (v - zq)) for u, v in zip(p, q)))
            agree += p.index(max(p)) == q.index(max(q))
        self.assertAlmostEqual(b["kl_mean"], sum(apart) / n, 5)
        self.assertGreater(b["kl_mean"], 1e-4)
        self.assertAlmostEqual(b["kl_p99"], sorted(apart)[int(0.99 * (n - 1) + 0.5)], 5)
        self.assertEqual(b["top1_agreement"], agree / n)
        each = n // b["chunks"]
        self.assertEqual(len(b["kl_of_chunks"]), b["chunks"])
        for i, mean in enumerate(b["kl_of_chunks"]):
            self.assertAlmostEqual(mean, sum(apart[i * each:(i + 1) * each]) / each, 5)
        plain = self.ok("perplexity", "--model", coarse, "--file", text, "--context", "128",
                        "--against", path("q-a.logits"))
        self.assertIn("divergence ", plain.text)

    def test_refused(self):
        text = write("q-kl.txt", "the inner ring of the pump " * 60)
        base = ["perplexity", "--model", tiny(), "--file", text, "--context", "512", "--against"]
        self.fails(4, *base, path("none.logits"))
        self.fails(1, *base, write("q-short.logits", b"\0" * 400))
        self.fails(1, *base, FOLDER)

    def test_not_finite(self):
        """Logits that are no numbers are not the same as any."""
        text = write("q-kl.txt", "the inner ring of the pump " * 60)
        base = ["perplexity", "--model", tiny(), "--file", text, "--context", "512", "--json"]
        self.ok(*base, "--save-logits", path("q-a.logits"))
        write("q-nan.logits", b"\0\0\xc0\x7f" * (os.path.getsize(path("q-a.logits")) // 4))
        r = self.ok(*base, "--against", path("q-nan.logits")).json()
        self.assertEqual((r["kl_mean"], r["top1_agreement"]), (None, 0))


class Compare(Case):
    def test_numbers(self):
        """Each figure is what the verb of its own says; the text is the program's where none is
        named."""
        text = write("q-kl.txt", "the inner ring of the pump " * 60)
        coarse = path("q-coarse.gguf")
        self.ok("quantize", wide(), coarse, "--type", "q2_k")
        r = self.ok("compare", wide(), coarse, "--file", text, "--context", "256", "--json").json()
        self.assertEqual([m["model"] for m in r["models"]], [wide(), coarse])
        for m in r["models"]:
            self.assertEqual(m["bytes"], os.path.getsize(m["model"]))
            shape = self.ok("inspect", m["model"], "--json").json()
            self.assertAlmostEqual(m["bits_per_weight"], 8 * m["bytes"] / shape["parameters"], 6)
            for what in ("prefill", "decode"):
                least, most = m[what + "_range"]
                self.assertLess(0, least)
                self.assertLess(least, most, "six requests of one speed")
                self.assertTrue(least <= m[what + "_tokens_per_second"] <= most, m)
        base = ["--file", text, "--context", "256", "--json"]
        a = self.ok("perplexity", "--model", wide(), *base, "--save-logits", path("q-a.logits"))
        b = self.ok("perplexity", "--model", coarse, *base, "--against", path("q-a.logits")).json()
        for m, p in zip(r["models"], (a.json(), b)):
            self.assertEqual(m["perplexity"], p["perplexity"])
        for key in ("kl_mean", "kl_p99", "top1_agreement", "kl_standard_error", "tokens"):
            self.assertEqual(r[key], b[key], key)
        self.assertEqual(r["file"], text)
        r = self.ok("compare", wide(), wide(), "--json").json()
        self.assertLess(abs(r["kl_mean"]), 1e-7)
        self.assertEqual(r["top1_agreement"], 1)
        self.assertIsNone(r["file"])
        self.assertGreater(r["tokens"], 1000)
        page = self.ok("compare", wide(), coarse, "--file", text).text
        for word in ("bits a weight", "perplexity", "decode, tokens/s", "divergence of B"):
            self.assertIn(word, page)
        self.assertLessEqual(max(len(x) for x in page.splitlines() if not x.startswith(("A ", "B "))),
                             80)

    def test_turns(self):
        """The two are timed in turns: each is opened as often as the other, one after the other."""
        text, coarse = write("q-kl.txt", "the inner ring of the pump " * 60), path("q-turns.gguf")
        self.ok("quantize", wide(), coarse, "--type", "q8_0")
        base = ["compare", wide(), coarse, "--file", text, "--context", "256", "--threads", "1000"]
        for more, times in (["--verbose"], 3), ([], 1):
            notes = self.ok(*base, *more).err.decode().splitlines()
            opened = [x.split(": ")[1] for x in notes if "MB: weights" in x]
            self.assertEqual(opened, times * [wide(), coarse])
        for word in ("cpu: ", "1000 threads are more"):  # each plan is shown once
            self.assertEqual(len([x for x in notes if word in x]), 2, notes)

    def test_wide_table(self):
        """Columns are as wide as what stands in them."""
        text, sure = write("q-kl.txt", "the inner ring of the pump " * 60), path("q-sure.gguf")
        t = [t for t in self.ok("inspect", tiny(), "--json").json()["tensors"]
             if t["name"] == "output_norm.weight"][0]
        data = bytearray(read(os.path.basename(tiny())))
        data[t["offset"]:t["offset"] + t["bytes"]] = struct.pack("<f", 60) * (t["bytes"] // 4)
        write("q-sure.gguf", bytes(data))
        for pair in ((tiny(), sure), (sure, tiny())):
            page = self.ok("compare", *pair, "--file", text, "--context", "64").text.splitlines()
            self.assertGreater(len(page[5].split()[1]), 9, page)
            self.assertEqual(len({len(x) for x in page[2:8]}), 1, page)

    def test_refused(self):
        text = write("q-kl.txt", "the inner ring of the pump " * 60)
        self.fails(2, "compare", wide())
        self.fails(2, "compare", wide(), wide(), "--model", wide())
        self.fails(2, "compare", wide(), wide(), "--file", write("q-s.txt", "x"))
        self.fails(4, "compare", wide(), path("none.gguf"), "--file", text)
        self.fails(1, "compare", wide(), write("q-no.gguf", b"GGUFxxxx"), "--file", text)
        golden = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "model", "golden")
        self.fails(2, "compare", wide(), os.path.join(golden, "tiny-qwen2"), "--file", text)


class AtLoad(Case):
    """--quantization: made once, kept in the store, found again by what the source's bytes are."""

    def store(self, name):
        folder = path("load-" + name)
        shutil.rmtree(folder, ignore_errors=True)
        return folder

    def made(self, store):
        return sorted(x for x in os.listdir(store) if x.endswith(".gguf"))

    def left(self, store):
        """What is half made."""
        made = os.path.join(store, ".made")
        return [x for x in os.listdir(store) if x.startswith(".new")] + \
            [x for x in (os.listdir(made) if os.path.exists(made) else []) if x != ".lock"]

    def load(self, store, model, what, **more):
        return ign("logits", "--store", store, "--model", model, "--quantization", what, "--ids",
                   "5 6 7", "--all", "--json", **more)

    def test_once(self):
        store = self.store("once")
        source = write("load.gguf", read(os.path.basename(wide())))
        first = self.load(store, source, "int4")
        self.assertEqual(first.code, 0, first)
        self.assertIn(b"quantizing to int4, once", first.err)
        [name] = self.made(store)
        self.assertRegex(name, r"^load\.int4-[0-9a-f]{16}\.gguf$")
        before = os.stat(os.path.join(store, name))
        again = self.load(store, source, "int4")
        self.assertEqual((again.code, again.out), (0, first.out))
        self.assertNotIn(b"quantizing", again.err)
        self.assertEqual(os.stat(os.path.join(store, name)).st_mtime_ns, before.st_mtime_ns)
        # It is what `quantize` makes, and what its own name loads.
        self.ok("quantize", source, path("load-4.gguf"), "--type", "q4_k_m")
        self.assertEqual(read("load-4.gguf"), read(os.path.join(store, name)))
        self.assertEqual(self.load(store, name, "int4").out, first.out)
        # Cut short since, it is made again.
        for size in (0, os.path.getsize(os.path.join(store, name)) // 2):
            os.truncate(os.path.join(store, name), size)
            again = self.load(store, source, "int4")
            self.assertEqual((again.code, again.out), (0, first.out), again)
            self.assertIn(b"made again", again.err)
        self.assertEqual(read("load-4.gguf"), read(os.path.join(store, name)))
        # Another type is another file; the environment says it, too.
        r = ign("logits", "--store", store, "--model", source, "--ids", "5",
                environ=env(IGN_QUANTIZATION="q8_0"))
        self.assertEqual(r.code, 0, r)
        self.assertEqual(len(self.made(store)), 2)
        listed = self.ok("models", "list", "--store", store, "--json").json()["models"]
        self.assertEqual([m["name"] for m in listed], self.made(store))
        self.assertTrue(self.ok("models", "verify", "--store", store, "--json").json()["ok"])
        self.ok("models", "remove", name, "--store", store)
        self.assertEqual(len(self.made(store)), 1)

    def test_twins(self):
        """The same bytes under two names, and two words for one type, are one file."""
        store = self.store("twins")
        source = write("twin-a.gguf", read(os.path.basename(wide())))
        first = self.load(store, source, "int4")
        self.assertIn(b"quantizing", first.err)
        shutil.copy(source, path("twin-b.gguf"))
        for model, what in ((source, "q4_k_m"), (path("twin-b.gguf"), "int4"),
                            (path("twin-b.gguf"), "q4_k_m")):
            r = self.load(store, model, what)
            self.assertEqual((r.code, r.out), (0, first.out), r)
            self.assertNotIn(b"quantizing", r.err)
        [name] = self.made(store)
        # Once hashed, the other source is remembered, too.
        with open(os.path.join(store, ".sums")) as f:
            self.assertEqual(len(f.read().splitlines()), 2)
        # What somebody has made by hand and brought in is the same file.
        self.ok("quantize", source, path("by-hand.gguf"), "--type", "q8_0")
        self.ok("models", "import", path("by-hand.gguf"), "--store", store)
        self.assertEqual(self.load(store, source, "int8").code, 0)
        eight = [x for x in self.made(store) if "int8" in x]
        self.assertTrue(os.path.samefile(os.path.join(store, eight[0]), os.path.join(store, "by-hand.gguf")))

    def test_swept(self):
        """The list says what was made of models that have gone or changed; a sweep removes it."""
        store = self.store("swept")
        sources = [write(f"src-{i}.gguf", read(os.path.basename(wide()))[:-1] + bytes([i]))
                   for i in range(4)]
        for source in sources:
            self.assertEqual(self.load(store, source, "int8").code, 0)
        self.ok("models", "import", tiny(), "--name", "keep", "--store", store)
        made = [m for m in self.ok("models", "list", "--store", store, "--json").json()["models"]
                if m["derived"]]
        self.assertEqual([m["stale"] for m in made], [None] * 4)
        os.unlink(sources[0])
        write("src-1.gguf", read(os.path.basename(wide()))[:-1] + b"\x09")
        self.assertEqual(self.load(store, sources[1], "int8").code, 0)  # a new one beside the old
        record = os.path.join(store, [m["name"] for m in made][2] + ".sha256")
        with open(record) as f:
            text = f.read()
        with open(record, "w") as f:
            f.write(re.sub(r"by version \d+", "by version 0", text))
        d = self.ok("models", "list", "--store", store, "--json").json()["models"]
        stale = {m["name"][:5]: m["stale"] for m in d if m["stale"]}
        self.assertEqual(stale, {"src-0": "its source has gone", "src-1": "its source has changed",
                                 "src-2": "made by another version of the program"})
        self.assertIn("(its source has gone)", self.ok("models", "list", "--store", store).text)
        gone = self.ok("models", "sweep", "--store", store, "--json").json()["removed"]
        self.assertEqual(sorted(x["name"] for x in gone), sorted(m["name"] for m in d if m["stale"]))
        self.assertEqual([x[:5] for x in self.made(store)], ["keep.", "src-1", "src-3"])
        self.assertEqual(self.ok("models", "sweep", "--store", store).text, "")
        self.assertTrue(self.ok("models", "verify", "--store", store, "--json").json()["ok"])
        self.assertEqual([x for x in os.listdir(store) if x.endswith(".sha256")],
                         [x for x in os.listdir(store) if x[:-7] in self.made(store)])

    def test_split(self):
        """A model in several files is quantized as one in a single file is, once."""
        store = self.store("split")
        whole = self.load(self.store("whole"), tiny(d=256), "int4")
        self.assertEqual(whole.code, 0, whole)
        first = split(tiny(d=256), "cut", 3)
        for n in range(2):
            r = self.load(store, first, "int4")
            self.assertEqual((r.code, r.json()), (0, whole.json()), r)
            self.assertEqual(b"quantizing" in r.err, n == 0)
        # A part that changes makes it another model; one that is missing is an error.
        part = first.replace("00001-of", "00003-of")
        data = bytearray(read(os.path.basename(part)))
        data[-1] ^= 1
        write(os.path.basename(part), bytes(data))
        self.assertIn(b"quantizing", self.load(store, first, "int4").err)
        d = self.ok("models", "list", "--store", store, "--json").json()["models"]
        self.assertEqual(sorted(str(m["stale"]) for m in d), ["None", "its source has changed"])
        os.unlink(part)
        self.assertEqual(self.load(store, first, "int4").code, 4)
        d = self.ok("models", "list", "--store", store, "--json").json()["models"]
        self.assertEqual({m["stale"] for m in d}, {"its source has gone"})

    def test_at_once(self):
        """Two starts of one derivation: the second waits for the first, and no other writer does."""
        store = self.store("at-once")
        model = tiny(d=256, seed=5)
        words = [IGN, "logits", "--store", store, "--model", model, "--quantization", "q2_k", "--ids",
                 "5", "--threads", "1", "--json"]
        runs = [subprocess.Popen(words, env=env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                for _ in range(4)]
        outs = [p.communicate(timeout=60 * SLOW) for p in runs]
        self.assertEqual([p.returncode for p in runs], [0] * 4, outs)
        self.assertEqual(sum(b"quantizing to" in err for _, err in outs), 1, outs)
        self.assertEqual(len({out for out, _ in outs}), 1)
        self.assertEqual(len(self.made(store)), 1)
        # While somebody is at it the store can be written, and who waits can be told to stop.
        lock = open(os.path.join(store, ".made", ".lock"), "r+")
        fcntl.flock(lock, fcntl.LOCK_EX)
        write(os.path.join(store, ".made", "half.gguf"), "half")
        words[words.index("q2_k")] = "q4_0"
        p = subprocess.Popen(words, env=env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertIn(b"waiting for it", p.stderr.readline())
        self.ok("models", "import", tiny(), "--name", "meanwhile", "--store", store)
        self.assertTrue(os.path.exists(os.path.join(store, ".made", "half.gguf")))
        p.send_signal(signal.SIGINT)
        p.communicate(timeout=60 * SLOW)
        self.assertEqual(p.returncode, 130)
        lock.close()
        self.ok("models", "import", tiny(context=64), "--name", "later", "--store", store)
        self.assertEqual(os.listdir(os.path.join(store, ".made")), [".lock"])

    def test_read_only(self):
        """A store that nobody may write to serves what it has, and makes nothing new."""
        store = self.store("read-only")
        self.assertEqual(self.load(store, wide(), "int8").code, 0)

        def words(what):
            return (f'"{IGN}" logits --store "{store}" --model "{wide()}" --quantization {what} --ids 5 '
                    '>/dev/null; echo code $?\n')
        script = (f'mount --bind "{store}" "{store}" && mount -o remount,bind,ro "{store}" || exit 77\n' +
                  words("int8") + words("int4"))
        p = subprocess.run(["unshare", "-rm", "sh", "-c", script], env=env(), stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, timeout=120 * SLOW)
        if p.returncode == 77 or b"unshare" in p.stderr:
            self.skipTest("no file system may be mounted here")
        self.assertEqual(p.stdout.split(), [b"code", b"0", b"code", b"1"], p)
        self.assertRegex(p.stderr, rb"Read-only file system .*; name another store with --store FOLDER")

    def test_source_changes(self):
        """Other bytes under the same name never find the old file; the same bytes elsewhere do."""
        store = self.store("changes")
        source = write("load.gguf", read(os.path.basename(wide())))
        self.assertEqual(self.load(store, source, "q4_0").code, 0)
        [name] = self.made(store)
        data = bytearray(read("load.gguf"))
        data[-1] ^= 1
        write("load.gguf", bytes(data))
        self.assertEqual(self.load(store, source, "q4_0").code, 0)
        self.assertEqual(len(self.made(store)), 2)
        write("load.gguf", read(os.path.basename(wide())))
        r = self.load(store, source, "q4_0")
        self.assertNotIn(b"quantizing", r.err)
        self.assertEqual(len(self.made(store)), 2)
        # A store whose notes are nonsense costs a hash, no more.
        write(os.path.join(store, ".sums"), b"\xff" * 500 + b"\n\n x y\n")
        r = self.load(store, source, "q4_0")
        self.assertEqual(r.code, 0, r)
        self.assertNotIn(b"quantizing", r.err)
        # A record beside the source that was true of other bytes is not believed.
        with open(source + ".sha256", "w") as f:
            f.write(hashlib.sha256(read("load.gguf")).hexdigest() + "  load.gguf\n")
        first = self.load(store, source, "q5_0")
        data[-2] ^= 1
        write("load.gguf", bytes(data))
        again = self.load(store, source, "q5_0")
        self.assertEqual((first.code, again.code), (0, 0), again)
        self.assertIn(b"quantizing", again.err)
        os.unlink(source + ".sha256")
        # A model of the store is a source as any other.
        self.ok("models", "import", source, "--store", store, "--name", "twin")
        os.unlink(os.path.join(store, name))
        self.assertEqual(self.load(store, "twin", "q4_0").code, 0)
        self.assertEqual(read(os.path.join(store, [x for x in self.made(store)
                                                   if x.startswith("twin.q4_0")][0]))[:4], b"GGUF")

    def test_folder(self):
        golden = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "model", "golden")
        store = self.store("folder")
        for _ in range(2):
            r = self.load(store, os.path.join(golden, "tiny-mistral"), "int8")
            self.assertEqual(r.code, 0, r)
        self.assertNotIn(b"quantizing", r.err)
        [name] = self.made(store)
        self.assertTrue(name.startswith("tiny-mistral.int8-"))

    def test_as_it_is(self):
        """A file that has no more bits is loaded as it is; one that has fewer is refused."""
        store = self.store("as-is")
        self.ok("quantize", wide(), path("load-8.gguf"), "--type", "q8_0")
        for what in ("auto", "int8", "q8_0"):
            self.assertEqual(self.load(store, path("load-8.gguf"), what).code, 0)
        self.assertFalse(os.path.exists(store))
        for what in ("fp16", "fp32", "bf16"):
            r = self.load(store, path("load-8.gguf"), what)
            self.assertEqual(r.code, 2, r)
            self.assertIn(b"the file is int8 (Q8_0), not " + what.encode(), r.err)
        self.assertEqual(self.load(store, wide(), "int5").code, 2)

    def test_plan(self):
        """initialize plans with what will be, makes nothing in a dry run, and times the making."""
        store = self.store("plan")
        base = ["initialize", "--store", store, "--model", wide(), "--quantization", "int8", "--json"]
        dry = self.ok(*base, "--dry-run").json()
        self.assertEqual(dry["plan"]["quantization"], "int8")
        self.assertFalse(os.path.exists(store))
        r = self.ok(*base).json()
        self.assertGreater(r["stages"]["quantize_seconds"], 0)
        [name] = self.made(store)
        tensors = self.ok("inspect", os.path.join(store, name), "--json", "--tensors").json()
        self.assertEqual(dry["plan"]["weights_bytes"], sum(t["bytes"] for t in tensors["tensors"]))
        self.assertEqual(r["plan"]["weights_bytes"], dry["plan"]["weights_bytes"])

    def test_no_store(self):
        """A store that cannot be written, or is full, is an error; nothing half-made stays."""
        r = self.load(write("load-file", "no folder"), wide(), "int4")
        self.assertEqual(r.code, 1, r)
        store = self.store("full")

        def shrink():
            resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
        r = self.load(store, wide(), "int4", preexec_fn=shrink)
        self.assertEqual(r.code, 1, r)
        self.assertEqual([x for x in os.listdir(store) if x not in (".lock", ".sums", ".made")], [])
        self.assertEqual(os.listdir(os.path.join(store, ".made")), [".lock"])

    def test_ended(self):
        """A signal sweeps up; what a kill leaves is swept up by the next start."""
        store = self.store("ended")
        model = tiny(d=256, seed=5)
        words = [IGN, "logits", "--store", store, "--model", model, "--quantization", "q2_k", "--ids",
                 "5", "--threads", "1"]
        before = time.monotonic()
        self.assertEqual(subprocess.run(words, env=env(), capture_output=True).returncode, 0)
        took = time.monotonic() - before
        chance = random.Random(2)
        for how in [signal.SIGINT] * 4 + [signal.SIGKILL] * 4:
            shutil.rmtree(store)
            p = subprocess.Popen(words, env=env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            time.sleep(took * chance.uniform(0, 1))
            p.send_signal(how)
            p.communicate(timeout=60 * SLOW)
            if how == signal.SIGINT and os.path.exists(store):
                self.assertEqual(self.left(store), [])
            self.assertEqual(subprocess.run(words, env=env(), capture_output=True).returncode, 0)
            self.assertEqual(len(self.made(store)), 1)
            self.assertEqual(self.left(store), [])


def sums(file):
    """{layer: (means, rows)} of an importance matrix in its GGUF form."""
    found = {}
    doc = ign("inspect", file, "--json", "--tensors").json()
    with open(file, "rb") as f:
        data = f.read()
    values = {t["name"]: array.array("f", data[t["offset"]:t["offset"] + t["bytes"]])
              for t in doc["tensors"]}
    for name, v in values.items():
        if name.endswith(".in_sum2"):
            count = values[name[:-len("in_sum2")] + "counts"]
            found[name[:-len(".in_sum2")]] = ([x / count[0] for x in v], count[0])
    return found


class Importance(Case):
    def test_sums(self):
        """Layers with one input have the same sums; rows are counted; a model in scalar code sees
        nearly the same."""
        text = write("q-sums.txt", "the inner ring of the pump " * 20)
        base = ["imatrix", "--model", wide(), "--file", text, "--context", "128"]
        r = self.ok(*base, "--output", path("q-im.gguf"), "--json").json()
        self.assertGreaterEqual(r["tokens"], 256)  # two chunks
        a = sums(path("q-im.gguf"))
        self.assertEqual(len(a) % 7, 0)
        self.assertEqual(r["layers"], len(a))
        for name, (mean, rows) in a.items():
            self.assertEqual(rows, r["tokens"], name)
            self.assertTrue(all(v >= 0 for v in mean))
        for i in range(len(a) // 7):
            part = f"blk.{i}."
            self.assertEqual(a[part + "attn_q.weight"], a[part + "attn_k.weight"])
            self.assertEqual(a[part + "attn_q.weight"], a[part + "attn_v.weight"])
            self.assertEqual(a[part + "ffn_gate.weight"], a[part + "ffn_up.weight"])
        self.ok(*base, "--output", path("q-plain.gguf"), "--device", "plain")
        for name, (mean, _) in sums(path("q-plain.gguf")).items():
            for u, v in zip(mean, a[name][0]):
                self.assertLess(abs(u - v), 0.02 * u + 1e-4, name)

    def test_forms(self):
        """Both forms say the same, and quantizing takes either and writes down which."""
        text = write("q-im.txt", "the inner ring of the pump " * 60)
        base = ["imatrix", "--model", wide(), "--file", text, "--context", "256", "--output"]
        self.ok(*base, path("q-im.gguf"))
        self.ok(*base, path("q-im.dat"))
        made = []
        for form in ("gguf", "dat"):
            r = self.ok("quantize", wide(), path("q-w.gguf"), "--type", "q4_k_m", "--imatrix",
                        path("q-im." + form), "--json").json()
            made.append([t["rmse"] for t in r["tensors"]])
            meta = self.ok("inspect", path("q-w.gguf"), "--json", "--metadata").json()["metadata"]
            self.assertEqual(meta["quantize.imatrix.file"], path("q-im." + form))
            self.assertEqual(meta["quantize.imatrix.dataset"], text)
            self.assertGreater(meta["quantize.imatrix.entries_count"], 6)
        for u, v in zip(*made):
            self.assertAlmostEqual(u, v, 4)
        r = self.ok("quantize", wide(), path("q-w.gguf"), "--type", "q4_k_m", "--json").json()
        self.assertNotEqual(made[0], [t["rmse"] for t in r["tensors"]])

    def test_refused(self):
        text = write("q-im.txt", "the inner ring of the pump " * 60)
        self.fails(2, "imatrix", "--model", wide(), "--file", text)
        self.fails(2, "imatrix", "--model", wide(), "--file", write("q-s.txt", "x"), "--output",
                   path("q-s.gguf"))
        # Where a result cannot go is found before anything is read or computed.
        for verb, flag in (("imatrix", "--output"), ("perplexity", "--save-logits")):
            r = self.fails(4, verb, "--model", path("none.gguf"), "--file", path("none.txt"), flag,
                           path("none/out"))
            self.assertIn(b"none/out", r.err)
        base = ["quantize", wide(), path("q-r.gguf"), "--type", "q4_0", "--imatrix"]
        self.fails(4, *base, path("none.dat"))
        self.ok("imatrix", "--model", wide(), "--file", text, "--output", path("q-g.dat"))
        good = read("q-g.dat")
        for bad in (b"", b"\1", good[:40], b"\xff\xff\xff\xff" + good[4:], good[:200],
                    good[:4] + b"\xff\xff\xff\x7f" + good[8:], good[:60] + b"\xff" * 8 + good[68:]):
            self.fails(1, *base, write("q-bad.dat", bad))
        self.fails(1, *base, wide())  # a model
        self.ok("imatrix", "--model", tiny(), "--file", text, "--output", path("q-other.dat"))
        self.fails(1, *base, path("q-other.dat"))  # of another model
        self.assertFalse(os.path.exists(path("q-r.gguf")))


class Refusals(Case):
    def test_use(self):
        self.fails(2, "quantize")
        self.fails(2, "quantize", wide())
        self.fails(2, "quantize", wide(), path("q-x.gguf"))
        self.fails(2, "quantize", wide(), path("q-x.gguf"), "--type", "q9")
        self.fails(2, "quantize", wide(), path("q-x.gguf"), "--type", "q4_0", "--threads", "0")
        self.fails(4, "quantize", path("none.gguf"), path("q-x.gguf"), "--type", "q4_0")
        self.fails(4, "quantize", wide(), path("none/q-x.gguf"), "--type", "q4_0", "--json")
        self.fails(1, "quantize", write("q-no.gguf", b"GGUFxxxx"), path("q-x.gguf"), "--type",
                   "q4_0")
        self.fails(1, "quantize", wide(), FOLDER, "--type", "q4_0")
        self.assertFalse(os.path.exists(path("q-x.gguf")))

    def test_itself(self):
        with open(wide(), "rb") as f:
            model = f.read()
        itself = write("q-itself.gguf", model)
        os.symlink("q-itself.gguf", path("q-link.gguf"))
        for out in (itself, path("./q-itself.gguf"), path("q-link.gguf")):
            r = self.fails(2, "quantize", itself, out, "--type", "q4_0")
            self.assertIn(b"the model itself", r.err)
        self.assertEqual(read("q-itself.gguf"), model)

    def test_not_finite(self):
        """Whatever becomes of the tensor, and where it stays as it is, too."""
        model = read(os.path.basename(wide()))
        tensors = self.ok("inspect", wide(), "--json", "--tensors").json()["tensors"]
        for name, kind in (("blk.0.ffn_up.weight", "q8_0"), ("blk.0.ffn_up.weight", "f32"),
                           ("blk.0.attn_norm.weight", "q4_0")):
            t = next(t for t in tensors if t["name"] == name)
            self.assertEqual(t["type"], "F32")
            for bad in (b"\0\0\xc0\x7f", b"\0\0\x80\xff"):
                data = bytearray(model)
                data[t["offset"] + 400:t["offset"] + 404] = bad
                r = self.fails(1, "quantize", write("q-bad.gguf", bytes(data)), path("q-nan.gguf"),
                               "--type", kind)
                self.assertIn(name.encode(), r.err)
        self.assertFalse(os.path.exists(path("q-nan.gguf")))
        self.assertEqual(left(), [])

    def test_full_disk(self):
        size = os.path.getsize(wide())
        write("q-full.gguf", "what was there")
        for limit in (100, 5000, size // 8):
            def shrink():
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            self.fails(1, "quantize", wide(), path("q-full.gguf"), "--type", "q4_0",
                       preexec_fn=shrink)
            self.assertEqual(read("q-full.gguf"), b"what was there")
        self.assertEqual(left(), [])


def used():
    """Processor time of all children so far: as long as one takes where nobody is in its way."""
    r = resource.getrusage(resource.RUSAGE_CHILDREN)
    return r.ru_utime + r.ru_stime


class Ends(Case):
    def start(self, out):
        d = 512 if SLOW == 1 else 256
        return subprocess.Popen([IGN, "quantize", tiny(d=d, seed=5), out, "--type", "q2_k",
                                 "--cpu", "c", "--threads", "1"], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, env=env())

    def whole(self, out):
        """Nothing, or all of it."""
        if os.path.exists(out):
            self.ok("inspect", out)
            self.ok("perplexity", "--model", out, "--file", path("q-long.txt"))
            os.unlink(out)
            return True
        return False

    def test_ended(self):
        """Ctrl-C leaves nothing, at any moment; a kill may leave a temporary file, but never a part
        of the model under its name."""
        write("q-long.txt", "the inner ring of the pump " * 60)
        out = path("q-ended.gguf")
        before = used()
        p = self.start(out)
        p.communicate()
        self.assertEqual(p.returncode, 0)
        took = used() - before
        self.assertTrue(self.whole(out))
        chance = random.Random(1)
        for how in [signal.SIGINT] * 6 + [signal.SIGTERM] * 2 + [signal.SIGKILL] * 6:
            p = self.start(out)
            time.sleep(took * chance.uniform(0, 1.1))
            p.send_signal(how)
            _, err = p.communicate(timeout=60 * SLOW)
            done = self.whole(out)
            if how == signal.SIGKILL:
                self.assertIn(p.returncode, (0, -9))
            else:
                self.assertIn(p.returncode, (0, 130, -how), err)
                self.assertEqual(left(), [])
                self.assertEqual(done, p.returncode == 0)
            for name in left():
                os.unlink(path(name))


if __name__ == "__main__":
    main()
