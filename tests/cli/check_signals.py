"""SIGINT, SIGTERM, SIGHUP and SIGQUIT at random moments: a clean exit, whole files, nobody left behind.

    check_signals.py [N [SEED]]        N signals over all jobs (40 in ctest)

Each job is run undisturbed first, for its length; then N times with a signal at a random moment of
it. It must end complete (0) or interrupted (130) soon. A signal before the program has
begun, while the system still loads it, ends it as a signal does: that is accepted where it has
printed nothing yet. Its files are as they were or as they should be, no temporary file is left
beside them, no process of its session is alive, and its terminal is as it was.
"""
import json
import os
import pty
import random
import re
import select
import shutil
import signal
import subprocess
import sys
import termios
import threading
import time
import unittest

from cli_rig import IGN, SLOW, Case, env, ign, path, tiny, write

N, SEED = 40, random.randrange(1 << 32)
PATIENCE = 150 * SLOW  # seconds; one job has the idle priority, and waits for whoever else runs
OLD = '{"old": true}'
TALK = '[{"role":"user","content":"Hello"},{"role":"assistant","content":"Hi."}]'


def orphans(session):
    """Processes of a session, which no longer has its leader."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as f:
                fields = f.read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(pid)
    return found

ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class Job:
    """A command, and what its folder must look like before and after."""

    def __init__(self, name, args, files=(), stdin=b"", terminal=False):
        self.name, self.args, self.files = name, args, dict(files)
        self.stdin, self.terminal = stdin, terminal
        self.folder = path("job " + name)

    def prepare(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        os.mkdir(self.folder)
        for name, (old, _) in self.files.items():
            if old is not None:
                with open(os.path.join(self.folder, name), "w") as f:
                    f.write(old)

    def start(self):
        self.prepare()
        where = {"cwd": self.folder, "env": env(TERM="xterm"), "start_new_session": True}
        if not self.terminal:
            p = subprocess.Popen([IGN, *self.args], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, **where)
            return p, None
        master, slave = pty.openpty()
        before = termios.tcgetattr(slave)
        p = subprocess.Popen([IGN, *self.args], stdin=slave, stdout=slave, stderr=slave, **where)
        return p, (master, slave, before)

    def feed(self, p, tty):
        """Types, reads all that comes, and waits; returns what came."""
        if not tty:
            out, err = p.communicate(self.stdin, timeout=PATIENCE)
            return out + err
        return self.type(p, tty[0])

    def type(self, p, master):
        """Each line when the prompt has come, and nothing more does; reads to the end."""
        got, seen, lines = b"", 0, self.stdin.split(b"\n")
        end = time.monotonic() + PATIENCE
        while p.poll() is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired(self.args, PATIENCE)
            if select.select([master], [], [], 0.02)[0]:
                got += os.read(master, 4096)
            elif lines and re.search(rb"> (\x1b\[[0-9;?]*[A-Za-z]|\r)*$", got[seen:]):
                seen = len(got)
                os.write(master, lines.pop(0) + b"\r")
        return got

    def wrong(self, p, tty, printed):
        """What is not as it must be, in words; None."""
        early = -p.returncode in ENDS and not printed.strip()
        if p.returncode not in (0, 130) and not early:
            return f"exit status {p.returncode}: {printed[-300:]!r}"
        if tty and termios.tcgetattr(tty[1]) != tty[2]:
            return "the terminal is not as it was"
        if left := orphans(p.pid):
            return f"processes {left} are left"
        if more := set(os.listdir(self.folder)) - set(self.files):
            return f"files {more} are left"
        for name, (old, check) in self.files.items():
            file = os.path.join(self.folder, name)
            text = None
            if os.path.exists(file):
                with open(file, "rb") as f:
                    text = f.read()
            before = old.encode() if old is not None else None
            if text == before and not (p.returncode == 0 and old == OLD):
                continue
            try:
                check(text)
            except Exception as why:
                return f"{name} is {text if text is None else text[:200]!r}: {why!r}"
        return None


def whole_answer(text):
    d = json.loads(text)
    assert d["text"] == d["generated_text"] and len(d["token_ids"]) == d["new_tokens"]


def whole_talk(text):
    talk = json.loads(text)
    assert talk[:2] == json.loads(TALK) and all(m["content"] is not None for m in talk)


def whole_rows(text):
    assert len(text) == 300 * 267 * 4, len(text)


def jobs():
    m = ["--model", tiny(context=4096)]
    slow = ["--model", tiny(context=4096, d=256), "--device", "plain"]
    ids = " ".join(["70"] * 300)
    lines = b"".join(b"question %d\n" % i for i in range(4))
    yield Job("generate", ["generate", *m, "--prompt", "x" * 200, "--ignore-eos", "--max-tokens",
                           "600", "--seed", "1", "--output-file", "out.json"],
              {"out.json": (OLD, whole_answer)})
    yield Job("generate new", ["generate", *m, "--prompt", "x", "--ignore-eos", "--max-tokens",
                               "300", "--no-mmap", "--json", "--output-file", "out.json"],
              {"out.json": (None, whole_answer)})
    yield Job("prefill", ["generate", *slow, "--prompt", "x" * 400, "--max-tokens", "2",
                          "--priority", "idle", "--duty", "80"])
    yield Job("chat", ["chat", *m, "--history", "talk.json", "--ignore-eos", "--max-tokens", "60"],
              {"talk.json": (TALK, whole_talk)}, stdin=lines)
    yield Job("chat tty", ["chat", *m, "--history", "talk.json", "--ignore-eos", "--max-tokens",
                           "60"], {"talk.json": (TALK, whole_talk)},
              stdin=lines + b"/quit", terminal=True)
    yield Job("logits", ["logits", *m, "--ids", ids, "--all", "--output", "rows.bin"],
              {"rows.bin": (None, whole_rows)})
    yield Job("perplexity", ["perplexity", *m, "--file",
                             write("text.txt", b"the inner ring " * 400)])
    yield Job("inspect", ["inspect", tiny(), "--tensors"])
    for verb, args in (("benchmark", [*m, "--prompt-tokens", "64", "--new-tokens", "8", "--repeat",
                                      "1"]),
                       ("initialize", [*m, "--test-prompt", "x"]), ("detect-gpu", []),
                       ("doctor", []), ("status", [])):
        if ign(verb, "--help").code == 0:
            yield Job(verb, [verb, *args])


class Signals(Case):
    def test_moments(self):
        rng = random.Random(SEED)
        every = list(jobs())
        length = {}
        for job in every:
            t = time.monotonic()
            p, tty = job.start()
            printed = job.feed(p, tty)
            length[job.name] = time.monotonic() - t
            self.assertEqual(job.wrong(p, tty, printed), None, job.name)
            self.assertIn(p.returncode, (0, 1) if job.name in ("doctor", "status") else (0,),
                          (job.name, printed))
        ends = {0: 0, 130: 0}
        for i in range(N):
            job = every[i % len(every)]
            sig, after = rng.choice(ENDS), rng.random()
            p, tty = job.start()
            alarm = threading.Timer(after * length[job.name], p.send_signal, (sig,))
            alarm.start()
            try:
                printed = job.feed(p, tty)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
                self.fail(f"seed {SEED}: {job.name} hangs after {sig.name} at {after:.3f} of its run")
            alarm.join()
            wrong = job.wrong(p, tty, printed)
            if wrong:
                self.fail(f"seed {SEED}: {job.name}, {sig.name} at {after:.3f} of its run: {wrong}")
            ends[p.returncode] = ends.get(p.returncode, 0) + 1
            for fd in tty[:2] if tty else ():
                os.close(fd)
        print(f"seed {SEED}, {N} signals to {len(every)} jobs; ends: {ends}", flush=True)
        self.assertGreater(ends[130], N // 5)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        N = int(sys.argv[1])
    if len(sys.argv) > 2:
        SEED = int(sys.argv[2])
    unittest.main(argv=sys.argv[:1], verbosity=2)
