"""benchmark: its keys, figures that agree with each other, side by side, comparing, failing.

No figure is judged by its size: a busy machine gives other ones.
"""
import json
import os
import pty
import re
import select
import signal
import subprocess
import time

from cli_rig import HOME, IGN, SLOW, Case, env, ign, main, path, read, tiny, write

SMALL = ["--prompt-tokens", "24", "--new-tokens", "9"]
STATE = os.path.join(HOME, ".local/state/ign/benchmark.json")


def runs(*args, **more):
    return ["benchmark", "--model", tiny(**more), *SMALL, *args]


class Benchmark(Case):
    def document(self, *args, **more):
        before = int(time.time())
        d = self.ok(*runs("--json", *args, **more)).json()
        self.assertTrue(before <= d["time"] <= time.time(), d["time"])
        return d

    _earlier = None

    def earlier(self):
        """A result to compare with; the same one in every test."""
        if Benchmark._earlier is None:
            Benchmark._earlier = self.document("--repeat", "2", "--threads", "1")
        return json.loads(json.dumps(Benchmark._earlier))

    def ordered(self, d, *keys):
        for low, high in zip(keys, keys[1:]):
            self.assertLessEqual(d[low], d[high], d)
        self.assertGreater(d[keys[0]], 0, d)

    def near(self, a, b, more=1e-6):
        self.assertLessEqual(abs(a - b), more * max(abs(a), abs(b)), (a, b))

    def check(self, d, n_session):
        """All that holds for any result."""
        ceilings, prefill, decode, requests = (
            d[k] for k in ("ceilings", "prefill", "decode", "requests"))
        self.assertEqual(d["model"], "tiny")
        self.assertRegex(d["device"], rf"^cpu: .*\b{d['threads']} thread")
        self.assertEqual((prefill["tokens"], decode["tokens"]), (24, 9))
        for key in ("read_gb_per_s", "int8_gmac_per_s", "f32_gmac_per_s",
                    "attention_gmac_per_s", "model_gmac_per_s"):
            self.assertGreater(ceilings[key], 0, key)
        self.assertEqual(list(ceilings["formats"]), ["F32"])
        self.near(ceilings["formats"]["F32"], ceilings["f32_gmac_per_s"])
        both = sorted((ceilings["f32_gmac_per_s"], ceilings["attention_gmac_per_s"]))
        self.assertTrue(both[0] <= ceilings["model_gmac_per_s"] <= both[1], ceilings)
        for phase in (prefill, decode):
            rate = phase["tokens_per_second"]
            self.ordered(rate, "min", "median", "max")
            if n_session == 1:
                self.near(phase["percent_of_ceiling"],
                          100 * rate["median"] / phase["ceiling_tokens_per_second"])
            else:
                self.assertIsNone(phase["percent_of_ceiling"])
        self.near(decode["ceiling_tokens_per_second"],
                  1e9 * ceilings["read_gb_per_s"] / decode["bytes_per_token"])
        for key in ("ttft_ms", "itl_ms"):
            self.ordered(requests[key], "p50", "p95", "p99")
        done = requests["total"] - requests["failed"]
        self.near(requests["per_second"], done / requests["seconds"])
        self.near(requests["tokens_per_second"], 9 * requests["per_second"])
        self.assertGreater(d["load_seconds"], 0)
        self.assertGreater(d["peak_rss_bytes"], d["weights_bytes"])
        if d["large_pages_percent"] is not None:
            self.assertTrue(0 <= d["large_pages_percent"] <= 100, d["large_pages_percent"])
        noise = d["noise"]
        for key in ("steal_percent", "other_load_percent", "own_percent"):
            if noise[key] is not None:
                self.assertTrue(0 <= noise[key] <= 100, noise)
        self.assertEqual(noise["verdict"], "noisy" if noise["reasons"] else "quiet")

    def test_repeat(self):
        d = self.document("--repeat", "4")
        self.check(d, 1)
        self.assertEqual((d["repeat"], d["duration_seconds"], d["interrupted"]), (4, None, False))
        requests, prefill, decode = d["requests"], d["prefill"], d["decode"]
        self.assertEqual((requests["total"], requests["failed"]), (4, 0))
        # A prompt's time is that to its first token; the requests' seconds hold all their parts.
        rate = prefill["tokens_per_second"]
        self.near(requests["ttft_ms"]["p99"], 1e3 * 24 / rate["min"])
        self.assertTrue(24e3 / rate["max"] <= requests["ttft_ms"]["p50"] <= 24e3 / rate["min"])
        self.assertLessEqual(4 * (24 / prefill["tokens_per_second"]["max"] +
                                  8 / decode["tokens_per_second"]["max"]), requests["seconds"])
        self.near(decode["gb_per_s"],
                  decode["tokens_per_second"]["median"] * decode["bytes_per_token"] / 1e9)
        # What is kept is what was said.
        self.assertEqual(json.loads(read(STATE)), d)

    def stages_add_up(self, d):
        wholes = 0
        for phase in ("prefill", "decode"):
            p = d["profile"][phase]
            wholes += p["seconds"]
            self.near(sum(p["stages"].values()), p["seconds"])
            self.assertGreaterEqual(min(p["stages"].values()), -1e-9, p)
            for stage in ("norms", "qkv", "rope", "attention", "projection", "ffn",
                          "scheduling"):
                self.assertGreater(p["stages"][stage], 0, (phase, stage))
            # What no stage has is the program between two steps, which is short.
            self.assertLess(p["stages"]["other"], p["seconds"] / 4, p)
        # Both are timed by themselves, and so are the requests.
        self.assertLessEqual(wholes, 1.0001 * d["requests"]["seconds"])
        self.assertGreater(wholes, 0.7 * d["requests"]["seconds"])

    def test_profile(self):
        d = self.document("--repeat", "3", "--profile", "--threads", "1")
        self.check(d, 1)
        self.stages_add_up(d)
        prefill, decode = d["profile"]["prefill"], d["profile"]["decode"]
        self.assertEqual((prefill["steps"], prefill["tokens"]), (3, 3 * 24))
        self.assertEqual((decode["steps"], decode["tokens"]), (3 * 8, 3 * 8))
        for stages in (prefill["stages"], decode["stages"]):
            self.assertGreater(stages["sampling"], 0)
            self.assertEqual(stages["synchronization"], 0)
        self.assertGreater(prefill["stages"]["tokenizing"], 0)
        self.assertEqual(decode["stages"]["tokenizing"], 0)
        self.assertNotIn("profile", self.earlier())

    def test_profile_side_by_side(self):
        d = self.document("--duration", "0.2", "--concurrent-requests", "3", "--profile")
        self.check(d, 3)
        self.stages_add_up(d)

    def test_profile_text(self):
        r = self.ok(*runs("--repeat", "2", "--threads", "1", "--profile"))
        self.assertRegex(r.text, r"(?m)^profile +prefill 48 tokens in .* decode 16 tokens in ")
        for stage in ("tokenizing", "norms", "synchronization", "other"):
            self.assertRegex(r.text, rf"(?m)^  {stage} +[\d.]+ +[\d.]+ % +[\d.]+ +[\d.]+ %$")

    def work(self, d):
        """Multiply-adds of a prompt's token, and bytes that a new one reads, as the report counts."""
        ceilings = d["ceilings"]
        mac = 1e9 * ceilings["model_gmac_per_s"] / d["prefill"]["ceiling_tokens_per_second"]
        return mac, d["decode"]["bytes_per_token"]

    def test_depth(self):
        """Positions before each request: more than are computed (the rest repeats), and fewer."""
        args = ("--repeat", "3", "--threads", "1")
        none, some, deep = (self.document(*args, "--depth", str(n), context=4096)
                            for n in (0, 300, 1300))
        for d, depth in ((none, 0), (some, 300), (deep, 1300)):
            self.check(d, 1)
            self.assertEqual(d["depth"], depth)
            self.assertEqual((d["requests"]["total"], d["requests"]["failed"]), (3, 0))
        # Attention and the cache's bytes count, and each position costs what every other does.
        for base, few, many in zip(*map(self.work, (none, some, deep))):
            self.assertGreater(few, base)
            self.near((many - base) / 1300, (few - base) / 300, 1e-3)

    def test_depth_side_by_side(self):
        d = self.document("--duration", "0.1", "--concurrent-requests", "2", "--depth", "600",
                          context=4096)
        self.check(d, 2)
        self.assertEqual((d["depth"], d["requests"]["failed"]), (600, 0))
        self.assertGreaterEqual(d["context"], 2 * 633)

    def test_depth_text(self):
        r = self.ok(*runs("--repeat", "1", "--depth", "64", context=512))
        self.assertRegex(r.text, r"(?m)^device .*, 64 positions in it before each request$")
        r = self.ok(*runs("--repeat", "1", context=512))
        self.assertNotIn("positions in it", r.text)
        r = self.fails(2, *runs("--depth", "480", "--context", "512", context=512))
        self.assertIn(b"513", r.err)
        for n in ("-1", "1000001", "x"):
            self.fails(2, *runs("--depth", n))

    def test_defaults(self):
        d = self.ok("benchmark", "--model", tiny(context=2048), "--json").json()
        self.assertEqual((d["prompt_tokens"], d["new_tokens"], d["repeat"]), (512, 64, 3))
        self.assertEqual(d["requests"]["total"], 3)
        self.assertEqual(d["requests"]["failed"], 0)

    def test_side_by_side(self):
        d = self.document("--duration", "0.2", "--concurrent-requests", "3")
        self.check(d, 3)
        self.assertEqual((d["repeat"], d["duration_seconds"]), (None, 0.2))
        self.assertEqual(d["concurrent_requests"], 3)
        self.assertGreaterEqual(d["requests"]["total"], 3)
        self.assertEqual(d["requests"]["failed"], 0)
        self.assertGreaterEqual(d["requests"]["seconds"], 0.2)

    def test_more_than_the_context(self):
        """Sessions side by side get the cache that they need, or a reason why not."""
        args = runs("--duration", "0.05", "--concurrent-requests", "20", context=512)
        d = self.ok(*args, "--json").json()
        self.assertGreaterEqual(d["context"], 20 * 33)
        self.assertEqual(d["requests"]["failed"], 0)
        r = self.fails(2, *args, "--context", "512")
        self.assertIn(b"1280", r.err)

    def test_text(self):
        r = self.ok(*runs("--repeat", "2", "--threads", "1"))
        for line in (r"model +tiny", r"device +cpu", r"ceilings +\w+: read [\d.]+ GB/s", r"load +\d",
                     r"prefill +24 tokens: [\d.]+/s \([\d.]+ to [\d.]+\), \d+ % of the ceiling",
                     r"decode +9 tokens: ", r"requests +2 in .* 0 failed", r"memory +\d",
                     r"noise +\w"):
            self.assertRegex(r.text, "(?m)^" + line)
        self.assertNotIn("#", r.text)
        self.assertNotIn(b"\r", r.err)

    def test_levels_and_devices(self):
        d = self.document("--cpu", "c", "--repeat", "1", "--threads", "1")
        self.assertEqual((d["ceilings"]["level"], d["threads"]), ("c", 1))
        self.assertIsNone(d["ceilings"]["bf16_gmac_per_s"])
        d = self.document("--device", "plain", "--repeat", "1")
        self.assertIn("plain", d["device"])

    def test_compare(self):
        old = self.earlier()
        file = write("old.json", json.dumps(old))
        now = self.document("--repeat", "3", "--threads", "1", "--compare", file)
        figures = {f["name"]: f for f in now["compare"]["figures"]}
        self.assertLessEqual({"read bandwidth", "load", "prefill", "decode", "peak memory"},
                             set(figures))
        for phase in ("prefill", "decode"): # a percentage's range is that of its rate
            share, rate = figures[phase + " of ceiling"]["new"], figures[phase]["new"]
            for end in ("min", "max"):
                self.near(share[end] / share["median"], rate[end] / rate["median"])
        self.assertEqual(figures["read bandwidth"]["new"]["max"], now["ceilings"]["read_gb_per_s"])
        f = figures["prefill"]
        self.assertEqual(f["old"], old["prefill"]["tokens_per_second"])
        self.assertEqual(f["new"], now["prefill"]["tokens_per_second"])
        for f in figures.values():
            self.near(f["ratio"], f["new"]["median"] / f["old"]["median"])
            overlap = f["old"]["min"] <= f["new"]["max"] and f["new"]["min"] <= f["old"]["max"]
            self.assertEqual(f["verdict"] == "same", overlap, f)
        self.assertEqual(now["compare"]["noisy"],
                         "noisy" in (old["noise"]["verdict"], now["noise"]["verdict"]))
        self.assertNotIn("compare", json.loads(read(STATE)))
        # Figures far away from anything that this machine does.
        verdicts = {"prefill": (1e-6, "better"), "decode": (1e6, "worse")}
        for name, (factor, _) in verdicts.items():
            rate = old[name]["tokens_per_second"]
            old[name]["tokens_per_second"] = {k: v * factor for k, v in rate.items()}
        old["peak_rss_bytes"] *= 1000
        text = self.ok(*runs("--repeat", "1", "--threads", "1", "--compare",
                             write("far.json", json.dumps(old)))).text
        for name, (_, verdict) in (verdicts | {"peak memory": (0, "better")}).items():
            self.assertRegex(text, rf"(?m)^{name} +[\d.]+ +[\d.]+ +[\d.]+  {verdict} ")

    def test_compare_refuses(self):
        old = self.earlier()
        for key, value in (("model", "another"), ("device", "cpu: abacus")):
            file = write("other.json", json.dumps(old | {key: value}))
            r = self.fails(2, *runs("--repeat", "1", "--threads", "1", "--compare", file))
            self.assertIn(key.encode(), r.err)
            self.assertIn(b"other.json", r.err)
        for text in ("", "{}", "[1]", "{\"ceilings\": 1, \"model\": []}", "\xff", "{\"a\":" * 100):
            r = self.fails((1, 2), *runs("--repeat", "1", "--threads", "1", "--compare",
                                         write("bad.json", text)))
            self.assertIn(b"bad.json", r.err)
        self.fails(4, *runs("--compare", path("absent.json")))

    def test_odd_documents(self):
        """Figures that are not there or make no sense are left out of a comparison."""
        old = self.earlier()
        old["decode"]["tokens_per_second"] = {"min": 3, "median": 2, "max": 1}
        old["prefill"] = "fast"
        old["peak_rss_bytes"] = -5
        old["noise"] = []
        old["ceilings"]["spread_percent"]["read"] = 130 # of a machine that stood still for a while
        now = self.document("--repeat", "1", "--threads", "1", "--compare",
                            write("odd.json", json.dumps(old)))
        names = {f["name"] for f in now["compare"]["figures"]}
        self.assertIn("read bandwidth", names)
        self.assertFalse(names & {"decode", "prefill", "peak memory"})

    def test_failing_model(self):
        before = read(STATE) if os.path.exists(STATE) else None
        r = self.fails(1, *runs("--json", nan=1))
        self.assertIn(b"non-finite", r.err)
        self.assertEqual(read(STATE) if os.path.exists(STATE) else None, before)
        self.fails(1, "benchmark", "--model", write("none.gguf", b"GGUF"), "--json")
        self.fails(4, "benchmark", "--model", path("no-such.gguf"))

    def test_wrong_use(self):
        for args in (["--repeat", "2", "--duration", "1"], ["--repeat", "0"], ["--duration", "-1"],
                     ["--new-tokens", "1"], ["--concurrent-requests", "0"],
                     ["--concurrent-requests", "1e3"]):
            self.fails(2, "benchmark", "--model", tiny(), *args)

    def test_state_folder(self):
        folder = path("state")
        d = self.document("--repeat", "1", "--state", folder)
        self.assertEqual(json.loads(read(os.path.join(folder, "benchmark.json"))), d)
        blocked = write("blocked", b"")
        r = self.ok(*runs("--repeat", "1", "--state", blocked))
        self.assertIn(b"not kept", r.err)

    def start(self, *args):
        return subprocess.Popen([IGN, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                env=env())

    def test_interrupted(self):
        """What is done by then is said; nothing is kept."""
        before = read(STATE) if os.path.exists(STATE) else None
        p = self.start(*runs("--repeat", "1000", "--json", context=32768, d=256),
                       "--new-tokens", "200")
        while b"cpu:" not in p.stderr.readline():
            pass
        time.sleep(1.0 * SLOW)
        p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=60 * SLOW)
        self.assertEqual(p.returncode, 130, err)
        self.assertIn(b"interrupted", err)
        d = json.loads(out)
        if "error" not in d:
            self.assertTrue(d["interrupted"])
            self.assertTrue(0 < d["requests"]["total"] < 1000, d["requests"])
            self.assertEqual(d["requests"]["failed"], 0)
        self.assertEqual(read(STATE) if os.path.exists(STATE) else None, before)

    def test_interrupted_early(self):
        p = self.start(*runs("--json"))
        while b"ceilings" not in p.stderr.readline():
            pass
        p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=60 * SLOW)
        self.assertEqual(p.returncode, 130, err)
        self.assertEqual(json.loads(out)["error"]["code"], "cancelled")

    def test_terminal(self):
        """A bar for each share of a ceiling, and a bar of progress, where somebody looks."""
        pid, fd = pty.fork()
        if pid == 0:
            os.execve(IGN, [IGN, *runs("--repeat", "2")], env(TERM="xterm"))
        got = b""
        while select.select([fd], [], [], 60 * SLOW)[0]:
            try:
                piece = os.read(fd, 65536)
            except OSError:
                break
            if not piece:
                break
            got += piece
        os.close(fd)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0, got)
        text = got.decode()
        for name in ("prefill", "decode"):
            self.assertRegex(text, rf"(?m)^{name} +\[[#.]{{50}}\] \d+ % of the ceiling\r$")
        self.assertTrue(re.search(r"\rtokens \[", text), text)


if __name__ == "__main__":
    main()
