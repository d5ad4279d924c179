"""Ctrl-C: within half a second, in every phase; what there is is printed; a second one is final."""
import json
import os
import signal
import subprocess
import time

from cli_rig import BYTE, IGN, SLOW, Case, env, main, path, tiny, write

SOON = 0.5 * SLOW


class Interrupt(Case):
    def start(self, *args, stdin=subprocess.DEVNULL):
        return subprocess.Popen([IGN, *args], stdin=stdin, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, env=env())

    def stop(self, p, sig=signal.SIGINT):
        """Sends the signal; returns standard output and error when the program has ended."""
        t = time.monotonic()
        p.send_signal(sig)
        out, err = p.communicate(timeout=60)
        took = time.monotonic() - t
        self.assertEqual(p.returncode, 130, err)
        self.assertLess(took, SOON, err)
        return out, err

    LONG = ["--context", "32768", "--unbounded", "--ignore-eos", "--seed", "1"]

    def wait_for(self, stream, text):
        got = b""
        while text not in got:
            c = os.read(stream.fileno(), 4096)
            self.assertTrue(c, got)
            got += c
        return got

    def test_decode(self):
        for sig in (signal.SIGINT, signal.SIGTERM):
            p = self.start("generate", "--model", tiny(context=32768), "--prompt", "x", *self.LONG)
            first = os.read(p.stdout.fileno(), 100)
            out, err = self.stop(p, sig)
            self.assertTrue(first)
            self.assertIn(b"(interrupted)", err)
            self.assertIn(b"seed 1", err)
            self.assertTrue((first + out).endswith(b"\n"))

    def test_decode_json(self):
        out_file = path("i.json")
        p = self.start("generate", "--model", tiny(context=32768), "--prompt", "x", "--json",
                       "--output-file", out_file, *self.LONG)
        self.wait_for(p.stderr, b"cpu:")
        time.sleep(0.3)
        out, _ = self.stop(p)
        d = json.loads(out)
        self.assertEqual(d["stop_reason"], "interrupted")
        self.assertEqual(d["new_tokens"], len(d["token_ids"]))
        self.assertGreater(d["new_tokens"], 0)
        with open(out_file) as f:
            self.assertEqual(json.load(f)["text"], d["text"])

    def test_prefill(self):
        """One step of 8192 tokens on the slowest back end: it is left in its middle."""
        prompt = write("long.txt", b"x" * 20000)
        p = self.start("generate", "--model", tiny(context=32768, d=256), "--prompt-file", prompt,
                       "--json", "--device", "plain", "--batch", "8192", *self.LONG)
        self.wait_for(p.stderr, b"plain")
        time.sleep(0.7)
        out, _ = self.stop(p)
        d = json.loads(out)
        self.assertEqual((d["stop_reason"], d["new_tokens"], d["text"]), ("interrupted", 0, ""))
        self.assertLess(d["prompt_tokens"], 20000)

    def test_load(self):
        """In the middle of a system call that reads two gigabytes."""
        if os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") < 5 << 30:
            self.skipTest("there is less than 5 GiB of memory")
        file = write("padded.gguf", b"")
        with open(tiny(), "rb") as f, open(file, "wb") as g:
            g.write(f.read())
        os.truncate(file, 2 << 30)
        p = self.start("generate", "--model", file, "--prompt", "x", "--no-mmap", "--json")
        time.sleep(0.1 * SLOW)
        out, err = self.stop(p)
        self.assertEqual(json.loads(out)["error"]["code"], "cancelled")
        self.assertIn(b"interrupted", err)
        os.unlink(file)

    def test_other_verbs(self):
        ids = write("ids.txt", " ".join([str(BYTE + 65)] * 30000))
        text = write("text.txt", b"the inner ring " * 60000)
        m = tiny(context=32768, d=256)
        for args in (["logits", "--context", "32768", "--device", "plain"],
                     ["perplexity", "--file", text, "--device", "plain"]):
            for more in ([], ["--json"]):
                with open(ids, "rb") as f:
                    p = self.start(*args, "--model", m, *more, stdin=f)
                    self.wait_for(p.stderr, b"plain")
                    time.sleep(0.4)
                    out, err = self.stop(p)
                self.assertIn(b"interrupted", err)
                self.assertEqual("error" in json.loads(out) if more else out, True if more else b"")

    def test_waiting_for_input(self):
        for args in (["tokenize"], ["generate", "--prompt-file", "-"], ["chat"], ["perplexity"],
                     ["template"], ["detokenize"]):
            p = self.start(*args, "--model", tiny(), stdin=subprocess.PIPE)
            time.sleep(0.5 * SLOW)
            t = time.monotonic()
            p.send_signal(signal.SIGINT)
            self.assertEqual(p.wait(timeout=60), 130, args)
            self.assertLess(time.monotonic() - t, SOON)
            for s in (p.stdin, p.stdout, p.stderr):
                s.close()

    def test_second(self):
        """A reader that does not read keeps the first Ctrl-C waiting; the second does not wait."""
        p = self.start("generate", "--model", tiny(context=32768), "--prompt", "x", *self.LONG)
        os.read(p.stdout.fileno(), 10)
        time.sleep(2)
        p.send_signal(signal.SIGINT)
        time.sleep(0.1)
        t = time.monotonic()
        p.send_signal(signal.SIGINT)
        self.assertEqual(p.wait(timeout=60), 130)
        self.assertLess(time.monotonic() - t, 0.2 * SLOW)
        p.stdout.close()
        p.stderr.close()


if __name__ == "__main__":
    main()
