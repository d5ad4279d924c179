"""Quantizing by the program: every type, the same bytes by any threads and level, what is lost, what
is refused; a full disk, signals and a killed process leave nothing under the name."""
import os
import random
import resource
import signal
import subprocess
import time

from cli_rig import FOLDER, IGN, SLOW, Case, env, ign, main, path, read, tiny, write

TYPES = {"f32": "F32", "f16": "F16", "bf16": "BF16", "q8_0": "Q8_0", "q4_0": "Q4_0", "q4_1": "Q4_1",
         "q5_0": "Q5_0", "q5_1": "Q5_1", "q2_k": "Q2_K", "q3_k_m": "Q3_K", "q4_k_s": "Q4_K",
         "q4_k_m": "Q4_K", "q5_k_m": "Q5_K", "q6_k": "Q6_K", "int8": "Q8_0", "int4": "Q4_K"}


def wide():
    """Rows that super-blocks divide."""
    return tiny(d=256, seed=3)


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
        self.ok("quantize", path("q-a.gguf"), path("q-a.gguf"), "--type", "q4_k_m")
        self.assertLess(os.path.getsize(path("q-a.gguf")), os.path.getsize(path("q-b.gguf")))


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

    def test_not_finite(self):
        data = bytearray(read(os.path.basename(wide())))
        tensors = self.ok("inspect", wide(), "--json", "--tensors").json()["tensors"]
        t = next(t for t in tensors if t["name"] == "blk.0.ffn_up.weight")
        for bad in (b"\0\0\xc0\x7f", b"\0\0\x80\xff"):
            data[t["offset"] + 400:t["offset"] + 404] = bad
            r = self.fails(1, "quantize", write("q-bad.gguf", bytes(data)), path("q-nan.gguf"),
                           "--type", "q8_0")
            self.assertIn(b"blk.0.ffn_up.weight", r.err)
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


class Ends(Case):
    def start(self, out):
        return subprocess.Popen([IGN, "quantize", tiny(d=512, seed=5), out, "--type", "q2_k",
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
        begun = time.monotonic()
        p = self.start(out)
        p.communicate()
        self.assertEqual(p.returncode, 0)
        took = time.monotonic() - begun
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
