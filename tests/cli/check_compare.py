"""bench/compare: a peer's figures and ours in one table, joined results, peers that fail.

The peer is a program that prints what llama-bench does. No figure is judged by its size.
"""
import json
import os
import subprocess
import sys

from cli_rig import IGN, SLOW, Case, env, main, path, read, tiny, write

COMPARE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../bench/compare")

PEER = """#!/bin/sh
# Speeds of a llama-bench: a prompt's, then that of new tokens.
echo '[{"n_prompt": 16, "n_gen": 0, "n_depth": 0, "avg_ts": 0.5},'
echo ' {"n_prompt": 0, "n_gen": 3, "n_depth": 0, "avg_ts": 0.25}]'
"""


def program(name, text):
    file = write(name, text)
    os.chmod(file, 0o755)
    return file


class Compare(Case):
    def compare(self, *args, code=0):
        r = subprocess.run([sys.executable, COMPARE, *args], capture_output=True, text=True,
                           env=env(), timeout=300 * SLOW)
        self.assertEqual(r.returncode, code, r.stdout + r.stderr)
        return r.stdout if code == 0 else r.stderr

    def measure(self, *args):
        return self.compare("--ign", IGN, "--model", tiny(), "--prompt", "16", "--new", "3",
                            "--threads", "1", *args)

    def rows(self, text):
        lines = [line for line in text.split("\n") if line.startswith("|")]
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]

    def test_table(self):
        peer = program("llama-bench", PEER)
        speed, kl = path("speed.json"), path("kl.json")
        text = self.measure("--peer", f"one={peer}", "--peer", f"two={peer}", "--cpu", "c",
                            "--turns", "2", "--only", "speed", "--json", speed)
        head, _, one, two, ours = self.rows(text)
        self.assertEqual(len({len(row) for row in (head, one, two, ours)}), 1)
        self.assertEqual(one[1:3], ["one", "0.50 (0.50-0.50)"])
        self.assertEqual(two[5], "0.25 (0.25-0.25)")
        self.assertEqual((ours[1], ours[-1]), ("ign c", "not measured"))
        self.assertRegex(ours[3], r"^\d+ %$")
        turns = json.loads(read(speed))[0]["programs"][2]["turns"]
        mean = (turns[0]["decode"] + turns[1]["decode"]) / 2
        self.assertEqual(ours[7], f"{mean / 0.25:.2f} x one, {mean / 0.25:.2f} x two")
        self.assertRegex(text, r"(?m)^- .*, ign c \(cpu: c, 1 thread, .*\): ceilings [\d.]+ to ")

        self.measure("--peer", f"one={peer}", "--cpu", "c", "--only", "kl", "--json", kl)
        *_, joined = self.rows(self.compare("--join", speed, kl))
        self.assertEqual(joined[:-1], ours[:-1])
        self.assertTrue(0 <= float(joined[-1]) < 0.1, joined)

    def test_failures(self):
        self.assertIn("status 3", self.measure_fails(program("broken", "#!/bin/sh\nexit 3\n")))
        self.assertIn("no prefill or no decode",
                      self.measure_fails(program("empty", "#!/bin/sh\necho '[]'\n")))
        self.compare("--model", "x", "--peer", "nothing", code=2)

    def measure_fails(self, peer):
        return self.compare("--ign", IGN, "--model", tiny(), "--peer", f"it={peer}", code=1)


if __name__ == "__main__":
    main()
