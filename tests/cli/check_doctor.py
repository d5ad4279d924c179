"""doctor and status on scratch folders: each thing that can be wrong, and what is said of it."""
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import time
import unittest

from cli_rig import IGN, Case, env, ign, main, path, read, tiny, write


class Rig(Case):
    def setUp(self):
        self.store, self.state, self.none = path("store"), path("state"), path("no drivers")
        for folder in (self.store, self.state, self.none):
            shutil.rmtree(folder, ignore_errors=True)
            os.mkdir(folder)
        self.model = os.path.join(self.store, "tiny.gguf")
        shutil.copy(tiny(), self.model)

    def run_verb(self, verb, *args, **more):
        return ign(verb, "--store", self.store, "--state", self.state, "--drivers", self.none,
                   *args, **more)

    def doctor(self, code, *args, **more):
        """The checks by name, of a run that ends with `code`."""
        r = self.run_verb("doctor", "--json", *args, **more)
        self.assertEqual(r.code, code, r)
        d = r.json()
        self.assertEqual(d["healthy"], code == 0, r)
        for check in d["checks"]:
            self.assertLessEqual({"name", "ok", "detail", "fix"}, set(check))
            self.assertEqual(check["ok"], check["verdict"] != "failed")
            if check["verdict"] != "ok":
                self.assertTrue(check["fix"], check)
        self.assertEqual(all(c["ok"] for c in d["checks"]), code == 0, r)
        return {c["name"]: c for c in d["checks"]}

    def failed(self, name, *args, **more):
        """The one check that fails, and its detail."""
        checks = self.doctor(1, *args, **more)
        self.assertEqual([n for n, c in checks.items() if not c["ok"]], [name])
        return checks[name]["detail"]

    def sum(self, text):
        with open(self.model + ".sha256", "w") as f:
            f.write(text)

    def digest(self):
        with open(self.model, "rb") as f:
            return hashlib.sha256(f.read()).hexdigest()


class Doctor(Rig):
    NAMES = {"processor", "memory", "open files", "locked memory", "store", "disk of the store",
             "state folder", "disk of the state folder", "leftovers", "model tiny.gguf", "drivers",
             "configuration", "clock"}

    def test_well(self):
        self.assertLessEqual(self.NAMES, set(self.doctor(0)))
        text = self.run_verb("doctor").text
        for name in self.NAMES:
            self.assertIn(f" {name}: ", text)

    def test_checksum(self):
        self.assertIn("no checksum", self.doctor(0)["model tiny.gguf"]["detail"])
        for line in (f"{self.digest()}  tiny.gguf\n", f"{self.digest()} *tiny.gguf\n",
                     self.digest().upper() + "\n"):
            self.sum(line)
            self.assertIn("as its checksum says", self.doctor(0)["model tiny.gguf"]["detail"])
        self.sum("0" * 64 + "  tiny.gguf\n")
        self.assertIn("not those of its checksum", self.failed("model tiny.gguf"))
        for line in ("", "x", "0" * 63 + "\n", "0" * 65 + "\n", "\0" * 100, "0" * 5000):
            self.sum(line)
            self.assertIn("sha256", self.failed("model tiny.gguf"))

    def test_changed_model(self):
        """One bit of a weight: only the checksum sees it."""
        self.sum(f"{self.digest()}  tiny.gguf\n")
        with open(self.model, "r+b") as f:
            f.seek(-100, os.SEEK_END)
            byte = f.read(1)[0]
            f.seek(-1, os.SEEK_CUR)
            f.write(bytes([byte ^ 1]))
        self.failed("model tiny.gguf")
        os.unlink(self.model + ".sha256")
        self.doctor(0)

    def test_broken_model(self):
        with open(self.model, "r+b") as f:
            f.truncate(100000)
        self.failed("model tiny.gguf")
        for text in (b"", b"GGUF", b"not a model at all" * 99):
            write("store/tiny.gguf", text)
            self.failed("model tiny.gguf")
        os.unlink(self.model)
        os.mkdir(self.model)
        self.failed("model tiny.gguf")

    def test_names(self):
        """What is in a name is shown, not obeyed; other files are nobody's business."""
        os.rename(self.model, os.path.join(self.store, "a\x1b[2J\n%n.gguf"))
        write("store/notes.txt", "x")
        checks = self.doctor(0)
        self.assertIn("model a\x1b[2J\n%n.gguf", checks)
        self.assertFalse(any("notes" in n for n in checks))

    def test_folders(self):
        os.rename(self.store, self.store + "2")
        self.assertEqual(self.doctor(0)["store"]["verdict"], "warning")
        write("store", "a file")
        self.assertIn("not a folder", self.failed("store"))
        os.unlink(self.store)
        os.rename(self.store + "2", self.store)
        shutil.rmtree(self.state)
        write("state", "a file")
        self.assertIn("not a folder", self.failed("state folder"))
        r = ign("doctor", "--store", self.store, "--state", self.state + "/below", "--drivers",
                self.none, "--json")
        failed = {c["name"]: c["detail"] for c in r.json()["checks"] if not c["ok"]}
        self.assertEqual((r.code, set(failed)), (1, {"state folder"}), r)
        self.assertIn("cannot be made", failed["state folder"])
        os.unlink(self.state)
        r = ign("doctor", "--drivers", self.none, "--json", environ=env(HOME=None))
        self.assertEqual(r.code, 0, r)
        self.assertIn("home", [c["name"] for c in r.json()["checks"]])

    def test_not_ours(self):
        """Folders of somebody else."""
        as_nobody = {}
        if os.geteuid() == 0:
            as_nobody = {"user": 65534, "group": 65534}
        os.chmod(self.state, 0o555)
        os.chmod(self.store, 0o000)
        os.chmod(os.path.dirname(self.store), 0o755)
        try:
            probe = subprocess.run([IGN, "version"], stdout=subprocess.DEVNULL, **as_nobody)
        except OSError:
            probe = None
        if not probe or probe.returncode != 0:
            self.skipTest("another user may not run the program here")
        try:
            checks = self.doctor(1, **as_nobody)
        finally:
            os.chmod(self.store, 0o755)
        self.assertEqual({n for n, c in checks.items() if not c["ok"]}, {"store", "state folder"})
        self.assertIn("may not be read", checks["store"]["detail"])
        self.assertIn("may not be written", checks["state folder"]["detail"])
        os.chmod(self.state, 0o777)
        os.chmod(self.model, 0o000)
        checks = self.doctor(1, **as_nobody)
        self.assertIn("may not read", checks["model tiny.gguf"]["detail"])
        self.assertIn("chmod", checks["model tiny.gguf"]["fix"])

    def test_full_disk(self):
        script = ('mount -t tmpfs -o size=64k none "$1" && dd if=/dev/zero of="$1/x" bs=1k count=99'
                  ' 2>/dev/null; shift; exec "$@"')
        words = ["unshare", "-m", "sh", "-c", script, "sh"]
        if subprocess.run(["unshare", "-m", "sh", "-c", 'mount -t tmpfs none "$0"', self.state],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode != 0:
            self.skipTest("no file system may be mounted here")
        p = subprocess.run([*words, self.state, IGN, "doctor", "--json", "--store", self.store,
                            "--state", self.state, "--drivers", self.none],
                           stdout=subprocess.PIPE, env=env(), timeout=60)
        failed = [c["name"] for c in json.loads(p.stdout)["checks"] if not c["ok"]]
        self.assertEqual((p.returncode, failed), (1, ["disk of the state folder"]))

    def test_configuration(self):
        for text in ("top-p = 7\n", "no-such-key = 1\n", "[generate\n"):
            detail = self.failed("configuration", "--config", write("bad.toml", text))
            self.assertIn("bad.toml", detail)
        self.doctor(0, "--config", write("good.toml", "top-p = 0.5\n"))

    def test_audit_log(self):
        """Looked at where one is kept, and never made."""
        self.assertNotIn("audit log", self.doctor(0))
        log = path("doctor-audit.log")
        for end in ("", ".head", ".lock"):
            if os.path.exists(log + end):
                os.unlink(log + end)
        self.assertEqual(self.doctor(0, "--audit", log)["audit log"]["verdict"], "ok")
        self.assertFalse(os.path.exists(log))
        self.ok("logits", "--model", self.model, "--ids", "1", "--audit", log)
        self.assertIn("1 entries", self.doctor(0, "--audit", log)["audit log"]["detail"])
        self.doctor(0, environ=env(IGN_AUDIT=log))
        write("doctor-audit.log", read(log).replace(b"logits", b"xogits"))
        self.failed("audit log", "--audit", log)
        self.failed("audit log", "--audit", path("no/folder/log"))
        self.failed("audit log", "--audit", path(""))
        self.failed("audit log", "--audit", log, "--audit-key-file", path("no-key"))

    def test_misspelled_variable(self):
        for name, near in (("IGN_TEMPRATURE", "IGN_TEMPERATURE"), ("IGN_ZZZZZZZZ", "config show")):
            check = self.doctor(0, environ=env(**{name: "1"}))["configuration"]
            self.assertEqual(check["verdict"], "warning")
            self.assertIn(name, check["detail"])
            self.assertIn(near, check["fix"])

    def test_clock(self):
        later = time.time() + 40 * 86400
        os.utime(self.model, (later, later))
        self.assertIn("future", self.failed("clock"))

    def test_limits(self):
        def few():
            resource.setrlimit(resource.RLIMIT_NOFILE, (50, 50))
        self.assertIn("50", self.failed("open files", preexec_fn=few))

    def test_small_machine(self):
        root = path("root")
        os.makedirs(os.path.join(root, "proc"), exist_ok=True)
        write("root/proc/meminfo", "MemTotal: 400000 kB\nMemAvailable: 300000 kB\n")
        self.failed("memory", "--system-root", root)

    def test_leftovers(self):
        gone = subprocess.Popen(["true"])
        gone.wait()
        write(f"store/x.json.{gone.pid}.tmp", "half")
        write(f"store/y.json.{os.getpid()}.tmp", "being written now")
        check = self.doctor(0)["leftovers"]
        self.assertEqual(check["verdict"], "warning")
        self.assertIn(f"x.json.{gone.pid}.tmp", check["detail"])
        self.assertIn("1 temporary file ", check["detail"])


class Status(Rig):
    def status(self, code=0, *args, **more):
        r = self.run_verb("status", "--json", *args, **more)
        self.assertEqual(r.code, code, r)
        return r.json()

    def test_keys(self):
        d = self.status()
        self.assertLessEqual({"healthy", "checks", "models", "devices", "server", "config",
                              "instances", "benchmark", "chosen", "warnings"}, set(d))
        self.assertIs(d["healthy"], True)
        self.assertEqual(d["server"], {"running": False})
        self.assertEqual((d["instances"], d["benchmark"]), ([], None))
        (m,) = d["models"]
        self.assertEqual((m["name"], m["bytes"], m["architecture"], m["ok"]),
                         ("tiny.gguf", os.path.getsize(self.model), "llama", True))
        self.assertEqual(d["devices"][0]["device"], "cpu")
        self.assertGreater(d["devices"][0]["memory_total"], 0)
        self.assertEqual(d["config"]["knobs"]["store"]["value"], self.store)
        self.assertEqual(d["config"]["knobs"]["store"]["origin"], "flag")

    def test_wrong_variable(self):
        """A report about what is wrong does not end at it."""
        for name, value in (("TEMPERATURE", "high"), ("MAX_MEMORY", "much"), ("MLOCK", "perhaps")):
            d = self.status(1, environ=env(**{f"IGN_{name}": value}))
            (check,) = [c for c in d["checks"] if not c["ok"]]
            self.assertEqual(check["name"], "configuration")
            self.assertIn(f"IGN_{name}", check["detail"])
        for name in ("TEMPERATURE", "PROBE_SECONDS", "COLOR"):
            check = self.doctor(1, environ=env(**{f"IGN_{name}": "x"}))["configuration"]
            self.assertIn(f"IGN_{name}", check["detail"])

    def test_choice_is_asked_for(self):
        d = self.status(0, "--threads", "1", "--context", "1024")["chosen"]
        self.assertEqual((d["threads"], d["context"]), (1, 1024))
        for d in (self.status(0, "--max-memory", "64MiB"),
                  self.status(environ=env(IGN_MAX_MEMORY="64MiB")),
                  ign("detect-gpu", "--json", "--drivers", self.none,
                      environ=env(IGN_MAX_MEMORY="64MiB")).json()):
            self.assertIs(d["chosen"]["fits"], False)

    def test_text(self):
        r = self.run_verb("status", environ=env(IGN_TOP_P="0.5"))
        self.assertEqual(r.code, 0, r)
        for word in ("healthy", "Type ", "Device memory", "Precision", "Quantization", "Workers",
                     "Batch size", "Max context", "Memory-optimized", "tiny.gguf", "Running:",
                     "Last benchmark:", "IGN_TOP_P=0.5"):
            self.assertIn(word, r.text)

    def test_sampling(self):
        """Each value with who set it: a model's own counts more than a default, less than a user's."""
        shutil.copy(tiny(temperature=0.6), self.model)
        own = {"value": 0.6, "from": "model"}  # and not the 0.6000000238 of the file's float
        (m,) = self.status(environ=env(IGN_TOP_K="7"))["models"]
        self.assertEqual(m["sampling"]["temperature"], own)
        self.assertEqual(m["sampling"]["top-k"]["value"], 7)
        self.assertIn("IGN_TOP_K", m["sampling"]["top-k"]["from"])
        self.assertEqual(m["sampling"]["min-p"]["from"], "default")
        self.assertIn("temperature 0.6 (model)", self.run_verb("status").text)
        (m,) = self.status(environ=env(IGN_TEMPERATURE="0.3"))["models"]
        self.assertEqual(m["sampling"]["temperature"]["value"], 0.3)
        self.assertIn("IGN_TEMPERATURE", m["sampling"]["temperature"]["from"])

    def test_unhealthy(self):
        write("store/tiny.gguf", "broken")
        self.assertIs(self.status(1)["healthy"], False)
        r = self.run_verb("status")
        self.assertEqual(r.code, 1)
        self.assertIn("not healthy", r.text)
        self.assertIn("failed   model tiny.gguf", r.text)
        self.setUp()
        d = self.status(1, "--config", write("bad.toml", "top-p = 7\n"))
        self.assertEqual([c["name"] for c in d["checks"] if not c["ok"]], ["configuration"])

    def test_quick(self):
        """Checksums are doctor's: status does not read models whole."""
        self.sum("0" * 64 + "  tiny.gguf\n")
        self.assertEqual(self.status()["models"][0]["sha256"], "0" * 64)

    def test_running(self):
        model = tiny(context=32768)
        p = subprocess.Popen([IGN, "generate", "--model", model, "--prompt", "x", "--unbounded",
                              "--ignore-eos", "--context", "32768", "--state", self.state],
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env())
        os.read(p.stdout.fileno(), 1)
        (i,) = self.status()["instances"]
        self.assertEqual((i["process"], i["verb"], i["model"]), (p.pid, "generate", "tiny"))
        self.assertIn(f"{p.pid} generate", self.run_verb("status").text)
        p.send_signal(signal.SIGKILL)
        p.communicate()
        self.assertTrue(os.path.exists(os.path.join(self.state, f"run-{p.pid}.json")))
        self.assertEqual(self.status()["instances"], [])
        self.assertFalse(os.path.exists(os.path.join(self.state, f"run-{p.pid}.json")))

    def test_stale(self):
        write("state/run-4194000.json", '{"process":4194000,"verb":"serve"}')
        self.assertEqual(self.status()["server"], {"running": False})
        self.assertFalse(os.path.exists(path("state/run-4194000.json")))

    def test_benchmark(self):
        kept = {"model": "m", "decode": {"tokens_per_second": {"median": 12.5}}}
        write("state/benchmark.json", json.dumps(kept) + "\n")
        self.assertEqual(self.status()["benchmark"], kept)
        self.assertIn("decode 12.5", self.run_verb("status").text)
        for text in (b"", b"[1]", b"{", b"\xff\xfe", b"{} {}"):
            write("state/benchmark.json", text)
            self.assertIsNone(self.status()["benchmark"])


if __name__ == "__main__":
    main()
