"""detect-gpu: machines that are folders, drivers that act out, and the contract's keys.

The drivers are the libraries of tests/device/fake_*.c; IGN_FAKE tells them their part. None of
them may keep the program from its report, in time and with exit code 0.
"""
import concurrent.futures
import os
import shutil
import subprocess
import time

from cli_rig import SLOW, Case, env, ign, machine_root, main, path, write

DRIVERS = os.environ["IGN_TEST_DRIVERS"]
FILES = {"cuda": ["libcuda.so.1"], "nvml": ["libnvidia-ml.so.1"], "opencl": ["libOpenCL.so.1"],
         "metal": ["Metal", "libobjc.A.dylib"]}
GIB = 1 << 30


def drivers(*names):
    """A folder with these drivers and no others."""
    folder = path("drivers-" + "-".join(names))
    if not os.path.isdir(folder):
        os.mkdir(folder)
        for file in sum((FILES[n] for n in names), []):
            os.symlink(os.path.join(DRIVERS, file), os.path.join(folder, file))
    return folder


class Detect(Case):
    def look(self, part="", names=("cuda", "nvml"), seconds="60", more=()):
        r = self.ok("detect-gpu", "--json", "--drivers", drivers(*names), "--probe-seconds", seconds,
                    *more, environ=env(IGN_FAKE=part))
        self.assertEqual(r.err, b"")
        return r.json()

    def one_warning(self, d, *texts):
        self.assertEqual(len(d["warnings"]), 1, d["warnings"])
        for text in texts:
            self.assertIn(text, d["warnings"][0])


class Contract(Detect):
    def test_keys(self):
        d = self.look("two", ("cuda", "nvml", "opencl", "metal"))
        self.assertLessEqual({"platform", "cpu", "memory", "gpus", "chosen", "warnings"}, set(d))
        self.assertLessEqual({"name", "isa", "cores", "threads", "quota"}, set(d["cpu"]))
        self.assertLessEqual({"total", "available", "limit"}, set(d["memory"]))
        self.assertLessEqual({"device", "precision", "quantization", "context", "why"},
                             set(d["chosen"]))
        self.assertEqual(len(d["gpus"]), 6)
        for g in d["gpus"]:
            self.assertLessEqual({"index", "kind", "name", "memory_total", "memory_free", "usable",
                                  "why"}, set(g))
        self.assertEqual(d["chosen"]["device"], "cpu")  # until there are others
        self.assertTrue(d["platform"].startswith("linux "))
        self.assertIn(d["chosen"]["quantization"], ("fp32", "fp16", "int8", "int4"))
        module = ign("module", "llm-infrastructure", "detect-gpu", "--json", "--drivers", drivers())
        self.assertEqual(set(module.json()), set(d))

    def test_text(self):
        plain = self.ok("detect-gpu", "--drivers", drivers("cuda", "nvml"),
                        environ=env(IGN_FAKE="two")).text
        for word in ("Platform", "Processor", "Memory", "Type", "Device", "Precision", "Quantization",
                     "Workers", "Batch size", "Max context", "Memory-optimized", "cuda:0",
                     "Fake RTX 9000", "24.0 GiB", "not yet used", "unusable"):
            self.assertIn(word, plain)
        self.assertNotIn("Caches", plain)
        full = self.ok("detect-gpu", "--detailed", "--drivers", drivers("cuda", "nvml"),
                       environ=env(IGN_FAKE="two")).text
        for word in ("Caches", "Instructions", "550.54.14 (CUDA 12.4)", "compute capability 8.9",
                     "23.0 GiB free", "PCI Express 4 x16"):
            self.assertIn(word, full)

    def test_wrong_use(self):
        r = self.fails(4, "detect-gpu", "--system-root", path("nowhere"))
        self.assertIn(b"--system-root", r.err)
        self.fails(4, "detect-gpu", "--drivers", write("file", "x"))
        self.fails(2, "detect-gpu", "--probe-seconds", "0")
        self.fails(2, "detect-gpu", "operand")
        self.assertNotIn("probe-devices", self.ok("help").text)

    def test_environment(self):
        r = ign("detect-gpu", "--json", environ=env(IGN_SYSTEM_ROOT=machine_root("laptop"),
                                                    IGN_DRIVERS=drivers()))
        self.assertEqual(r.json()["cpu"]["name"], "Intel(R) Core(TM) i5-8250U CPU @ 1.60GHz")


class Machines(Detect):
    def machine(self, name):
        return self.look(names=(), more=("--system-root", machine_root(name)))

    def test_container(self):
        for name, quota, left in (("server_v2", 2, 3 * GIB), ("server_v1", 1.5, 3 * GIB + 104857600)):
            d = self.machine(name)
            self.assertEqual((d["cpu"]["cores"], d["cpu"]["threads"]), (32, 64))
            self.assertEqual((d["cpu"]["quota"], d["cpu"]["budget"]), (quota, 2))
            self.assertEqual(d["memory"]["limit_left"], left)
            self.assertEqual(d["memory"]["usable"], left)
            self.assertLessEqual(d["chosen"]["threads"], 2)
            self.assertIsNone(d["cpu"]["level"])  # this program does not run there
            self.assertEqual(d["warnings"], [])

    def test_no_limit(self):
        d = self.machine("laptop")
        self.assertIsNone(d["cpu"]["quota"])
        self.assertIsNone(d["memory"]["limit"])
        self.assertTrue(d["chosen"]["fits"])

    def test_text(self):
        text = self.ok("detect-gpu", "--drivers", drivers(), "--system-root",
                       machine_root("server_v2")).text
        self.assertIn("2 processors are granted", text)
        self.assertIn("limited to 8.00 GiB, of which 3.00 GiB are left", text)

    def test_card_without_driver(self):
        d = self.machine("hybrid")
        self.one_warning(d, "1 NVIDIA GPU is in this machine (PCI 0000:01:00.0)")
        d = self.look("two", more=("--system-root", machine_root("hybrid")))
        self.assertEqual(d["warnings"], [])

    def test_other_machine_without_drivers(self):
        """This machine's drivers are not asked for another machine's GPUs."""
        d = self.ok("detect-gpu", "--json", "--system-root", machine_root("laptop")).json()
        self.assertEqual(d["gpus"], [])

    def test_every_root(self):
        roots = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "device", "roots")
        for name in sorted(os.listdir(roots)):
            for args in ((), ("--json",)):
                r = self.ok("detect-gpu", "--detailed", "--drivers", drivers(), "--system-root",
                            machine_root(name), *args)
                self.assertNotRegex(r.out, rb"[\x00-\x09\x0b-\x1f\x7f]")

    def test_files_that_are_none(self):
        root = path("root-odd")
        os.makedirs(os.path.join(root, "proc/self/status"))
        os.mkfifo(os.path.join(root, "proc/cpuinfo"))
        os.symlink("/dev/zero", os.path.join(root, "proc/meminfo"))
        os.symlink("cgroup", os.path.join(root, "proc/self/cgroup"))
        with open(os.path.join(root, "proc/self/mountinfo"), "wb") as f:
            f.write(b"\0" * (3 << 20))
        d = self.look(names=(), more=("--system-root", root))
        self.assertEqual(d["cpu"]["threads"], 1)
        self.assertEqual(len(d["warnings"]), 5, d["warnings"])


class Drivers(Detect):
    def names(self, d):
        return [(g["kind"], g["index"], g["name"]) for g in d["gpus"]]

    def test_none_installed(self):
        d = self.look(names=())
        self.assertEqual((d["gpus"], d["warnings"]), ([], []))

    def test_two_unequal(self):
        d = self.look("two")
        big, small = d["gpus"]
        self.assertEqual((big["name"], big["capability"], big["memory_total"], big["memory_free"]),
                         ("Fake RTX 9000", "8.9", 24 * GIB, 23 * GIB))
        self.assertEqual((big["link_generation"], big["link_width"]), (4, 16))
        self.assertEqual(big["driver"], "550.54.14 (CUDA 12.4)")
        self.assertTrue(big["usable"])
        self.assertIn("not yet used", big["why"])
        # The other one: NVML lists it first, so it is matched by its bus, not by its number.
        self.assertEqual((small["memory_total"], small["memory_free"]), (6 * GIB, 5 * GIB))
        self.assertEqual((small["link_generation"], small["link_width"]), (3, 8))
        self.assertFalse(small["usable"])
        self.assertIn("6.1 is too old", small["why"])
        self.assertEqual(d["warnings"], [])
        self.assertIn("cuda:0", d["chosen"]["gpu"])

    def test_without_nvml(self):
        for d in (self.look("two", ("cuda",)), self.look("no-nvml")):
            self.assertEqual([g["memory_total"] for g in d["gpus"]], [24 * GIB, 6 * GIB])
            self.assertEqual([g["memory_free"] for g in d["gpus"]], [0, 0])
            self.assertEqual(d["gpus"][0]["driver"], "CUDA 12.4")
        self.one_warning(d, "not loaded in the kernel")

    def test_only_nvml(self):
        d = self.look("two", ("nvml",))
        self.assertEqual([g["usable"] for g in d["gpus"]], [False, False])
        self.assertIn("libcuda.so.1 is missing", d["gpus"][0]["why"])

    def test_starts_that_fail(self):
        for part, why in (("no-permission", "no permission"), ("no-device", "no GPU is there"),
                          ("stub", "stub"), ("strange-error", "error -77 of CUDA")):
            d = self.look(part)
            self.assertEqual([g["usable"] for g in d["gpus"]], [False, False], part)
            for g in d["gpus"]:
                self.assertIn(why, g["why"])
            self.one_warning(self.look(part, ("cuda",)), why)

    def test_mismatch(self):
        d = self.look("mismatch")
        self.assertEqual(d["gpus"], [])
        self.assertEqual(len(d["warnings"]), 2)
        for text in d["warnings"]:
            self.assertIn("different versions", text)

    def test_reasons(self):
        self.assertIn("CUDA 11.4, 12.0 is needed", self.look("old-driver")["gpus"][0]["why"])
        self.assertIn("prohibited", self.look("prohibited")["gpus"][0]["why"])
        busy = self.look("busy")["gpus"]
        self.assertEqual([g["usable"] for g in busy], [True, False])
        self.assertIn("in use by others", busy[1]["why"])
        self.one_warning(self.look("none"), "finds no GPU")

    def test_lies(self):
        d = self.look("absurd")
        self.assertEqual([g["usable"] for g in d["gpus"]], [False, False])
        self.assertIn("memory size that cannot be", d["gpus"][0]["why"])
        for g in d["gpus"]:
            self.assertLessEqual(g["memory_free"], g["memory_total"])
            self.assertLess(g["memory_total"], 1 << 48)
            self.assertEqual((g["link_generation"], g["capability"]), (0, None))
        d = self.look("garbage")
        for g in d["gpus"]:
            self.assertRegex(g["name"], r"^\?+$")
            self.assertRegex(g["driver"], r"^[ -~]+$")
        self.one_warning(self.look("negative"), "-3 devices")
        d = self.look("many")
        self.assertEqual(len(d["gpus"]), 16)
        self.assertIn("1000000 devices", d["warnings"][0])
        d = self.look("many", ("cuda", "nvml", "opencl"))
        self.assertEqual(len(d["gpus"]), 16)
        self.assertLessEqual(len(d["warnings"]), 16)

    def test_crashes(self):
        """What was found before is kept, and where it ended is said."""
        for part, says in (("segfault", "crashed (cuDeviceGet, device 1, signal 11)"),
                           ("abort", "crashed (cuDeviceGet, device 1, signal 6)"),
                           ("exit", "ended the process that asked it (cuDeviceGet, device 1"),
                           ("close", "ended the process that asked it (cuDeviceGet, device 1")):
            d = self.look(part)
            self.assertEqual(self.names(d), [("cuda", 0, "Fake RTX 9000")], part)
            if SLOW > 1 and part in ("segfault", "abort"):  # a sanitizer ends it in its own way
                says = "(cuDeviceGet, device 1"
            self.one_warning(d, "NVIDIA", says)

    def hang(self, part, names, calls):
        """The report where these calls are waited for. Whoever hangs takes the limit whole, so the
        first is short; on a busy machine a child may not come that far within it."""
        for limit in ("2", "12", "60"):
            d = self.look(part, names, limit)
            said = [w for w in d["warnings"] if f"did not answer within {limit} s" in w]
            if len(said) == len(calls) and all(f"({c})" in w for w, c in zip(said, calls)):
                break
        self.assertEqual(len(said), len(calls), d)
        for w, c in zip(said, calls):
            self.assertIn(f"({c})", w)
        return d

    def test_hangs(self):
        """All kinds wait at the same time, and what was found before is kept."""
        with concurrent.futures.ThreadPoolExecutor() as both:
            every = both.submit(self.hang, "hang", ("cuda", "nvml", "opencl", "metal"),
                                ("cuInit", "MTLCopyAllDevices", "clGetPlatformIDs"))
            later = both.submit(self.hang, "hang-second", ("cuda", "nvml", "opencl"),
                                ("cuDeviceGet, device 1", "clGetPlatformIDs"))
        self.assertEqual(every.result()["gpus"], [])
        self.assertEqual(self.names(later.result()), [("cuda", 0, "Fake RTX 9000")])

    def test_noise(self):
        """What a driver prints goes nowhere; what it writes everywhere is stopped."""
        d = self.look("noise")
        self.assertEqual((len(d["gpus"]), d["warnings"]), (2, []))
        d = self.look("flood")
        self.assertEqual(self.names(d)[0], ("cuda", 0, "Fake RTX 9000"))
        self.assertTrue(any("printed without end" in w for w in d["warnings"]), d["warnings"])

    def test_children_of_drivers(self):
        d = self.look("fork")
        self.assertEqual((len(d["gpus"]), d["warnings"]), (2, []))

    def test_opencl(self):
        d = self.look("two", ("opencl",))
        self.assertEqual(self.names(d), [("opencl", 0, "Fake Arc"), ("opencl", 1, "Fake processor")])
        self.assertEqual([g["usable"] for g in d["gpus"]], [True, False])
        self.assertEqual(d["gpus"][0]["driver"], "24.1 (OpenCL 3.0)")
        self.assertIn("processor itself", d["gpus"][1]["why"])
        self.assertEqual(self.look("none", ("opencl",))["warnings"], [])
        self.one_warning(self.look("strange-error", ("opencl",)), "error -6")
        self.assertIn("not available", self.look("busy", ("opencl",))["gpus"][0]["why"])
        self.assertIn("cannot be", self.look("absurd", ("opencl",))["gpus"][0]["why"])

    def test_metal(self):
        d = self.look("two", ("metal",))
        self.assertEqual(self.names(d), [("metal", 0, "Fake M3"), ("metal", 1, "Fake eGPU")])
        self.assertEqual([g["unified"] for g in d["gpus"]], [True, False])
        self.assertEqual([g["usable"] for g in d["gpus"]], [True, False])
        self.assertEqual(d["gpus"][0]["memory_total"], 24 * GIB)
        self.assertEqual(d["gpus"][0]["memory_free"], 24 * GIB - (1 << 20))
        self.assertEqual(self.look("none", ("metal",))["gpus"], [])

    def test_libraries_that_are_none(self):
        folder = path("drivers-broken")
        os.mkdir(folder)
        with open(os.path.join(folder, "libcuda.so.1"), "w") as f:
            f.write("no library")
        shutil.copy(os.path.join(DRIVERS, "libOpenCL.so.1"),
                    os.path.join(folder, "libnvidia-ml.so.1"))
        r = self.ok("detect-gpu", "--json", "--drivers", folder)
        self.assertEqual(len(r.json()["warnings"]), 2, r)
        self.assertIn("nvmlInit_v2", r.json()["warnings"][0])
        self.assertIn("cannot be loaded", r.json()["warnings"][1])

    def test_interrupt(self):
        """Ctrl-C ends the children, too."""
        p = subprocess.Popen([os.environ["IGN_TEST_PROGRAM"], "detect-gpu", "--json", "--drivers",
                              drivers("cuda"), "--probe-seconds", "600"], stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, env=env(IGN_FAKE="hang"))
        seen = set()
        while not seen:  # the driver's child; a thread that has done its part is gone at any time
            for thread in os.listdir(f"/proc/{p.pid}/task"):
                try:
                    with open(f"/proc/{p.pid}/task/{thread}/children") as f:
                        seen |= set(f.read().split())
                except OSError:
                    pass
            time.sleep(0.02)
        p.terminate()
        out, err = p.communicate(timeout=60 * SLOW)
        self.assertEqual(p.returncode, 130, (out, err))
        for child in seen:
            self.assertFalse(os.path.exists(f"/proc/{child}"), child)


class Pocl(Case):
    """The real loader with a real device, where both are installed."""

    def test_device(self):
        r = self.ok("detect-gpu", "--json", "--probe-seconds", "60")
        found = [g for g in r.json()["gpus"] if g["kind"] == "opencl"]
        if not found:
            self.skipTest("no OpenCL device here: apt-get install pocl-opencl-icd")
        for g in found:
            self.assertGreater(g["memory_total"], 0)
            self.assertRegex(g["driver"], r"\(OpenCL \d\.\d\)$")
        if any("pthread" in g["name"] or "cpu-" in g["name"] for g in found):
            self.assertTrue(any("processor itself" in g["why"] for g in found), found)


if __name__ == "__main__":
    main()
