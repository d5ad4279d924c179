"""Every system call that the program makes, failed once: an error or no harm, never a crash.

    check_faults.py [K]        the first K of each call, each error that it may give (in ctest 1 and 1)

tests/cli/fault.c makes the N-th call of a kind fail. The program must end with 1 to 4 and say so, or
with 0 and the same answer and files as undisturbed; not by a signal, not by hanging, and with no
half-written file. What the loader does before main is out of scope (fault.c says how it tells).
"""
import json
import os
import shutil
import subprocess
import sys
import unittest

from cli_rig import IGN, SLOW, Case, env, ign, path, tiny, write

FAULT = os.environ["IGN_TEST_FAULT"]
K = 1
ERRORS = {  # what each call may fail with; EIO where nothing is said
    "access": ["EACCES"], "clock_nanosleep": ["EINTR"], "clone3": ["EAGAIN"],
    "futex": ["EAGAIN", "EINTR"], "flock": ["ENOLCK", "EINTR"], "fcntl": ["EINVAL"],
    "getcwd": ["ENOENT"], "getrandom": ["ENOSYS", "EINTR"], "getrusage": ["EINVAL"],
    "ioctl": ["ENOTTY", "EIO"], "ioprio_set": ["EPERM"], "linkat": ["EPERM", "EACCES"], "lseek": ["ESPIPE"],
    "madvise": ["EINVAL", "ENOMEM"], "mkdir": ["EACCES", "ENOSPC"], "mlock": ["ENOMEM", "EPERM"],
    "mmap": ["ENOMEM", "ENODEV"], "mprotect": ["ENOMEM"], "mremap": ["ENOMEM"],
    "munmap": ["EINVAL"], "newfstatat": ["EACCES", "EIO"], "openat": ["EMFILE", "EACCES", "EIO"],
    "pipe2": ["EMFILE"], "poll": ["EINTR", "ENOMEM"], "prctl": ["EINVAL"],
    "prlimit64": ["EPERM"], "read": ["EIO", "EINTR"], "readlink": ["EACCES"],
    "rename": ["EXDEV", "EACCES"], "rt_sigaction": ["EINVAL"], "rt_sigprocmask": ["EINVAL"],
    "sched_getaffinity": ["EINVAL"], "sched_setaffinity": ["EINVAL"],
    "sched_setscheduler": ["EPERM"], "set_robust_list": ["ENOSYS"], "setpriority": ["EACCES"],
    "sysinfo": ["EFAULT"], "uname": ["EFAULT"], "unlink": ["EACCES"], "wait4": ["ECHILD"],
    "write": ["EIO", "ENOSPC", "EINTR"], "fsync": ["EIO", "ENOSPC"], "ftruncate": ["EIO"],
    "vfork": ["EAGAIN"], "open": ["EMFILE"],
}
NUMBER = {name: getattr(__import__("errno"), name) for names in ERRORS.values() for name in names}
NUMBER["EIO"] = 5
OLD = b'{"old": true}'
NEVER = 90
AUDIT = path("audit.log")  # one log over all faults


class Job:
    """A command whose answer (`same`) and files can be compared; a file's value is what to compare."""

    def __init__(self, *args, files=(), stdin=b"", same=True):
        self.args, self.files, self.stdin, self.same = args, dict(files), stdin, same
        self.folder = path("faults")

    def run(self, fault=None):
        """(exit status, standard output, error, {file: what it says})"""
        shutil.rmtree(self.folder, ignore_errors=True)
        os.mkdir(self.folder)
        for name in self.files:
            with open(os.path.join(self.folder, name), "wb") as f:
                f.write(OLD)
        counts = path("counts")
        words = [FAULT, *([fault] if fault else []), IGN, *self.args]
        with open(counts, "wb") as nine:
            p = subprocess.Popen(["sh", "-c", 'exec "$@" 9>&' + str(nine.fileno()), "sh", *words],
                                 cwd=self.folder, env=env(), stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                 pass_fds=[nine.fileno()])
            try:
                out, err = p.communicate(self.stdin, timeout=180 * SLOW)
            except subprocess.TimeoutExpired:
                p.kill()
                out, err = p.communicate()
                return "hangs", out, err, {}
        with open(counts) as f:
            self.counts = {n: int(c) for n, c in (line.split() for line in f)}
        said = {}
        for name, look in self.files.items():
            with open(os.path.join(self.folder, name), "rb") as f:
                text = f.read()
            said[name] = "old" if text == OLD else look(text)
        return p.returncode, out, err, said


def answer(text):
    d = json.loads(text)
    return "interrupted" if d["stop_reason"] == "interrupted" else d["text"]


def jobs():
    m = ["--model", tiny()]
    short = ["--max-tokens", "6", "--seed", "1", "--ignore-eos"]
    yield Job("generate", *m, "--prompt", "x", *short, "--output-file", "out.json",
              files={"out.json": answer})
    yield Job("generate", *m, "--prompt-file", "-", *short, "--no-mmap", "--priority", "idle",
              "--duty", "60", "--device", "plain", "--quiet", stdin=b"hello")
    yield Job("generate", *m, "--prompt", "x", *short, "--json", "--mlock", "--quiet", same=False)
    yield Job("chat", *m, *short, "--history", "talk.json", stdin=b"one\ntwo\n")
    yield Job("logits", *m, "--ids", "5 6 7", "--all", "--output", "rows",
              files={"rows": lambda t: t})
    yield Job("logits", *m, "--ids", "5", "--audit", AUDIT)
    yield Job("tokenize", *m, stdin=b"the inner ring")
    yield Job("inspect", tiny(), "--tensors", "--json")
    yield Job("perplexity", *m, "--file", write("text.txt", b"the inner ring " * 40))
    # benchmark measures for seconds each time: not in ctest.
    for verb, args in (("detect-gpu", ["--json"]), ("doctor", ["--json"]), ("status", ["--json"]),
                       ("initialize", [*m, "--json"]), ("config", ["show"]), ("audit", ["tail", AUDIT]),
                       ("benchmark", [*m, "--prompt-tokens", "8", "--new-tokens", "2", "--repeat",
                                      "1", "--json"])):
        if ign(verb, "--help").code == 0 and (verb != "benchmark" or K > 1):
            yield Job(verb, *args, same=False)


class Faults(Case):
    def check(self, job, fault, call, undisturbed):
        code, out, err, said = job.run(fault)
        what = f"ign {' '.join(job.args)}; {fault}: {code}\n{out[-500:]}\n{err[-500:]}\n{said}"
        if code == NEVER:
            return False
        # A wait that a signal ends is how Ctrl-C arrives.
        interrupted = (130,) if call in ("poll", "read") and fault.endswith(":4") else ()
        self.assertIn(code, (undisturbed[0], 1, 2, 3, 4, *interrupted), what)
        if code == undisturbed[0]:
            if job.same:
                self.assertEqual(out, undisturbed[1], what)
            self.assertEqual(said, undisturbed[3], what)
        else:
            # Where standard error itself cannot be written, nothing can be said; doctor and status
            # have a verdict of it.
            said_so = b"ign: error: " in err or b'"verdict":"failed"' in out
            self.assertTrue(said_so or call == "write", what)
            for name in said:
                self.assertIn(said[name], ("old", "interrupted", undisturbed[3][name]), what)
        left = set(os.listdir(job.folder)) - set(job.files) - {"talk.json"}
        self.assertTrue(not left or call == "unlink", (left, what))
        return True

    def test_each_call(self):
        done, names = 0, set()
        for job in jobs():
            undisturbed = job.run()
            self.assertIn(undisturbed[0], (0, 1), (job.args, undisturbed))
            for call, n in job.counts.items():
                if call.startswith("other-"):
                    continue
                for at in range(1, min(n, K) + 1):
                    for error in ERRORS.get(call, ["EIO"])[:None if K > 1 else 1]:
                        with self.subTest(args=job.args, call=call, at=at, error=error):
                            done += self.check(job, f"-{call}={at}:{NUMBER[error]}", call,
                                               undisturbed)
                            names.add(call)
        print(f"{done} calls of {len(names)} kinds failed: {' '.join(sorted(names))}", flush=True)
        self.assertGreater(done, 200)
        log = self.ok("audit", "verify", AUDIT, "--json").json()
        self.assertTrue(log["intact"] and log["entries"] > 10, log)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        K = int(sys.argv[1])
    if Job("version").run()[0] == 77:
        print("processes may not be traced here")
        sys.exit(77)
    unittest.main(argv=sys.argv[:1], verbosity=2)
