"""Hostile files, templates and output, through the program: a clear error, no signal, little memory."""
import os
import pty
import random
import struct
import subprocess
import time

from cli_rig import BYTE, IGN, SLOW, Case, env, ign, main, path, read, tiny, write

VERBS = (["inspect"], ["tokenize", "--text", "x", "--model"],
         ["generate", "--prompt", "x", "--max-tokens", "1", "--model"])


def s(text):
    text = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(text)) + text


def kv(key, type_, data):
    return s(key) + struct.pack("<I", type_) + data


def head(n_tensor=0, n_kv=0, version=3, magic=b"GGUF"):
    return magic + struct.pack("<IQQ", version, n_tensor, n_kv)


U32, STR, ARR, U64 = 4, 8, 9, 10
ARCH = kv("general.architecture", STR, s("llama"))
HUGE = 2 ** 64 - 1

# Name of the item -> bytes of the file.
FILES = {
    "A01 empty": b"",
    "A02 magic only": b"GGUF",
    "A04 reversed": b"FUGG" + head()[4:],
    "A04 old": b"lmgg" + bytes(100),
    "A05 version 0": head(version=0), "A05 version 1": head(version=1),
    "A05 version 4": head(version=4), "A05 version max": head(version=0xFFFFFFFF),
    "A05 big endian": b"GGUF" + struct.pack(">IQQ", 3, 0, 0),
    "A06 tensors": head(n_tensor=HUGE), "A06 2^63": head(n_tensor=2 ** 63),
    "A06 2^31": head(n_tensor=2 ** 31), "A06 10^6": head(n_tensor=10 ** 6) + bytes(1000),
    "A07 keys": head(n_kv=HUGE), "A07 2^31": head(n_kv=2 ** 31) + bytes(1000),
    "A08 key length": head(n_kv=1) + struct.pack("<Q", HUGE) + bytes(50),
    "A08 key 2^63": head(n_kv=1) + struct.pack("<Q", 2 ** 63) + bytes(50),
    "A08 key +1": head(n_kv=1) + struct.pack("<Q", 51) + bytes(50),
    "A08 key empty": head(n_kv=1) + kv("", U32, bytes(4)),
    "A09 key escapes": head(n_kv=1) + kv(b"a\x1b[31m\n\x00b", U32, bytes(4)),
    "A10 twice": head(n_kv=2) + ARCH + ARCH,
    "A11 type 13": head(n_kv=1) + kv("a", 13, bytes(8)),
    "A11 type -1": head(n_kv=1) + kv("a", 0xFFFFFFFF, bytes(8)),
    "A12 string": head(n_kv=1) + kv("a", STR, struct.pack("<Q", HUGE)),
    "A12 1 GiB": head(n_kv=1) + kv("a", STR, struct.pack("<Q", 1 << 30) + bytes(100)),
    "A13 unknown array": head(n_kv=1) + kv("a", ARR, struct.pack("<IQ", 99, 1 << 60)),
    "A14 array wraps": head(n_kv=1) + kv("a", ARR, struct.pack("<IQ", U64, 1 << 61) + bytes(8)),
    "A15 nested": head(n_kv=1) + kv("a", ARR, struct.pack("<IQ", ARR, 1) * 1000),
    "A16 strings": head(n_kv=1) + kv("a", ARR, struct.pack("<IQ", STR, 1000) + bytes(64)),
    **{f"A17 alignment {a}": head(n_kv=2) + ARCH + kv("general.alignment", U32,
                                                       struct.pack("<I", a))
       for a in (0, 1, 3, 13, 1 << 30, 1 << 31)},
    "A17 alignment text": head(n_kv=2) + ARCH + kv("general.alignment", STR, s("32")),
    "A31 no architecture": head(n_kv=1) + kv("x", U32, bytes(4)),
    "A38 gzip": b"\x1f\x8b\x08" + bytes(200), "A38 zip": b"PK\x03\x04" + bytes(200),
    "A38 elf": b"\x7fELF" + bytes(200), "A38 pdf": b"%PDF-1.7\n" + bytes(200),
}


def tensor(name, dims, type_=0, offset=0):
    return (s(name) + struct.pack("<I", len(dims)) + b"".join(struct.pack("<Q", d) for d in dims) +
            struct.pack("<IQ", type_, offset))


def tensors(*infos):
    blob = head(n_tensor=len(infos), n_kv=1) + ARCH + b"".join(infos)
    return blob + bytes(-len(blob) % 32) + bytes(256)


FILES.update({
    "A18 no dimensions": tensors(tensor("a", [])),
    "A18 five": tensors(tensor("a", [1] * 5)),
    "A19 zero": tensors(tensor("a", [0, 4])),
    "A20 negative": tensors(tensor("a", [2 ** 63])),
    "A21 product": tensors(tensor("a", [2 ** 42 + 1, 2 ** 42 + 1])),
    "A21 wraps to 0": tensors(tensor("a", [2 ** 32, 2 ** 32])),
    "A21 bytes wrap": tensors(tensor("a", [2 ** 62])),
    "A22 sum": tensors(tensor("a", [2 ** 60]), tensor("b", [2 ** 60], offset=2 ** 62)),
    "A24 block": tensors(tensor("a", [33], type_=8)),
    "A25 type 255": tensors(tensor("a", [32], type_=255)),
    "A25 type 4": tensors(tensor("a", [32], type_=4)),
    "A26 offset": tensors(tensor("a", [8], offset=2 ** 64 - 32)),
    "A26 not aligned": tensors(tensor("a", [8], offset=1)),
    "A26 past the end": tensors(tensor("a", [8], offset=1 << 20)),
    "A27 overlap": tensors(tensor("a", [8]), tensor("b", [8])),
    "A28 twice": tensors(tensor("a", [8]), tensor("a", [8], offset=32)),
    "A28 no name": tensors(tensor("", [8])),
    "A28 name length": head(1, 1) + ARCH + struct.pack("<Q", HUGE) + bytes(64),
})


def alter(key, data, of=None):
    """The tiny model with the value of one key replaced by as many bytes."""
    blob = bytearray(read(os.path.basename(of or tiny())))
    at = blob.index(s(key)) + len(s(key)) + 4
    blob[at:at + len(data)] = data
    return bytes(blob)


def u32(v):
    return struct.pack("<I", v)


HPARAMS = {
    "A31 block_count": [0, 3, 513, 2 ** 31],
    "A31 attention.head_count": [0, 3, 2 ** 31],
    "A31 attention.head_count_kv": [0, 3, 5, 2 ** 31],
    "A31 embedding_length": [0, 1, 65, 2 ** 31],
    "A31 feed_forward_length": [0, 127, 2 ** 31],
    "A31 context_length": [0],
    "C01 bos_token_id": [267, 2 ** 32 - 2],
    "C01 eos_token_id": [267],
}


class Files(Case):
    def refused(self, blob, verbs=VERBS):
        file = write("hostile.gguf", blob)
        for verb in verbs:
            before = time.monotonic()
            r = self.fails((1, 4), *verb, file)
            self.assertLess(time.monotonic() - before, 5 * SLOW)
            self.assertIn(b"hostile.gguf", r.err)

    def test_container(self):
        for name, blob in FILES.items():
            with self.subTest(name):
                verbs = VERBS[1:] if name in ("A17 alignment 1", "A31 no architecture",
                                              "A08 key empty", "A09 key escapes") else VERBS
                self.refused(blob, verbs)

    def test_truncation(self):
        blob = read(os.path.basename(tiny()))
        tail = blob.index(b"output_norm.weight")
        for n in sorted({*range(0, 200, 7), *range(200, tail, 499), tail, len(blob) - 1}):
            with self.subTest(n):
                self.refused(blob[:n], VERBS[:1])

    def test_numbers(self):
        for name, values in HPARAMS.items():
            item, key = name.split()
            key = ("llama." if item == "A31" else "tokenizer.ggml.") + key
            for v in values:
                with self.subTest(key, value=v):
                    self.refused(alter(key, u32(v)), VERBS[2:])
        for v in (0.0, -1.0, float("nan"), float("inf")):
            with self.subTest("rms_eps", value=v):
                self.refused(alter("llama.attention.layer_norm_rms_epsilon",
                                   struct.pack("<f", v)), VERBS[2:])

    def test_missing_tensor(self):
        blob = read(os.path.basename(tiny())).replace(b"blk.1.attn_k.weight",
                                                      b"blk.1.attn_x.weight")
        self.refused(blob, VERBS[2:])

    def test_not_finite(self):
        r = self.fails(1, "generate", "--model", tiny(nan=1), "--prompt", "x", "--json")
        self.assertEqual(r.json()["error"]["code"], "device")

    def test_bit_flips(self):
        """Any verdict will do, except a signal."""
        blob = bytearray(read(os.path.basename(tiny())))
        end = blob.index(b"output.weight") + 60
        rng = random.Random(1)
        for i in range(150):
            at, bit = rng.randrange(end), 1 << rng.randrange(8)
            blob[at] ^= bit
            file = write("flip.gguf", bytes(blob))
            for verb in VERBS[1:]:
                r = ign(*verb, file)
                self.assertIn(r.code, (0, 1, 3, 4), (at, bit, r))
            blob[at] ^= bit

    def test_special_files(self):
        os.mkfifo(path("fifo"))
        os.symlink(path("loop"), path("loop"))
        os.mkdir(path("folder.gguf"))
        for name in (path("fifo"), path("folder.gguf"), "/dev/zero", path("loop"), "/dev/null"):
            for verb in VERBS:
                r = self.fails((1, 4), *verb, name)
        secret = write("secret.gguf", b"x")
        os.chmod(secret, 0)
        if os.geteuid() != 0:
            self.fails(1, "inspect", secret)

    def test_sparse(self):
        """A terabyte that is not there: refused by its size or opened, never read through."""
        blob = tensors(tensor("token_embd.weight", [1 << 20, 1 << 18]))
        file = write("sparse.gguf", blob)
        try:
            os.truncate(file, (1 << 40) + 4096)
        except OSError:
            self.skipTest("no sparse files here")
        before = time.monotonic()
        r = ign("inspect", file, "--json")
        self.assertEqual(r.code, 0, r)
        self.assertEqual(r.json()["parameters"], 1 << 38)
        r = ign("generate", "--model", file, "--prompt", "x")
        self.assertIn(r.code, (1, 3), r)
        self.assertLess(time.monotonic() - before, 5 * SLOW)
        os.unlink(file)

    def test_does_not_fit(self):
        """More KV memory than the machine has: refused with numbers, before anything is loaded."""
        need = (1 << 24) * 2 * 2 * 512 * 4
        if os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") > need:
            self.skipTest("this machine has room for %d bytes" % need)
        r = self.fails(3, "generate", "--model", tiny(context=1 << 24, d=1024), "--prompt", "x",
                       "--context", str(1 << 24), "--kv-type", "f32", "--json")
        self.assertEqual(r.json()["error"]["code"], "no_fit")
        self.assertRegex(r.err, rb"\d GB")

    def test_memory(self):
        """Refusing takes no more than a little memory, whatever the file says it needs."""
        for name in ("A06 10^6", "A12 1 GiB", "A14 array wraps", "A21 bytes wrap"):
            p = subprocess.Popen([IGN, "inspect", write("m.gguf", FILES[name])],
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env())
            _, status, usage = os.wait4(p.pid, 0)
            p.returncode = os.waitstatus_to_exitcode(status)
            self.assertEqual(p.returncode, 1)
            self.assertLess(usage.ru_maxrss, 32 * 1024 if SLOW == 1 else 1 << 30)


class Templates(Case):
    def render(self, template, codes=(1,)):
        t = write("h.jinja", template)
        before = time.monotonic()
        r = self.fails(codes, "template", "--template", t, stdin='[{"role":"user","content":"x"}]')
        self.assertLess(time.monotonic() - before, 10 * SLOW)
        return r

    def test_hostile(self):
        for template in (
                "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
                "{{ " + "(" * 10000 + "1" + ")" * 10000 + " }}",
                "{% if 1 %}" * 10000 + "{% endif %}" * 10000,
                "{% for i in range(10**9) %}x{% endfor %}",
                "{% for i in range(999) %}{% for j in range(999) %}{% for k in range(999) %}x"
                "{% endfor %}{% endfor %}{% endfor %}",
                "{{ 'a' * 10**9 }}",
                "{% set ns = namespace(a='aaaaaaaaaa') %}{% for i in range(60) %}"
                "{% set ns.a = ns.a ~ ns.a %}{% endfor %}{{ ns.a }}",
                "{{ ''.__class__.__mro__[1].__subclasses__() }}",
                "{% include '/etc/passwd' %}", "{% import 'os' as os %}", "{{ 1 +",
                "{% for %}", "{{ raise_exception('no') }}", "{{ messages[99999999999999999999] }}",
                "{# " + "x" * (2 << 20) + " #}"):
            with self.subTest(template[:40]):
                self.render(template)

    def test_in_a_model(self):
        """A template that cannot be parsed does not keep its model from working --raw."""
        with open(tiny(), "rb") as f:
            blob = f.read()
        bad = write("bad.gguf", blob.replace(b"{% for m in messages %}", b"{% for m in messages +}"))
        self.fails(1, "generate", "--model", bad, "--prompt", "x")
        self.ok("generate", "--model", bad, "--prompt", "x", "--raw", "--max-tokens", "2")
        self.ok("tokenize", "--model", bad, "--text", "x")

    def test_messages(self):
        for text in ("", "{", "[1]", '[{"role": "user"}]', "[" * 100000, '[{"role":"user",'
                     '"content":"a","content":"b"}]', b"\xff\xfe", '["\\ud800"]', "[NaN]", "[1e999]"):
            with self.subTest(text[:20]):
                r = ign("template", "--model", tiny(), stdin=text)
                self.assertIn(r.code, (0, 1), r)
                if r.code:
                    self.assertIn(b"ign: error: ", r.err)


class Terminal(Case):
    def on_terminal(self, *args):
        """What the program writes where standard output is a terminal."""
        leader, follower = pty.openpty()
        p = subprocess.Popen([IGN, *args], stdin=subprocess.DEVNULL, stdout=follower,
                             stderr=subprocess.DEVNULL, env=env())
        os.close(follower)
        got = b""
        while True:
            try:
                piece = os.read(leader, 4096)
            except OSError:
                break
            if not piece:
                break
            got += piece
        os.close(leader)
        self.assertEqual(p.wait(timeout=60), 0)
        return got

    def test_escapes(self):
        """J13: a terminal never obeys what a model says; a file gets it byte for byte."""
        args = ["generate", "--model", tiny(), "--prompt", "x", "--max-tokens", "3",
                "--logit-bias", f"{BYTE + 0x1B}=1000"]
        self.assertEqual(self.on_terminal(*args), b"^[^[^[\r\n")
        self.assertEqual(self.ok(*args).out, b"\x1b\x1b\x1b\n")
        ids = " ".join(str(BYTE + b) for b in b"a\x07\x7f\xc2\x9bz\tok\n")
        self.assertEqual(self.on_terminal("detokenize", "--model", tiny(), "--ids", ids),
                         b"a^G^?^[z\tok\r\n")

    def test_error_text(self):
        r = self.fails(4, "inspect", "a\x1b]0;title\x07b\nign: error: false")
        self.assertEqual(len(r.err.splitlines()), 1)
        self.assertNotIn(b"\x1b", r.err)

    def test_json_text(self):
        d = self.ok("generate", "--model", tiny(), "--prompt", "x", "--max-tokens", "1", "--json",
                    "--logit-bias", f"{BYTE + 0x1B}=1000")
        self.assertNotIn(b"\x1b", d.out)
        self.assertEqual(d.json()["text"], "\x1b")


if __name__ == "__main__":
    main()
