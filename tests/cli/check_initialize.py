"""initialize: plans, refusals, exit codes, and broken models that must fail the self-test.

Broken models are copies of the small random ones that the golden tests use, with the bytes of a
tensor changed where `inspect` says that it lies.
"""
import json
import os
import re
import shutil
import struct
import subprocess
import unittest

from cli_rig import FOLDER, IGN, Case, env, main, path, tiny, write

GOLDEN = os.path.join(os.path.dirname(__file__), "..", "model", "golden")
MISTRAL = os.path.join(GOLDEN, "tiny-mistral.gguf")
DEMO = os.path.join(os.environ.get("IGN_TEST_MODEL_DIR", "/nowhere"),
                    "SmolLM2-135M-Instruct.Q4_1.gguf")
PLAN_KEYS = {"device", "weights_bytes", "kv_bytes", "scratch_bytes", "total_bytes",
             "available_bytes", "fits"}


def run(*args, **more):
    return subprocess.run([IGN, "initialize", *args], capture_output=True, env=env(), **more)


def tensors(model):
    done = subprocess.run([IGN, "inspect", model, "--tensors", "--json"], capture_output=True,
                          env=env(), check=True)
    return {t["name"]: t for t in json.loads(done.stdout)["tensors"]}


def broken(name, change):
    """A copy in which the bytes of tensors are changed: {name: f(old bytes)}."""
    model = path(name + ".gguf")
    shutil.copyfile(MISTRAL, model)
    with open(model, "r+b") as f:
        for tensor, new in change.items():
            t = tensors(MISTRAL)[tensor]
            f.seek(t["offset"])
            old = f.read(t["bytes"])
            f.seek(t["offset"])
            f.write(new(old))
    return model


def system_root(total, **files):
    """A machine with this much memory available, in bytes, and more files by path."""
    root = path(f"root{len(os.listdir(FOLDER))}")
    kb = total // 1024
    files = {"proc/meminfo": f"MemTotal: {kb * 2} kB\nMemFree: {kb} kB\nMemAvailable: {kb} kB\n",
             "proc/cpuinfo": "processor : 0\n", **files}
    for name, text in files.items():
        os.makedirs(os.path.dirname(os.path.join(root, name)), exist_ok=True)
        with open(os.path.join(root, name), "w") as f:
            f.write(text)
    return root


def cgroup_files(limit, used):
    return {"proc/self/cgroup": "0::/box\n",
            "proc/self/mountinfo": "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
            "sys/fs/cgroup/box/memory.max": f"{limit}\n",
            "sys/fs/cgroup/box/memory.current": f"{used}\n",
            "sys/fs/cgroup/box/memory.stat": "inactive_file 0\nactive_file 0\n"}


class Initialize(Case):
    def fails(self, code, said, *args):
        r = run(*args)
        self.assertEqual(r.returncode, code, r.stderr)
        line = [x for x in r.stderr.decode().splitlines() if x.startswith("ign: error:")]
        self.assertEqual(len(line), 1, r.stderr)
        for text in [said] if isinstance(said, str) else said:
            self.assertIn(text, line[0])
        return r

    def plan(self, *args, code=0):
        r = run("--json", "--dry-run", *args)
        self.assertEqual(r.returncode, code, r.stderr)
        return json.loads(r.stdout)["plan"]

    # ---- what works

    def test_answer(self):
        r = run("--json", "--model", MISTRAL)
        self.assertEqual(r.returncode, 0, r.stderr)
        d = json.loads(r.stdout)
        self.assertLessEqual(PLAN_KEYS, set(d["plan"]))
        self.assertGreater(d["load_seconds"], 0)
        self.assertEqual(d["test"]["new_tokens"], 50)
        self.assertLessEqual({"text", "new_tokens", "decode_tokens_per_second"}, set(d["test"]))
        self.assertGreater(d["stages"]["accepted_seconds"], 0)

    def test_random_models_pass(self):
        for name in ("mistral", "mixtral", "yarn", "llama31", "linear"):
            r = run("--model", os.path.join(GOLDEN, f"tiny-{name}.gguf"))
            self.assertEqual(r.returncode, 0, r.stderr)

    @unittest.skipUnless(os.path.exists(DEMO), "no demo model")
    def test_demo_model_passes(self):
        r = run("--json", "--model-name", DEMO)
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertGreater(len(json.loads(r.stdout)["test"]["text"]), 10)

    def test_people_see_a_table(self):
        r = run("--dry-run", "--model-name", "Qwen2.5-8B")
        self.assertEqual(r.returncode, 0, r.stderr)
        text = r.stdout.decode()
        for said in ("qwen2.5-7b", "fp32", "int4", "32768", "estimate"):
            self.assertIn(said, text)

    # ---- plans of names

    def test_known_names_need_no_file(self):
        for name, weights in (("llama3.1-8b", 4912898304), ("Mistral 8x7B", 28447727616),
                              ("mistral-7b", 4372054016)):
            p = self.plan("--model-name", name, "--quantization", "int4", "--system-root",
                          system_root(64 << 30))
            self.assertEqual(p["weights_bytes"], weights)
            self.assertEqual(p["total_bytes"], p["weights_bytes"] + p["kv_bytes"] +
                             p["scratch_bytes"] + p["program_bytes"])
            self.assertTrue(p["fits"])
            self.assertEqual({r["quantization"] for r in p["rows"]},
                             {"fp32", "fp16", "int8", "int4"})
            self.assertTrue(all(r["fits"] or r["why"] for r in p["rows"]))

    def test_without_a_file_it_says_how_to_get_one(self):
        self.fails(4, ("llama3.1-8b", "GGUF", "--dry-run"), "--model-name", "llama3.1-8b")
        self.fails(4, "no-such-model", "--model-name", "no-such-model")
        self.fails(4, "no-such-model", "--model-name", "no-such-model", "--dry-run")

    # ---- what does not fit

    def test_limits(self):
        root = system_root(6 << 30)
        small = ("--model-name", "llama3.1-8b", "--system-root", root)
        p = self.plan(*small)
        self.assertEqual(p["quantization"], "int4")
        p = self.plan(*small, "--quantization", "fp16", code=3)
        self.assertFalse(p["fits"])
        self.assertEqual(p["nearest"]["quantization"], "int4")
        p = self.plan(*small, "--quantization", "int4", "--max-context", "32768", code=3)
        self.assertGreater(p["nearest"]["context"], 512)
        self.assertLessEqual(p["nearest"]["total_bytes"], p["available_bytes"])
        self.assertEqual(self.plan(*small, "--max-memory", "1G", code=3)["limited_by"],
                         "--max-memory")
        self.assertEqual(self.plan(*small, "--max-memory", "1G", code=3)["available_bytes"], 1 << 30)
        boxed = system_root(64 << 30, **cgroup_files(4 << 30, 1 << 30))
        p = self.plan("--model-name", "llama3.1-8b", "--system-root", boxed, code=3)
        self.assertIn("memory.max", p["limited_by"])
        self.assertEqual(p["available_bytes"], 3 << 30)

    def test_refused_before_loading(self):
        big = tiny(context=32768)
        fits = json.loads(run("--json", "--dry-run", "--model", big, "--context",
                              "512").stdout)["plan"]["total_bytes"]
        limit = str(fits + (1 << 20))
        boxed = system_root(64 << 30, **cgroup_files(int(limit), 0))
        for verb, more in (("initialize", ["--max-context", "32768"]),
                           ("generate", ["--prompt", "x", "--context", "32768"])):
            for how in (["--max-memory", limit], ["--system-root", boxed],
                        ["--system-root", system_root(int(limit))]):
                r = subprocess.run([IGN, verb, "--model", big, *more, *how], capture_output=True,
                                   env=env())
                self.assertEqual(r.returncode, 3, r.stderr)
                self.assertRegex(r.stderr.decode(), r"needs .* GB .*; --context \d+ would fit")

    def test_threads_are_cut(self):
        r = run("--model", MISTRAL, "--threads", "1000", "--dry-run")
        self.assertEqual(r.returncode, 0)
        self.assertIn(b"1000 threads are more than", r.stderr)

    # ---- wrong use

    def test_wrong_use(self):
        self.fails(2, ("the file is fp16", "not fp32"), "--model", MISTRAL, "--quantization", "fp32")
        self.fails(2, "exclude each other", "--model", MISTRAL, "--model-name", MISTRAL)
        self.fails(2, "exclude each other", "--model", MISTRAL, "--context", "512",
                   "--max-context", "512")
        self.fails(2, "the most for this model", "--model", MISTRAL, "--max-context", "40000")
        self.fails(2, "511", "--model", MISTRAL, "--max-context", "511")
        self.fails(2, "int5", "--model", MISTRAL, "--quantization", "int5")
        self.fails(2, "the prompt is empty", "--model", MISTRAL, "--test-prompt", "")
        self.fails(1, "text.gguf", "--model", write("text.gguf", "no model"))

    # ---- models that are none

    def test_zeroed_matrix(self):
        for name in ("token_embd.weight", "blk.1.ffn_down.weight"):
            self.fails(1, (f"'{name}' holds nothing but zeros", "offset"), "--model",
                       broken("zero", {name: lambda old: bytes(len(old))}))

    def test_not_a_number(self):
        nan = struct.pack("<f", float("nan"))
        self.fails(1, "not finite", "--model",
                   broken("nan", {"output_norm.weight": lambda old: nan + old[4:]}))

    def test_flat(self):
        self.fails(1, "every token the same score", "--model",
                   broken("flat", {"output_norm.weight": lambda old: bytes(len(old))}))

    def test_blind(self):
        """Values of -0: bytes that are not zero, and an attention that adds nothing."""
        layers = [n for n in tensors(MISTRAL) if n.endswith("attn_v.weight")]
        self.fails(1, "do not depend on what came before", "--model",
                   broken("blind", {n: lambda old: b"\0\x80" * (len(old) // 2) for n in layers}))

    def test_one_token(self):
        self.fails(1, ("self-test", "one token, repeated"), "--model",
                   broken("same", {"token_embd.weight": one_way}))


def memory_group():
    """A fresh control group for memory below this process's own, and its limit file; or None."""
    try:
        with open("/proc/self/cgroup") as f:
            lines = [x.strip().split(":", 2) for x in f]
        own = {kinds: where for _, kinds, where in lines}
        if "memory" in own:
            parent, limit = f"/sys/fs/cgroup/memory{own['memory']}", "memory.limit_in_bytes"
        else:
            parent, limit = f"/sys/fs/cgroup{own['']}", "memory.max"
        for base in (parent, os.path.dirname(parent.rstrip("/")), "/sys/fs/cgroup/memory"):
            group = os.path.join(base, f"ign-test-{os.getpid()}")
            if not os.access(base, os.W_OK):
                continue
            os.mkdir(group)
            if os.access(os.path.join(group, limit), os.W_OK):
                return group, os.path.join(group, limit)
            os.rmdir(group)
    except (OSError, KeyError):
        pass
    return None


@unittest.skipUnless(os.path.exists(DEMO), "no demo model")
class ControlGroup(unittest.TestCase):
    """A real limit of the kernel's, around the program itself."""

    def setUp(self):
        found = memory_group()
        if not found:
            self.skipTest("control groups cannot be written here")
        self.group, self.limit = found

    def tearDown(self):
        os.rmdir(self.group)

    def run_inside(self, limit, *args):
        with open(self.limit, "w") as f:
            f.write(str(limit))

        def enter():
            with open(os.path.join(self.group, "cgroup.procs"), "w") as f:
                f.write(str(os.getpid()))
        return subprocess.run([IGN, *args], capture_output=True, env=env(), preexec_fn=enter)

    def test_limit(self):
        plan = json.loads(run("--json", "--dry-run", "--model", DEMO, "--context", "4096",
                              "--batch", "512").stdout)["plan"]
        # The pages of the file are charged to whoever read them first, or to nobody here.
        small = plan["total_bytes"] - (40 << 20)
        r = self.run_inside(small, "generate", "--model", DEMO, "--prompt", "hello")
        self.assertEqual(r.returncode, 3, r.stderr)
        self.assertRegex(r.stderr.decode(), r"memory\.(max|limit_in_bytes)")
        refused = r
        r = self.run_inside(small, "initialize", "--model", DEMO, "--json")
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertLess(json.loads(r.stdout)["plan"]["total_bytes"], small)
        # What the system keeps of the programs before is charged to the group and moves a little.
        for _ in range(3):
            context = re.search(r"--context (\d+) would fit", refused.stderr.decode()).group(1)
            r = self.run_inside(small, "generate", "--model", DEMO, "--prompt", "hello",
                                "--max-tokens", "8", "--context", context)
            if r.returncode == 0:
                break
            refused = r
        self.assertEqual(r.returncode, 0, r.stderr)


def one_way(old):
    """Embeddings that lean one way, which is the output's too; that of one token is longest."""
    n_vocab = tensors(MISTRAL)["token_embd.weight"]["shape"][1]
    n = len(old) // n_vocab // 2
    rows = [struct.unpack_from(f"<{n}e", old, 2 * n * t) for t in range(n_vocab)]
    longest = max(abs(x) for x in rows[0])
    return b"".join(struct.pack(f"<{n}e", *(
        lean / longest * (60 if t == 70 else 30) + x for lean, x in zip(rows[0], rows[t])))
                    for t in range(n_vocab))


if __name__ == "__main__":
    main()
