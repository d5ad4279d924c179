"""The store by the program: import, verify, bundles, and what hostile bundles and bad moments do."""
import errno
import fcntl
import glob
import hashlib
import io
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import tarfile
import time

from cli_rig import IGN, SLOW, TINY, Case, env, ign, main, path, tiny, write

FAULT = os.path.join(os.path.dirname(TINY), "fault")  # of check_faults.py
KILLS = int(os.environ.get("IGN_TEST_KILLS", "12"))


def sha256(file):
    with open(file, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def tree(folder):
    """Every file below a folder: its path and its bytes."""
    found = {}
    for top, _, names in os.walk(folder):
        for name in names:
            file = os.path.join(top, name)
            with open(file, "rb") as f:
                found[os.path.relpath(file, folder)] = f.read()
    return found


def hf_folder(name):
    top = path(name)
    shutil.rmtree(top, ignore_errors=True)
    os.makedirs(os.path.join(top, "1_Pooling"))
    for file in ("config.json", "model.safetensors", "1_Pooling/config.json"):
        write(f"{name}/{file}", json.dumps({"file": file}))
    write(f"{name}/.gitattributes", "x")
    return top


class Rig(Case):
    def setUp(self):
        self.store = path("models-store")
        shutil.rmtree(self.store, ignore_errors=True)

    def models(self, *args, code=0, store=None, **more):
        r = ign("models", *args, "--store", store or self.store, **more)
        self.assertIn(r.code, code if isinstance(code, tuple) else (code,), r)
        return r

    def refused(self, codes, words, *args, **more):
        r = self.fails(codes, "models", *args, "--store", self.store, **more)
        self.assertIn(words, r.err.decode(), r)
        return r

    def names(self, **more):
        return [m["name"] for m in self.models("list", "--json", **more).json()["models"]]

    def whole(self):
        """The store as it is now: nothing half there, everything as recorded."""
        d = self.models("verify", "--json").json()
        self.assertTrue(d["ok"])
        self.assertNotIn("no record", [m["state"] for m in d["models"]])
        left = [n for n in os.listdir(self.store) if n.startswith((".new.", ".gone.")) or n.endswith(".tmp")]
        self.assertEqual(left, [])
        return [m["name"] for m in d["models"]]

    def fault(self, fault, *words, store=None):
        """A run of which a system call fails, or at which it is killed: fault.c. None: it does not come so far."""
        p = subprocess.run([FAULT, f"-{fault}", IGN, "models", *words, "--store", store or self.store],
                           env=env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if p.returncode == 77 or SLOW > 1:
            self.skipTest("no program may be traced here")
        return None if p.returncode == 90 else p

    def opened(self, *words):
        """How many files a run opens."""
        with open(path("counts"), "wb") as nine:
            p = subprocess.run(["sh", "-c", f'exec "$@" 9>&{nine.fileno()}', "sh", FAULT, IGN, "models", *words,
                                "--store", self.store], env=env(), stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, pass_fds=[nine.fileno()])
        if p.returncode == 77 or SLOW > 1:
            self.skipTest("no program may be traced here")
        self.assertEqual(p.returncode, 0)
        with open(path("counts")) as f:
            return int(dict(x.split() for x in f)["openat"])


class Coming(Rig):
    def test_file(self):
        self.assertEqual(self.names(), [])
        m = tiny()
        d = self.models("import", m, "--name", "small", "--json").json()
        self.assertEqual(d, {"name": "small.gguf", "came": "linked"})
        inside = os.path.join(self.store, "small.gguf")
        self.assertTrue(os.path.samefile(m, inside))
        (one,) = self.models("list", "--json").json()["models"]
        self.assertEqual((one["bytes"], one["sha256"], one["state"]),
                         (os.path.getsize(m), sha256(m), "recorded"))
        subprocess.run(["sha256sum", "--quiet", "-c", "small.gguf.sha256"], cwd=self.store, check=True)
        self.assertEqual(self.models("import", m, "--name", "small", "--json").json()["came"],
                         "there already")
        self.ok("generate", "--model", "small", "--store", self.store, "--prompt", "x",
                "--max-tokens", "1")
        self.models("remove", "small")
        self.assertEqual(self.names(), [])
        self.assertEqual(sorted(os.listdir(self.store)), [".lock"])
        self.assertTrue(os.path.exists(m))

    def test_folder(self):
        top = hf_folder("Some-Model")
        self.assertEqual(self.models("import", top + "/", "--json").json()["name"], "Some-Model")
        got = tree(os.path.join(self.store, "Some-Model"))
        self.assertEqual(set(got), {"config.json", "model.safetensors", "1_Pooling/config.json"})
        subprocess.run(["sha256sum", "--quiet", "-c", "Some-Model.sha256"], cwd=self.store, check=True)
        self.models("remove", "Some-Model")
        self.assertEqual(sorted(os.listdir(self.store)), [".lock"])

    def test_nothing_twice(self):
        m = path("copy.gguf")
        shutil.copy(tiny(), m)
        self.models("import", tiny(), "--name", "one")
        self.models("import", m, "--name", "two")
        self.assertTrue(os.path.samefile(os.path.join(self.store, "one.gguf"),
                                         os.path.join(self.store, "two.gguf")))

    def test_other_file_system(self):
        if not os.path.isdir("/dev/shm") or os.stat("/dev/shm").st_dev == os.stat(path(".")).st_dev:
            self.skipTest("no second file system")
        store = f"/dev/shm/ign-test-{os.getpid()}"
        try:
            d = self.models("import", tiny(), "--name", "x", "--json", store=store).json()
            self.assertEqual(d["came"], "copied")
            self.assertEqual(sha256(os.path.join(store, "x.gguf")), sha256(tiny()))
        finally:
            shutil.rmtree(store, ignore_errors=True)

    def test_refused(self):
        m = tiny()
        self.refused(4, "nothing.gguf", "import", path("nothing.gguf"))
        self.refused(1, "not a GGUF file", "import", write("text.gguf", "not a model"))
        os.makedirs(path("empty-folder"), exist_ok=True)
        self.refused(1, "config.json", "import", path("empty-folder"))
        self.refused(1, "SHA-256", "import", m, "--sha256", "0" * 64)
        for name in ("../up", "a/b", ".hidden", "a\nb", "quarantine", "x" * 300, "a:b", "NUL", "con.gguf",
                     "Com1.x.gguf", "aux .gguf", "lpt\u00b2.gguf", "CONOUT$"):
            self.refused((1, 2), "", "import", m if name != "quarantine" else hf_folder("q"),
                         "--name", name)
        self.assertEqual(self.names(), [])
        self.models("import", m, "--name", "x")
        self.refused(2, "another model", "import", tiny(context=64), "--name", "x")
        self.assertEqual(sha256(os.path.join(self.store, "x.gguf")), sha256(m))
        self.refused(4, "no model 'y'", "remove", "y")
        self.refused(4, "no model '../x'", "remove", "../x")
        for words in (("bundle", "x"), ("bundle", "--output", path("o")), ("lst",), ("remove",),
                      ("list", "x")):
            self.refused(2, "", *words)

    def test_adopted(self):
        """A file that somebody has put there gets its record where it lies, once it has been read."""
        write_in(self.store, "free.gguf", b"GGUF-free")
        inside = os.path.join(self.store, "free.gguf")
        self.assertEqual(self.models("import", inside, "--json").json()["came"], "there already")
        self.assertEqual(self.whole(), ["free.gguf"])
        write_in(self.store, "other.gguf", b"GGUF-other")
        self.refused(2, "another model", "import", tiny(), "--name", "other")
        self.assertFalse(os.path.exists(os.path.join(self.store, "other.gguf.sha256")))

    def test_hash_words(self):
        m = tiny()
        self.models("import", m, "--name", "x", "--sha256", sha256(m).upper())
        self.refused(2, "no SHA-256", "import", m, "--name", "y", "--sha256", "zz")
        self.refused(2, "folder", "import", hf_folder("h"), "--sha256", "0" * 64)
        self.assertEqual(self.names(), ["x.gguf"])

    def test_too_many_files(self):
        top = hf_folder("too-many")
        for i in range(4096):
            write(f"too-many/{i}", "x")
        self.refused(1, "more than 4096 files", "import", top)
        self.assertEqual(self.names(), [])

    def test_names_of_others(self):
        """What somebody has put there under a name that no verb would give is listed, in one line each, and
        can be removed; it hides nothing, and leads nowhere."""
        self.models("import", tiny(), "--name", "a")
        names = ["n\nx.gguf", "c\r\x1b[2Jx.gguf", "CON.gguf", " b.gguf", "a:b.gguf", "back\\slash.gguf"]
        for name in names:
            write_in(self.store, name, "GGUF")
        write_in(self.store, b"\xff.gguf".decode("utf-8", "surrogateescape"), "GGUF")
        write_in(self.store, "quarantine", "no folder")
        d = {m["name"]: m for m in self.models("list", "--json").json()["models"]}
        self.assertLessEqual({"a.gguf", *names}, set(d))
        for name in names:
            self.assertIn("a name that cannot be kept", d[name]["why"], name)
        self.assertEqual(len(self.models("list").out.split(b"\n")), len(names) + 3)
        self.models("verify")
        self.refused(4, "no record", "bundle", "CON", "--output", path("con.bundle"))
        for name in [*names, b"\xff.gguf"]:
            self.models("remove", name)
        for name in (".lock", "quarantine", "../a", "a.gguf/..", "x/../a.gguf", ""):
            self.refused(4, "no model", "remove", name)
        self.assertEqual(self.whole(), ["a.gguf"])

    def test_no_store(self):
        """An empty name is no folder: it would be the root of all."""
        for words in (["list"], ["import", tiny()], ["pull", "https://localhost/x.gguf"]):
            r = self.fails(4, "models", *words, "--store", "")
            self.assertIn("(--store is empty)", r.err.decode())
        self.assertIn("HOME is not set", self.fails(4, "models", "list", environ=env(HOME=None)).err.decode())

    def test_names_of_records(self):
        top = hf_folder("h")
        for name in ("x.gguf.sha256", "quarantine", "y.gguf"):
            self.refused(2, "cannot be the name", "import", top, "--name", name)
        self.assertEqual(self.names(), [])

    def test_siblings(self):
        """Files of one model that are alike are stored once, copied or out of a bundle."""
        store = f"/dev/shm/ign-test-{os.getpid()}"
        if not os.path.isdir("/dev/shm") or os.stat("/dev/shm").st_dev == os.stat(path(".")).st_dev:
            self.skipTest("no second file system")
        top = hf_folder("twins")
        for n in ("1", "2"):
            write_in(top, f"same{n}.safetensors", b"x" * 5000)
        try:
            for words in (["import", top], ["unbundle", path("twins.bundle")]):
                shutil.rmtree(store, ignore_errors=True)
                self.models(*words, store=store)
                self.assertTrue(os.path.samefile(*(os.path.join(store, "twins", f"same{n}.safetensors")
                                                   for n in ("1", "2"))))
                self.models("verify", store=store)
                if words[0] == "import":
                    self.models("bundle", "twins", "--output", path("twins.bundle"), store=store)
        finally:
            shutil.rmtree(store, ignore_errors=True)

    def test_planted_lock(self):
        """A link in the place of a lock or of a folder of the store's own is not followed."""
        victim = path("no-such-victim")
        os.makedirs(self.store)
        os.symlink(victim, os.path.join(self.store, ".lock"))
        self.refused(1, "link", "import", tiny(), "--name", "x")
        self.assertFalse(os.path.lexists(victim))
        os.unlink(os.path.join(self.store, ".lock"))
        others = path("others-made")
        shutil.rmtree(others, ignore_errors=True)
        write_in(others, "kept", "theirs")
        os.symlink(others, os.path.join(self.store, ".made"))
        self.models("import", tiny(), "--name", "x")
        self.assertEqual(tree(others), {"kept": b"theirs"})

    def test_planted_links(self):
        """Links in the store lead no writer out of it."""
        victim, others = write("victim", "precious"), path("others")
        shutil.rmtree(others, ignore_errors=True)
        write_in(others, "s.gguf", "theirs")
        write_in(others, "below/kept", "theirs")
        os.makedirs(self.store)
        os.symlink(victim, os.path.join(self.store, "s.gguf.sha256"))
        os.symlink(others, os.path.join(self.store, ".new.0"))
        self.models("import", tiny(), "--name", "s")
        self.assertEqual(self.whole(), ["s.gguf"])
        os.symlink(others, os.path.join(self.store, "quarantine"))
        os.unlink(os.path.join(self.store, "s.gguf"))
        write_in(self.store, "s.gguf", "GGUF-broken")
        self.refused(1, "a link stands", "verify")
        self.assertEqual(tree(others), {"s.gguf": b"theirs", "below/kept": b"theirs"})
        with open(victim) as f:
            self.assertEqual(f.read(), "precious")

    def test_rotten_twin(self):
        """What the store holds under a hash is read before it gets a second name."""
        self.models("import", tiny(), "--name", "one")
        file = os.path.join(self.store, "one.gguf")
        os.unlink(file)
        write_in(self.store, "one.gguf", b"GGUF" + b"x" * (os.path.getsize(tiny()) - 4))
        self.models("import", tiny(), "--name", "two")
        self.assertEqual(sha256(os.path.join(self.store, "two.gguf")), sha256(tiny()))

    def test_elsewhere(self):
        home = path("home-of-others")
        shutil.rmtree(home, ignore_errors=True)
        blob = sha256(tiny())
        write_in(home, f".ollama/models/blobs/sha256-{blob}", open(tiny(), "rb").read())
        layers = [{"mediaType": "application/vnd.ollama.image.license", "digest": "sha256:" + "0" * 64},
                  {"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:" + blob}]
        top = ".ollama/models/manifests/registry.ollama.ai/library"
        write_in(home, f"{top}/llama3.1/8b", json.dumps({"layers": layers}))
        write_in(home, f"{top}/broken/latest", "{")
        write_in(home, f"{top}/gone/latest", json.dumps({"layers": [
            dict(layers[1], digest="sha256:" + "1" * 64)]}))
        hub = ".cache/huggingface/hub/models--Qwen--Small"
        write_in(home, f"{hub}/refs/main", "abc123")
        write_in(home, f"{hub}/blobs/c", "{}")
        os.makedirs(os.path.join(home, f"{hub}/snapshots/abc123"))
        os.symlink("../../blobs/c", os.path.join(home, f"{hub}/snapshots/abc123/config.json"))
        two = ".cache/huggingface/hub/models--a--two"
        write_in(home, f"{two}/refs/main", "abc123")
        for file in ("x-q4.gguf", "x-q8.gguf"):
            write_in(home, f"{two}/snapshots/abc123/{file}", open(tiny(), "rb").read())
        e = env(HOME=home)
        d = self.models("list", "--json", environ=e).json()["elsewhere"]
        self.assertEqual(sorted((m["program"], m["name"]) for m in d),
                         [("hugging face", "Qwen/Small"), ("hugging face", "a/two/x-q4.gguf"),
                          ("hugging face", "a/two/x-q8.gguf"), ("ollama", "llama3.1:8b")])
        self.assertEqual(self.models("import", "a/two/x-q8.gguf", "--json", environ=e).json(),
                         {"name": "x-q8.gguf", "came": "linked"})
        self.models("remove", "x-q8.gguf")
        self.assertEqual(self.models("import", "llama3.1:8b", "--json", environ=e).json(),
                         {"name": "llama3.1-8b.gguf", "came": "linked"})
        self.assertEqual(self.models("import", "Qwen/Small", "--json", environ=e).json()["name"],
                         "Small")
        self.assertFalse(os.path.islink(os.path.join(self.store, "Small", "config.json")))
        self.assertEqual(self.whole(), ["Small", "llama3.1-8b.gguf"])

    def test_elsewhere_lies(self):
        """Manifests and folders of others that lead astray: nothing is listed that is not below them,
        and nothing comes in but what its hash says."""
        home = path("home-of-liars")
        shutil.rmtree(home, ignore_errors=True)
        write_in(home, "secret.gguf", b"GGUF-secret")
        blobs, top = ".ollama/models/blobs", ".ollama/models/manifests/registry.ollama.ai/library"
        model = "application/vnd.ollama.image.model"
        good = sha256(tiny())
        half = b"GGUF" + b"x" * 100
        for hash_ in (good, "2" * 64):
            write_in(home, f"{blobs}/sha256-{hash_}", half)  # of another hash: half downloaded
        write_in(home, f"{blobs}/sha256-{'3' * 64}-partial", half)
        os.symlink(os.path.join(home, "secret.gguf"), os.path.join(home, f"{blobs}/sha256-{'4' * 64}"))
        os.mkfifo(os.path.join(home, f"{blobs}/sha256-{'5' * 64}"))
        for i, text in enumerate((
                json.dumps({"layers": [{"mediaType": model, "digest": "sha256:../../../secret.gguf"}]}),
                json.dumps({"layers": [{"mediaType": model, "digest": "sha256:" + "3" * 64}]}),
                json.dumps({"layers": [{"mediaType": model, "digest": "sha256:" + "/" * 64}]}),
                json.dumps({"layers": {"mediaType": model}}), json.dumps({"layers": [1, None, "x"]}),
                json.dumps([]), "[" * 100000, "\xff", "", "{" * 10)):
            write_in(home, f"{top}/liar/t{i}", text)
        for name, hash_ in (("half", good), ("other", "2" * 64), ("link", "4" * 64), ("fifo", "5" * 64)):
            write_in(home, f"{top}/{name}/latest",
                     json.dumps({"layers": [{"mediaType": model, "digest": "sha256:" + hash_}]}))
        write_in(home, f"{top}/a b/c:d", json.dumps({"layers": [{"mediaType": model,
                                                                 "digest": "sha256:" + good}]}))
        hub = ".cache/huggingface/hub"
        for i, revision in enumerate(("../../../..", "/etc", "", "x" * 5000, "a/b", ".", "none")):
            write_in(home, f"{hub}/models--a--{i}/refs/main", revision)
        write_in(home, f"{hub}/models--b--out/refs/main", "r")
        os.makedirs(os.path.join(home, f"{hub}/models--b--out/snapshots/r"))
        os.symlink(os.path.join(home, "secret.gguf"),
                   os.path.join(home, f"{hub}/models--b--out/snapshots/r/out.gguf"))
        os.symlink("../../blobs/none", os.path.join(home, f"{hub}/models--b--out/snapshots/r/gone.gguf"))
        e = env(HOME=home)
        found = self.models("list", "--json", environ=e).json()["elsewhere"]
        for m in found:
            self.assertTrue(os.path.realpath(m["path"]).startswith(home + "/.") or m["name"] in (
                "link:latest", "b/out/out.gguf", "b/out"), m)
        for name in ("half:latest", "other:latest", "fifo:latest", "link:latest"):
            r = self.models("import", name, environ=e, code=1)
            self.assertNotIn(b"secret", r.out)
        for name in ("liar:t0", "liar:t1", "liar:t2", "b/out/gone.gguf", "a/0"):
            self.refused(4, "", "import", name, environ=e)
        self.assertEqual(self.names(), [])

    def test_copied_without_room(self):
        """Between file systems a link is a copy, for which the disk is asked first."""
        store = path("small-store")
        os.makedirs(store, exist_ok=True)
        big = write("big-one.gguf", b"GGUF" + bytes(30 << 20))
        script = (f'mount -t tmpfs -o size=20m none "{store}" || exit 77\n'
                  f'"{IGN}" models import "{big}" --store "{store}"; echo code $?; ls -A "{store}"\n')
        p = subprocess.run(["unshare", "-rm", "sh", "-c", script], env=env(), stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, timeout=120)
        os.unlink(big)
        if p.returncode == 77 or b"unshare" in p.stderr:
            self.skipTest("no file system may be mounted here")
        self.assertEqual(p.stdout.split(), [b"code", b"1", b".lock"], p)
        self.assertIn(b"the disk has", p.stderr)


def write_in(top, name, data):
    file = os.path.join(top, name)
    os.makedirs(os.path.dirname(file), exist_ok=True)
    with open(file, "wb") as f:
        f.write(data if isinstance(data, bytes) else data.encode())


class Checked(Rig):
    def test_verify(self):
        for name in ("a", "b"):
            shutil.copy(tiny(), path(f"{name}.gguf"))
            with open(path(f"{name}.gguf"), "ab") as f:
                f.write(name.encode())
            self.models("import", path(f"{name}.gguf"))
        self.models("import", hf_folder("c"))
        self.assertEqual(self.whole(), ["a.gguf", "b.gguf", "c"])
        os.unlink(os.path.join(self.store, "b.gguf"))
        with open(path("b.gguf"), "rb") as f:
            data = bytearray(f.read())
        data[len(data) // 2] ^= 1
        write_in(self.store, "b.gguf", bytes(data))
        os.unlink(os.path.join(self.store, "c", "model.safetensors"))
        write_in(self.store, "unknown.gguf", b"GGUF")
        d = self.models("verify", "--json", code=1).json()
        states = {m["name"]: m["state"].split(",")[0] for m in d["models"]}
        self.assertEqual(states, {"a.gguf": "verified", "b.gguf": "broken", "c": "broken",
                                  "unknown.gguf": "no record"})
        self.assertFalse(d["ok"])
        self.assertNotIn("b.gguf", self.names())
        self.assertTrue(os.path.exists(os.path.join(self.store, "quarantine", "b.gguf")))
        # What is in quarantine is listed with the reason, and can be removed.
        d = self.models("list", "--json").json()["quarantine"]
        self.assertEqual([(m["name"], m["state"]) for m in d],
                         [("quarantine/b.gguf", "in quarantine"), ("quarantine/c", "in quarantine")])
        self.assertRegex(d[0]["why"], r"not those that were recorded: b\.gguf, \d{4}-")
        self.assertIn("c/model.safetensors", d[1]["why"])
        self.assertRegex(self.models("list").text, r"in quarantine +quarantine/b\.gguf  \(its bytes")
        for name in ("b", "quarantine/b.gguf.sha256", "quarantine/../a.gguf", "quarantine/"):
            self.refused(4, "no model", "remove", name)
        self.models("remove", "quarantine/b")
        self.models("remove", "quarantine/c")
        self.assertEqual(self.models("list", "--json").json()["quarantine"], [])
        self.assertFalse(os.path.exists(os.path.join(self.store, "quarantine")))
        self.refused(4, "no model", "verify", "b")
        self.fails(4, "generate", "--model", "b", "--store", self.store, "--prompt", "x")

    def test_verify_without_room(self):
        """Where nothing can be moved away, on a full disk, what is broken is said to be, and stays."""
        self.models("import", hf_folder("c"))
        self.models("import", tiny(), "--name", "d")
        with open(os.path.join(self.store, "c", "config.json"), "r+b") as f:
            f.write(b"XX")
        p = self.fault(f"mkdir=0:{errno.ENOSPC}", "verify", "--json")
        self.assertEqual([(m["name"], m["state"]) for m in json.loads(p.stdout)["models"]],
                         [("c", "broken, still there"), ("d.gguf", "verified")])
        self.assertEqual(p.returncode, 1)
        self.models("verify", code=1)
        self.assertEqual(self.whole(), ["d.gguf"])

    def test_verify_one(self):
        self.models("import", tiny(), "--name", "a")
        self.models("verify", "a")
        self.models("verify", "a.gguf")


    def test_record_says_nothing(self):
        """A model is verified by what its record says of it, or not at all."""
        self.models("import", hf_folder("f"))
        write_in(self.store, "f/chat_template.jinja", "unrecorded")
        (m,) = self.models("verify", "--json", code=1).json()["models"]
        self.assertIn("does not name: f/chat_template.jinja", m["why"])
        for text in ("", "rubbish"):
            self.models("import", tiny(), "--name", "a")
            write_in(self.store, "a.gguf.sha256", text)
            (m,) = self.models("verify", "--json").json()["models"]
            self.assertEqual(m["state"], "no record")
            self.assertIn("a.gguf.sha256", m["why"])
            self.refused(2, "another model", "import", tiny(context=64), "--name", "a")
            self.assertEqual(self.models("import", tiny(), "--name", "a", "--json").json()["came"], "there already")
            self.assertEqual(self.whole(), ["a.gguf"])
            self.models("remove", "a")

    def test_folder_for_a_record(self):
        """A folder in the place of a record is said by its path where it is in the way, and hides nothing."""
        self.models("import", tiny(), "--name", "a")
        self.models("import", tiny(context=64), "--name", "b")
        self.models("bundle", "b", "--output", path("b-record.bundle"))
        os.unlink(os.path.join(self.store, "b.gguf.sha256"))
        for name in ("b.gguf.sha256", "c.gguf.sha256"):
            write_in(self.store, f"{name}/config.json", "{}")
        d = {m["name"]: m for m in self.models("list", "--json").json()["models"]}
        self.assertEqual((d["a.gguf"]["state"], d["b.gguf"]["state"]), ("recorded", "no record"))
        self.assertIn("b.gguf.sha256", d["b.gguf"]["why"])
        d = {m["name"]: m["state"] for m in self.models("verify", "--json").json()["models"]}
        self.assertEqual((d["a.gguf"], d["b.gguf"]), ("verified", "no record"))
        for words, name in ((["import", tiny(), "--name", "c"], "c"), (["import", tiny(context=64), "--name", "b"], "b"),
                            (["unbundle", path("b-record.bundle")], "b"),
                            (["pull", "https://model.invalid/c.gguf", "--sha256", "0" * 64], "c")):
            r = self.refused(1, "a folder stands where the record", *words)
            self.assertIn(os.path.join(self.store, f"{name}.gguf.sha256") + "); move it out of", r.err.decode())
        self.models("remove", "b")
        self.assertEqual(sorted(os.listdir(self.store)),
                         [".lock", "a.gguf", "a.gguf.sha256", "b.gguf.sha256", "c.gguf.sha256"])
        self.models("import", tiny(), "--name", "c2")
        write_in(self.store, "x/kept", "x")
        self.refused(1, "no model has its name", "import", hf_folder("h"), "--name", "x")

    def test_records_read_once(self):
        """However many files come in, and however many models are there."""
        self.opened("list")
        for i in range(30):
            write_in(self.store, f"m{i}.gguf", f"GGUF-{i}")
            write_in(self.store, f"m{i}.gguf.sha256", f"{hashlib.sha256(f'GGUF-{i}'.encode()).hexdigest()}  m{i}.gguf\n")
        top = hf_folder("files")
        for i in range(40):
            write(f"files/{i}.bin", str(i))
        self.assertLess(self.opened("import", top), 400)  # 1,200 are the records for each file
        self.models("bundle", "files", "--output", path("files.bundle"))
        self.models("remove", "files")
        self.assertLess(self.opened("unbundle", path("files.bundle")), 500)
        self.assertEqual(len(self.whole()), 31)

    def test_one_bad_folder(self):
        """A model whose files cannot be listed is shown, hides no other, and can be removed."""
        self.models("import", tiny(), "--name", "a")
        write_in(self.store, "deep/config.json", "{}")
        write_in(self.store, "deep/1/2/3/4/x", "x")
        write_in(self.store, "lost/config.json", "{}")
        os.symlink("/nonexistent", os.path.join(self.store, "lost", "z"))
        d = self.models("list", "--json").json()["models"]
        self.assertEqual([(m["name"], m["state"]) for m in d],
                         [("a.gguf", "recorded"), ("deep", "broken, still there"),
                          ("lost", "broken, still there")])
        self.assertIn("deep", d[1]["why"])
        self.models("verify", code=1)
        self.models("remove", "deep")
        self.models("remove", "lost")
        self.assertEqual(self.whole(), ["a.gguf"])

    def test_long_reason(self):
        """What is cut off of a long path is cut between characters."""
        name = "f/" + "\u044f" * 90 + "x"
        write_in(path("f"), "config.json", "{}")
        write_in(path("."), name, "x")
        self.models("import", path("f"))
        os.unlink(os.path.join(self.store, name))
        self.models("verify", "--json", code=1).json()
        shutil.rmtree(path("f"))

    def test_reader_only(self):
        """Who may not write to the store may check it, and carry it away."""
        self.models("import", tiny(), "--name", "a")
        os.unlink(os.path.join(self.store, ".lock"))
        os.chmod(self.store, 0o555)
        try:
            if os.access(self.store, os.W_OK):
                self.skipTest("this user may write anywhere")
            self.models("verify")
            self.models("bundle", "a", "--output", path("reader.bundle"))
        finally:
            os.chmod(self.store, 0o755)


class Bundles(Rig):
    def setUp(self):
        super().setUp()
        self.models("import", tiny(), "--name", "a")
        self.models("import", hf_folder("f"))
        self.other = path("other-store")
        shutil.rmtree(self.other, ignore_errors=True)

    def bundle(self, name, *more):
        file = path(name)
        shutil.rmtree(file, ignore_errors=True)
        if os.path.exists(file):
            os.unlink(file)
        self.models("bundle", "a", "f", "--output", file, *more)
        return file

    def test_there_and_back(self):
        want = {k: v for k, v in tree(self.store).items() if k != ".lock"}
        for name in ("models.bundle", "stick/"):
            file = self.bundle(name)
            shutil.rmtree(self.other, ignore_errors=True)
            d = self.models("unbundle", file, "--json", store=self.other).json()
            self.assertEqual([m["came"] for m in d["models"]], ["copied", "copied"])
            self.assertEqual({k: v for k, v in tree(self.other).items() if k != ".lock"}, want)
            d = self.models("unbundle", file, "--json", store=self.other).json()
            self.assertEqual([m["came"] for m in d["models"]], ["there already"] * 2)
        with tarfile.open(path("models.bundle")) as t:
            self.assertEqual(t.getnames()[0], "manifest.json")

    def test_signature(self):
        for key in ("k", "l"):
            for end in ("", ".pub"):
                if os.path.exists(path(key) + end):
                    os.unlink(path(key) + end)
            self.models("keygen", path(key))
        self.assertEqual(os.stat(path("k")).st_mode & 0o777, 0o600)
        self.refused(2, "already", "keygen", path("k"))
        for name in ("signed.bundle", "signed-stick/"):
            file = self.bundle(name, "--sign-key", path("k"))
            self.models("unbundle", file, "--bundle-key", path("k.pub"), store=self.other)
            self.models("unbundle", file, "--bundle-key", path("l.pub"), store=self.other, code=1)
            self.models("unbundle", file, store=self.other, environ=env(IGN_BUNDLE_KEY=path("l.pub")),
                        code=1)
        plain = self.bundle("plain.bundle")
        self.refused(1, "no signature", "unbundle", plain, "--bundle-key", path("k.pub"))
        data = bytearray(open(path("signed.bundle"), "rb").read())
        at = data.index(b'"models"')  # in the manifest
        data[at + 1:at + 7] = b"m0dels"
        self.models("unbundle", write("forged.bundle", bytes(data)), "--bundle-key", path("k.pub"),
                    store=self.other, code=1)
        os.chmod(write("nokey", "hello"), 0o600)
        self.refused(1, "not a key", "bundle", "a", "--output", path("x"), "--sign-key",
                     path("nokey"))

    def test_keygen_fails(self):
        """Half a pair is not left behind, and nothing is written through a link."""
        for name in ("half", "half.pub", "led"):
            if os.path.lexists(path(name)):
                os.unlink(path(name))
        os.symlink(path("nowhere"), path("led"))
        self.refused(2, "already", "keygen", path("led"))
        self.assertFalse(os.path.exists(path("nowhere")))

        def small():
            resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
        r = ign("models", "keygen", path("half"), "--store", self.store, preexec_fn=small)
        self.assertEqual(r.code, 1, r)
        self.assertEqual([n for n in os.listdir(path(".")) if n.startswith("half")], [])

    def test_wrong_key(self):
        """A public key does not sign, and a secret one does not check."""
        for end in ("", ".pub"):
            if os.path.exists(path("w") + end):
                os.unlink(path("w") + end)
        self.models("keygen", path("w"))
        file = self.bundle("w.bundle", "--sign-key", path("w"))
        self.refused(2, "a secret key", "unbundle", file, "--bundle-key", path("w"))
        for name in ("w.pub", "renamed"):
            shutil.copy(path("w.pub"), path(name)) if name != "w.pub" else None
            os.chmod(path(name), 0o600)
            self.refused(2, "cannot sign", "bundle", "a", "--output", path("x"), "--sign-key",
                         path(name))
        with open(path("w.pub")) as f:  # the form of older keys, and of others'
            bare = write("bare.pub", f.read().split()[1] + "\n")
        self.models("unbundle", file, "--bundle-key", bare, store=self.other)

    def test_rfc8032(self):
        """The first vector of RFC 8032, 7.1, by the key form: what openssl and others make, too."""
        secret = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
        public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
        key = write("rfc.key", secret + "\n")
        os.chmod(key, 0o644)
        self.refused(2, "other users", "bundle", "a", "--output", path("x"), "--sign-key", key)
        os.chmod(key, 0o600)
        file = self.bundle("rfc.bundle", "--sign-key", key)
        self.models("unbundle", file, "--bundle-key", write("rfc.pub", public), store=self.other)

    def test_hostile(self):
        """Nothing comes out of a bundle that its manifest does not describe, and nothing of it is
        written outside."""
        good = self.bundle("good.bundle")
        with tarfile.open(good) as t:
            members = [(m.name, t.extractfile(m).read()) for m in t.getmembers()]
        manifest = json.loads(members[0][1])

        def edit(change):
            m = json.loads(json.dumps(manifest))
            change(m)
            return [("manifest.json", json.dumps(m).encode())] + members[1:]

        def name(m, v):
            m["models"][0]["name"] = v

        def file(m, k, v):
            m["models"][0]["files"][0][k] = v

        cases = {
            "no manifest": members[1:],
            "manifest later": members[1:] + members[:1],
            "a file more": members + [("evil", b"x")],
            "a file less": members[:-1],
            "other order": [members[0]] + members[:0:-1],
            "other bytes": [members[0], (members[1][0], b"X" + members[1][1][1:])] + members[2:],
            "name up": edit(lambda m: name(m, "../evil")),
            "name absolute": edit(lambda m: name(m, "/tmp/evil")),
            "name a folder": edit(lambda m: name(m, "f/x")),
            "name of a record": [(n.replace("f/", "f.sha256/"),
                                  b.replace(b'"f/', b'"f.sha256/').replace(b'"f"', b'"f.sha256"')
                                  if n == "manifest.json" else b) for n, b in members],
            "too deep": deep_bundle(),
            "name twice": edit(lambda m: m["models"].append(m["models"][0])),
            "path of a device": edit(lambda m: file(m, "path", "f/nul.json")),
            "path ends in a dot": edit(lambda m: file(m, "path", "f/x.")),
            "path ends in a blank": edit(lambda m: file(m, "path", "f/x ")),
            "name of a device": edit(lambda m: name(m, "CON")),
            "path up": edit(lambda m: file(m, "path", "a.gguf/../../evil")),
            "path absolute": edit(lambda m: file(m, "path", "/tmp/evil")),
            "path of another": edit(lambda m: file(m, "path", "f/config.json")),
            "path hidden": edit(lambda m: file(m, "path", "a.gguf/.x")),
            "size": edit(lambda m: file(m, "bytes", 7)),
            "size negative": edit(lambda m: file(m, "bytes", -1)),
            "size huge": edit(lambda m: file(m, "bytes", 2**62)),
            "hash short": edit(lambda m: file(m, "sha256", "00")),
            "hash other": edit(lambda m: file(m, "sha256", "0" * 64)),
            "no size": edit(lambda m: m["models"][0]["files"][0].pop("bytes")),
            "no hash": edit(lambda m: m["models"][0]["files"][0].pop("sha256")),
            "no path": edit(lambda m: m["models"][0]["files"][0].pop("path")),
            "no name": edit(lambda m: m["models"][0].pop("name")),
            "no list of files": edit(lambda m: m["models"][0].pop("files")),
            "no list of models": edit(lambda m: m.pop("models")),
            "no version": edit(lambda m: m.pop("version")),
            "no format": edit(lambda m: m.pop("format")),
            "no files": edit(lambda m: m["models"][0].update(files=[])),
            "no models": edit(lambda m: m.update(models=[])),
            "version": edit(lambda m: m.update(version=3)),
            "not json": [("manifest.json", b"{")] + members[1:],
            "array": [("manifest.json", b"[]")] + members[1:],
        }
        for what, parts in cases.items():
            with self.subTest(what):
                file_name = write("bad.bundle", pack(parts))
                shutil.rmtree(self.other, ignore_errors=True)
                r = ign("models", "unbundle", file_name, "--store", self.other)
                self.assertEqual(r.code, 1, r)
                self.assertIn("bad.bundle", r.err.decode(), r)
                self.assertLessEqual(set(tree(self.other)), {".lock"})
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE):
            parts = pack(members, kind=kind)
            r = ign("models", "unbundle", write("bad.bundle", parts), "--store", self.other)
            self.assertEqual(r.code, 1, r)
        self.assertFalse(os.path.exists("/tmp/evil") or os.path.exists(path("evil")))

    def test_folder_of_somebody(self):
        """A bundle in a folder touches nothing that was there, whether it succeeds or not."""
        stick = path("stick-of-somebody")
        shutil.rmtree(stick, ignore_errors=True)
        write_in(stick, "f/config.json", "theirs")
        with open(os.path.join(self.store, "f", "config.json"), "r+b") as f:
            f.write(b"XX")
        before = tree(self.store)
        for to in (stick, self.store + "/"):
            self.refused(2, "of that name", "bundle", "f", "--output", to)
        self.assertEqual(tree(stick), {"f/config.json": b"theirs"})
        self.assertEqual(tree(self.store), before)

    def test_cut_and_flipped(self):
        with open(self.bundle("good.bundle"), "rb") as f:
            good = f.read()
        rng = random.Random(7)
        for i in range(40):
            data = bytearray(good)
            if i % 2:
                data = data[:rng.randrange(len(data))]
            else:
                data[rng.randrange(3000)] ^= 1 << rng.randrange(8)
            shutil.rmtree(self.other, ignore_errors=True)
            r = ign("models", "unbundle", write("bad.bundle", bytes(data)), "--store", self.other)
            if r.code == 0:  # padding that nobody reads
                self.assertEqual(i % 2, 0)
            else:
                self.assertEqual(r.code, 1, r)

    def test_taken(self):
        """A bundle is written over nothing."""
        file = write("taken.bundle", "precious")
        self.refused(2, "of that name", "bundle", "a", "--output", file)
        with open(file) as f:
            self.assertEqual(f.read(), "precious")
        os.symlink(path("nowhere-2"), path("taken.link"))
        self.refused(2, "of that name", "bundle", "a", "--output", path("taken.link"))
        self.assertFalse(os.path.exists(path("nowhere-2")))

    def test_full_stick(self):
        """A stick with too little room is seen first; one that fills meanwhile is left as it was."""
        stick = path("full-stick")
        os.makedirs(stick, exist_ok=True)
        self.models("import", write("large.gguf", b"GGUF" + os.urandom(1 << 20) * 8), "--name", "large")
        words = f'"{IGN}" models bundle large --store "{self.store}" --output "{stick}'
        other = f'"{IGN}" models unbundle "{path("large.bundle")}" --store "{stick}/store"; echo code $?\n'
        self.models("bundle", "large", "--output", path("large.bundle"))
        script = (f'mount -t tmpfs -o size=12m none "{stick}" || exit 77\n'
                  f'{words}/x"; echo code $?\n{words}/y/"; echo code $?\n' + other +
                  f'ls -A "{stick}" "{stick}/y" "{stick}/store"\n'
                  # Where the system says that there is room, and there is none for a file's bytes.
                  f'ulimit -f 2000\n{words}/x"; echo code $?\n{words}/y/"; echo code $?\n'
                  f'mount -o remount,size=64m "{stick}"; {words}/x"; echo code $?\n'
                  f'{words}/y/"; echo code $?\n' + other + f'find "{stick}" -type f\n')
        p = subprocess.run(["unshare", "-rm", "sh", "-c", script], env=env(), stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, timeout=120)
        for name in ("large.gguf", "large.bundle"):
            os.unlink(path(name))
        if p.returncode == 77 or b"unshare" in p.stderr:
            self.skipTest("no file system may be mounted here")
        text = p.stdout.decode()
        self.assertEqual(text.count("code 1"), 8, p)
        self.assertEqual(p.stderr.count(b"bytes left, and"), 5, p)
        self.assertIn(b"take another medium", p.stderr)
        left = [x for x in text.splitlines() if x.startswith("/") and not x.endswith(":")]
        self.assertEqual(left, [f"{stick}/store/.lock"], p)

    def test_hostile_tar(self):
        """Kinds of members and sizes that the format knows, and a bundle does not have."""
        good = self.bundle("good.bundle")
        with tarfile.open(good) as t:
            members = [(m.name, t.extractfile(m).read()) for m in t.getmembers()]
        with open(good, "rb") as f:
            raw = f.read()
        second = 512 + -(-len(members[0][1]) // 512) * 512  # where the header of a.gguf begins

        def header(change):
            block = bytearray(raw[second:second + 512])
            change(block)
            block[148:156] = b" " * 8
            block[148:156] = b"%06o\0 " % sum(block)
            return raw[:second] + bytes(block) + raw[second + 512:]

        def put(at, data):
            return lambda block: block.__setitem__(slice(at, at + len(data)), data)

        long = [(n, b) for n, b in members]
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as t:
            for name, data in long:
                m = tarfile.TarInfo(name)
                m.size = len(data)
                m.pax_headers = {"path": "../../evil"} if name == "a.gguf" else {}
                t.addfile(m, io.BytesIO(data))
        gnu = io.BytesIO()
        with tarfile.open(fileobj=gnu, mode="w", format=tarfile.GNU_FORMAT) as t:
            for name, data in long:
                m = tarfile.TarInfo(name if name != "a.gguf" else "x/" * 90 + "evil")
                m.size = len(data)
                t.addfile(m, io.BytesIO(data))
        cases = {
            "pax": out.getvalue(), "long name": gnu.getvalue(),
            **{f"kind {k!r}": header(put(156, k)) for k in (b"S", b"3", b"4", b"6", b"7", b"g", b"x",
                                                           b"L", b"K", b"D", b"M", b"V", b"\xff")},
            "size of 2^95": header(put(124, b"\x80" + b"\xff" * 11)),
            "size negative": header(put(124, b"\xff" * 12)),
            "size of 2^63": header(put(124, b"\x80\0\0\0" + b"\x80" + b"\0" * 7)),
            "size of digits": header(put(124, b"77777777777\0")),
            "size of none": header(put(124, b" " * 12)),
            "size smaller": header(put(124, b"00000000001\0")),
            "no magic": header(put(257, b"USTAR")),
            "twice": raw[:second] + raw[second:-1024] + raw[second:],
            "nothing": b"", "a block": raw[:512], "zeros": bytes(4096),
            "end cut": raw[:-1024], "half a block more": raw[:-1024] + b"x" * 100,
        }
        for what, data in cases.items():
            with self.subTest(what):
                shutil.rmtree(self.other, ignore_errors=True)
                r = ign("models", "unbundle", write("bad.bundle", data), "--store", self.other)
                self.assertEqual(r.code, 1, r)
                self.assertLessEqual(set(tree(self.other)), {".lock"})
        self.assertFalse(os.path.lexists(path("evil")) or os.path.lexists("/tmp/evil"))
        # As a folder: links in it are what they lead to, and only with the bytes of the manifest.
        stick = self.bundle("bad-stick/")
        os.unlink(path("bad-stick/a.gguf"))
        os.symlink("/etc/passwd", path("bad-stick/a.gguf"))
        self.models("unbundle", stick, store=self.other, code=1)
        os.unlink(path("bad-stick/a.gguf"))
        os.mkfifo(path("bad-stick/a.gguf"))
        self.models("unbundle", stick, store=self.other, code=1)
        self.assertLessEqual(set(tree(self.other)), {".lock"})

    def test_swapped(self):
        """A signature holds for one manifest, and the manifest for its files."""
        for end in ("", ".pub"):
            if os.path.exists(path("s") + end):
                os.unlink(path("s") + end)
        self.models("keygen", path("s"))
        one = self.bundle("one-stick/", "--sign-key", path("s"))
        self.models("import", tiny(context=64), "--name", "other")
        two = path("two-stick/")
        shutil.rmtree(two, ignore_errors=True)
        self.models("bundle", "other", "--output", two, "--sign-key", path("s"))
        shutil.copy(os.path.join(two, "manifest.json.sig"), os.path.join(one, "manifest.json.sig"))
        key = ("--bundle-key", path("s.pub"))
        r = self.models("unbundle", one, *key, store=self.other, code=1)
        self.assertIn(b"not by the key", r.err)
        shutil.copy(os.path.join(two, "manifest.json"), os.path.join(one, "manifest.json"))
        r = self.models("unbundle", one, *key, store=self.other, code=1)  # whose files it has not
        self.assertLessEqual(set(tree(self.other)), {".lock"})
        shutil.copy(os.path.join(one, "a.gguf"), os.path.join(one, "other.gguf"))
        self.models("unbundle", one, *key, store=self.other, code=1)
        for text in (b"", b"00" * 64, b"zz" * 64, b"0" * 100000):
            write_in(two, "manifest.json.sig", text)
            self.models("unbundle", two, *key, store=self.other, code=1)
        self.assertLessEqual(set(tree(self.other)), {".lock"})

    def twins(self):
        """Two models of the same bytes, and a folder with two files that are alike; what is there of each."""
        top = hf_folder("g")
        for name in ("1.bin", "2.bin"):
            write(f"g/{name}", "x" * 3000)
        self.models("import", top)
        self.models("import", tiny(), "--name", "b")
        return {k: v for k, v in tree(self.store).items()
                if k.split("/")[0].removesuffix(".sha256") in ("a.gguf", "b.gguf", "g")}

    def test_equal_once(self):
        """Equal files are in a bundle once, and come out of it as second names of each other."""
        want = self.twins()
        for to in ("equal.bundle", "equal-stick/"):
            file = path(to)
            shutil.rmtree(file, ignore_errors=True)
            d = self.models("bundle", "a", "g", "b", "--output", file, "--json").json()
            self.assertEqual(d["bytes"], sum(len(want[k]) for k in want if not k.endswith(".sha256") and
                                             k not in ("b.gguf", "g/2.bin")))
            for known in ([], ["a.gguf"], ["b.gguf", "g"]):
                shutil.rmtree(self.other, ignore_errors=True)
                for name in known:
                    self.models("import", os.path.join(self.store, name), store=self.other)
                d = self.models("unbundle", file, "--json", store=self.other).json()["models"]
                self.assertEqual([m["name"] for m in d if m["came"] == "there already"],
                                 [n for n in ("a.gguf", "g", "b.gguf") if n in known][::1])
                self.assertEqual({k: v for k, v in tree(self.other).items() if k != ".lock"}, want)
                for pair in (("a.gguf", "b.gguf"), ("g/1.bin", "g/2.bin")):
                    self.assertTrue(os.path.samefile(*(os.path.join(self.other, x) for x in pair)), pair)
        with tarfile.open(path("equal.bundle")) as t:
            self.assertEqual(json.load(t.extractfile("manifest.json"))["version"], 2)
            self.assertEqual(t.getnames(), ["manifest.json", "a.gguf", "g/1.bin", "g/1_Pooling/config.json",
                                            "g/config.json", "g/model.safetensors"])
        with tarfile.open(self.bundle("plain.bundle")) as t:  # which older programs read
            self.assertEqual(json.load(t.extractfile("manifest.json"))["version"], 1)

    def test_equal_without_links(self):
        """Where no file can have two names, each equal one is copied out of the bundle."""
        want = self.twins()
        file = path("copied.bundle")
        self.models("bundle", "a", "g", "b", "--output", file)
        p = self.fault(f"linkat=0:{errno.EPERM}", "unbundle", file, store=self.other)
        self.assertEqual(p.returncode, 0, p)
        self.assertEqual({k: v for k, v in tree(self.other).items() if k != ".lock"}, want)
        self.models("verify", store=self.other)
        for pair in (("g/1.bin", "g/2.bin"), ("a.gguf", "b.gguf")):
            self.assertFalse(os.path.samefile(*(os.path.join(self.other, x) for x in pair)))

    def test_equal_hostile(self):
        """What version 2 leaves out must be left out, and what it refers to must be there."""
        self.twins()
        file = path("twice.bundle")
        self.models("bundle", "a", "b", "--output", file)
        with tarfile.open(file) as t:
            (_, manifest), a = [(m.name, t.extractfile(m).read()) for m in t.getmembers()]
        m = json.loads(manifest)
        b = ("b.gguf", a[1])

        def other(version=None, **change):
            x = json.loads(manifest)
            x["version"] = version or 2
            x["models"][1]["files"][0].update(change)
            return "manifest.json", json.dumps(x).encode()

        self.assertEqual(m["version"], 2)
        size = len(a[1])
        for what, parts, code in (
                ("as it is", [other(), a], 0), ("both, as older programs wrote them", [other(1), a, b], 0),
                ("one of version 1", [other(1), a], 1), ("both of version 2", [other(), a, b], 1),
                ("the second alone", [other(), b], 1), ("none", [other()], 1),
                ("another version", [other(3), a], 1), ("another size", [other(bytes=size - 1), a], 1),
                ("other bytes", [other(), (a[0], a[1][:-1] + b"?")], 1),
                ("another hash, in capitals", [other(sha256=sha256(tiny()).upper()), a], 1)):
            for folder in (False, True):
                if folder and what in ("both of version 2",):
                    continue  # what lies beside them in a folder is nobody's business
                with self.subTest(what, folder=folder):
                    shutil.rmtree(self.other, ignore_errors=True)
                    shutil.rmtree(path("bad-stick"), ignore_errors=True)
                    bad = path("bad-stick") if folder else write("bad.bundle", pack(parts))
                    for name, data in parts if folder else ():
                        write_in(bad, name, data)
                    r = ign("models", "unbundle", bad, "--store", self.other)
                    self.assertEqual(r.code, code, r)
                    there = {n for n in tree(self.other) if n.endswith(".gguf")}
                    if code:  # of a folder models come one by one
                        self.assertLessEqual(there, {"a.gguf"} if folder else set())
                    else:
                        self.assertEqual(there, {"a.gguf", "b.gguf"})
                    self.models("verify", store=self.other)
        # A file that has been cut has not the size of its twin: nothing is made of it.
        os.unlink(os.path.join(self.store, "b.gguf"))
        write_in(self.store, "b.gguf", b"GGUF")
        self.refused(1, "b.gguf", "bundle", "a", "b", "--output", path("cut.bundle"))
        self.assertFalse(os.path.exists(path("cut.bundle")))

    def test_recorded_only(self):
        write_in(self.store, "free.gguf", b"GGUF")
        self.refused(4, "no record", "bundle", "free", "--output", path("x.bundle"))
        with open(os.path.join(self.store, "f", "config.json"), "r+b") as f:
            f.write(b"XX")
        for to in ("x.bundle", "x-stick/"):
            self.refused(1, "", "bundle", "f", "--output", path(to))
            self.assertFalse(os.path.isfile(path(to)))
            self.assertFalse(os.path.exists(path(to + "manifest.json")))


def deep_bundle():
    files = [("d/config.json", b"{}"), ("d/1/2/3/4/5/x", b"x")]
    manifest = {"format": "ign-bundle", "version": 1, "models": [{"name": "d", "files": [
        {"path": p, "bytes": len(b), "sha256": hashlib.sha256(b).hexdigest()} for p, b in files]}]}
    return [("manifest.json", json.dumps(manifest).encode())] + files


def pack(parts, kind=tarfile.REGTYPE):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as t:
        for i, (name, data) in enumerate(parts):
            m = tarfile.TarInfo(name)
            m.size = len(data)
            if i == 1:
                m.type = kind
                m.linkname = "x"
                if kind != tarfile.REGTYPE:
                    m.size = 0
            t.addfile(m, io.BytesIO(data))
    return out.getvalue()


class Moments(Rig):
    """The store is whole whenever the program ends, and whoever else is at work."""

    def big(self):
        file = path("big.gguf")
        if not os.path.exists(file):
            with open(file, "wb") as f:
                f.write(b"GGUF" + os.urandom(1 << 20) * 24)
        return file

    def test_killed(self):
        copies = f"/dev/shm/ign-kill-{os.getpid()}" if os.path.isdir("/dev/shm") else path("kill")
        self.store = copies
        rng = random.Random(1)
        bundle = path("kill.bundle")
        try:
            self.models("import", self.big(), "--name", "base")
            self.models("bundle", "base", "--output", bundle)
            for i in range(KILLS):
                self.models("import", tiny(), "--name", "keep")
                if i % 2:
                    words = ["import", tiny(context=64 + i % 3), "--name", f"new{i}"]
                else:
                    self.models("remove", "base")
                    words = ["unbundle", bundle]
                p = subprocess.Popen([IGN, "models", *words, "--store", self.store], env=env(),
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                time.sleep(rng.random() * (0.04 if i % 2 else 0.15) * SLOW)
                p.send_signal(rng.choice([signal.SIGKILL, signal.SIGTERM]))
                p.wait(timeout=60 * SLOW)
                names = self.whole()
                self.assertIn("keep.gguf", names)
                if "base.gguf" not in names:
                    self.models("unbundle", bundle)
        finally:
            shutil.rmtree(copies, ignore_errors=True)

    def test_no_room(self):
        """A file may not grow past 1 MB: as on a full disk."""
        store = f"/dev/shm/ign-room-{os.getpid()}"
        if not os.path.isdir("/dev/shm") or os.stat("/dev/shm").st_dev == os.stat(path(".")).st_dev:
            self.skipTest("no second file system")
        try:
            self.store = store
            self.models("import", tiny(), "--name", "keep")

            def small():
                resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
            r = ign("models", "import", self.big(), "--store", store, preexec_fn=small)
            self.assertEqual(r.code, 1, r)
            self.assertEqual(self.whole(), ["keep.gguf"])
        finally:
            shutil.rmtree(store, ignore_errors=True)

    def test_removed_from_full_disk(self):
        """Where there is no room for anything any more, a model can still be removed, to make some; one that
        cannot be taken away, for whatever reason, stays whole."""
        self.models("import", tiny(), "--name", "a")
        self.models("import", hf_folder("f"))
        for name in ("a", "f"):
            p = self.fault(f"rename=1:{errno.EIO}", "remove", name)
            self.assertEqual(p.returncode, 1, p)
            self.assertIn(b"cannot rename", p.stderr)
            self.assertIn({"a": "a.gguf", "f": "f"}[name], self.whole())
        for call in ("mkdir", "write", "ftruncate"):
            self.models("import", tiny(), "--name", "a")
            self.models("import", hf_folder("f"))
            for name in ("a", "f"):
                p = self.fault(f"{call}=0:{errno.ENOSPC}", "remove", name)
                self.assertTrue(p is None or p.returncode == 0, p)
            self.assertEqual(sorted(os.listdir(self.store)), [".lock"])

    def state(self):
        """What the store has once the next verb has ended: whole models, each with its record, no record
        without one, nothing half there; the same in quarantine."""
        self.models("verify", "--json", code=(0, 1))
        found = []
        for top in (self.store, os.path.join(self.store, "quarantine")):
            names = os.listdir(top) if os.path.exists(top) else []
            records = {n[:-7] for n in names if n.endswith(".sha256")}
            models = {n for n in names if not n.endswith(".sha256") and n[0] != "." and n != "quarantine"}
            self.assertEqual(records, models, names)
            self.assertLessEqual({n for n in names if n[0] == "."}, {".lock", ".pull"})
            found.append(sorted(models))
        begun = os.path.join(self.store, ".pull")
        return *found, [n for n in os.listdir(begun) if not n.endswith(".lock")] if os.path.exists(begun) else []

    def test_killed_at_each_call(self):
        """Killed before each call that changes a folder, whatever the verb: the next one cleans up."""
        stick, bundle = path("k-stick"), path("k.bundle")
        write_in(stick, "k.gguf", b"GGUF-k")
        file = os.path.join(stick, "k.gguf")
        folder = hf_folder("f")
        known = write("k.json", json.dumps({"format": "ign-catalogue", "version": 1, "models": [{
            "name": "k", "family": "F", "parameters": "1", "about": "k", "store": "k.gguf",
            "licence": {"name": "L", "address": "A"}, "sources": [{"hub": "o/r"}],
            "files": [{"path": "k.gguf", "sha256": sha256(file)}]}]}))

        def prepare(*names):
            shutil.rmtree(self.store, ignore_errors=True)
            self.models("import", tiny(), "--name", "keep")
            for name in names:
                self.models("import", {"k": file, "f": folder}[name.split("/")[-1]])
                if name.startswith("quarantine/"):
                    spoil(name.split("/")[-1])
                    self.models("verify", code=1)

        def spoil(name):
            inside = os.path.join(self.store, {"k": "k.gguf", "f": "f/config.json"}[name])
            os.unlink(inside)
            write_in(os.path.dirname(inside), os.path.basename(inside), b"GGUF-spoilt")

        prepare("k", "f")
        self.models("bundle", "k", "f", "--output", bundle)
        cases = [(["remove", "k"], ["k"], None), (["remove", "f"], ["f"], None), (["import", file], [], None),
                 (["import", folder], [], None), (["unbundle", bundle], [], None),
                 (["verify"], ["k"], "k"), (["verify"], ["f", "quarantine/f", "f"], "f"),
                 (["remove", "quarantine/k"], ["quarantine/k"], None),
                 (["remove", "quarantine/f"], ["quarantine/f"], None),
                 (["pull", "k", "--from", stick, "--catalogue", known], [], None)]
        moments = 0
        for words, names, spoilt in cases:
            prepare(*names)
            if spoilt:
                spoil(spoilt)
            shutil.rmtree(path("k-before"), ignore_errors=True)
            shutil.copytree(self.store, path("k-before"))
            for call in ("rename", "unlink", "rmdir", "mkdir", "linkat"):
                for at in range(1, 100):
                    shutil.rmtree(self.store)
                    shutil.copytree(path("k-before"), self.store)
                    p = self.fault(f"{call}={at}:0", *words)
                    if not p:
                        break
                    with self.subTest(words=words, call=call, at=at):
                        moments += 1
                        self.assertEqual(p.returncode, 128 + signal.SIGKILL, p)
                        there, away, begun = self.state()
                        self.assertIn("keep.gguf", there)
                        if words[0] != "pull":
                            self.assertEqual(begun, [])
                        elif begun:  # also by who does not want it any more
                            self.models("remove", "k")
                            self.assertEqual(self.state(), (there, away, []))
                        if spoilt:  # not lost, nor good again
                            self.assertIn({"k": "k.gguf", "f": "f"}[spoilt], away)
        self.assertGreater(moments, 100)

    def test_killed_while_removing(self):
        """A folder of many files goes at once, too."""
        top = hf_folder("many")
        for i in range(2000):
            write(f"many/{i}", str(i))
        rng = random.Random(3)
        for i in range(4):
            self.models("import", top)
            p = subprocess.Popen([IGN, "models", "remove", "many", "--store", self.store], env=env())
            time.sleep(0.01 + rng.random() * 0.04)
            p.kill()
            p.wait(timeout=60 * SLOW)
            self.whole()

    def test_orphan_record(self):
        """What a kill between the two steps of a removal leaves goes with the next writer; a record
        that somebody has put there himself stays."""
        self.models("import", tiny(), "--name", "a")
        os.mkdir(os.path.join(self.store, ".new.1"))
        os.rename(os.path.join(self.store, "a.gguf"), os.path.join(self.store, ".new.1", "a.gguf"))
        write_in(self.store, "mine.gguf.sha256", "0" * 64 + "  mine.gguf\n")
        self.models("verify")
        self.assertEqual(sorted(os.listdir(self.store)), [".lock", "mine.gguf.sha256"])

    def test_two_at_once(self):
        for i in range(3):
            shutil.rmtree(self.store, ignore_errors=True)
            runs = [subprocess.Popen([IGN, "models", "import", tiny(context=64 + k % 2), "--name",
                                      f"m{k}", "--store", self.store], env=env(),
                                     stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
                    for k in range(6)]
            for p in runs:
                _, err = p.communicate(timeout=60 * SLOW)
                self.assertEqual(p.returncode, 0, err)
            self.assertEqual(self.whole(), [f"m{k}.gguf" for k in range(6)])


    def test_waits(self):
        """Who waits for another that changes the store says so, and ends by Ctrl-C."""
        self.models("import", tiny(), "--name", "a")
        with open(os.path.join(self.store, ".lock"), "rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            p = subprocess.Popen([IGN, "models", "remove", "a", "--store", self.store], env=env(), stderr=subprocess.PIPE)
            self.assertEqual(p.stderr.readline(), b"ign: another program is changing the store; waiting for it\n")
            p.send_signal(signal.SIGINT)
            _, err = p.communicate(timeout=60 * SLOW)
            self.assertEqual((p.returncode, err.count(b"interrupted")), (130, 1), err)
        self.assertEqual(self.whole(), ["a.gguf"])

    def test_two_remove(self):
        """Both have found the model when the lock is given back: the second says that it is not there."""
        self.models("import", tiny(), "--name", "a")
        write_in(self.store, "b.gguf", b"GGUF-b")
        self.models("import", os.path.join(self.store, "b.gguf"))
        write_in(self.store, "b.gguf", b"GGUF-B")
        self.models("verify", code=1)
        for name in ("a", "quarantine/b"):
            lock = os.path.join(self.store, ".lock")
            with open(lock, "rb") as held:
                fcntl.flock(held, fcntl.LOCK_EX)
                runs = [subprocess.Popen([IGN, "models", "remove", name, "--store", self.store], env=env(),
                                         stderr=subprocess.PIPE) for _ in range(2)]
                for p in runs:  # what it holds open says how far it is
                    while p.poll() is None and not any(
                            os.path.realpath(x) == lock for x in glob.glob(f"/proc/{p.pid}/fd/*")):
                        time.sleep(0.005)
            ends = sorted((p.wait(timeout=60 * SLOW), p.stderr.read().decode()) for p in runs)
            for p in runs:
                p.stderr.close()
            self.assertEqual(ends[0], (0, ""))
            self.assertEqual(ends[1][0], 4, ends)
            self.assertIn(f"no model '{name.split('/')[-1]}' in the store", ends[1][1])
        self.assertEqual(sorted(os.listdir(self.store)), [".lock"])


if __name__ == "__main__":
    main()
