"""Giving way: threads run in the class that was asked for, a duty is kept, and a quota cuts their
number; answers stay the same."""
import os
import signal
import subprocess
import sys
import time
import unittest

from cli_rig import IGN, Case, env, machine_root, main, tiny

SCHED_OTHER, SCHED_IDLE = 0, 5
THREADS = min(3, len(os.sched_getaffinity(0)))  # more would be cut


def classes(pid):
    """(policy, nice) of each thread of a process."""
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        found.append((int(fields[38]), int(fields[16])))
    return found


def quota_group():
    """A fresh control group of one processor below this process's own; or None."""
    try:
        with open("/proc/self/cgroup") as f:
            own = {kinds: where for _, kinds, where in (x.strip().split(":", 2) for x in f)}
        v1 = [k for k in own if "cpu" in k.split(",")]
        base = f"/sys/fs/cgroup/cpu{own[v1[0]]}" if v1 else f"/sys/fs/cgroup{own['']}"
        group = os.path.join(base, f"ign-quota-{os.getpid()}")
        os.mkdir(group)
    except (OSError, KeyError):
        return None
    try:
        for name, value in ((("cpu.cfs_period_us", "100000"), ("cpu.cfs_quota_us", "100000"))
                            if v1 else (("cpu.max", "100000 100000"),)):
            with open(os.path.join(group, name), "w") as f:
                f.write(value)
        return group
    except OSError:
        os.rmdir(group)
        return None


@unittest.skipUnless(sys.platform == "linux", "control groups are Linux's")
class Quota(Case):
    ARGS = ["logits", "--model", tiny(), "--ids", "1 2 3"]

    def test_described(self):
        """A machine of many processors whose group grants two, or one and a half: that is two."""
        for name, quota in (("server_v2", "2"), ("server_v1", "1.5")):
            r = self.ok(*self.ARGS, "--threads", "3", "--system-root", machine_root(name))
            self.assertRegex(r.err.decode(), r"warning: 3 threads are more than the 2 that this "
                             rf"process may use \(/sys\S+ grants it {quota}\): 2 are started")
            self.assertRegex(r.err.decode(), r"cpu: \w+, 2 threads")
            r = self.ok(*self.ARGS, "--threads", "2", "--system-root", machine_root(name))
            self.assertNotIn(b"warning", r.err)

    def test_real(self):
        """The kernel's own limit, around the program itself."""
        group = quota_group()
        if not group or THREADS < 2:
            self.skipTest("control groups cannot be written here, or there is one processor")

        def enter():
            with open(os.path.join(group, "cgroup.procs"), "w") as f:
                f.write(str(os.getpid()))
        try:
            for flags, warned in ((["--threads", "2"], True), ([], False)):
                r = subprocess.run([IGN, *self.ARGS, *flags], capture_output=True, text=True,
                                   env=env(), preexec_fn=enter)
                self.assertEqual(r.returncode, 0, r.stderr)
                self.assertEqual("2 threads are more than the 1 that" in r.stderr, warned, r.stderr)
                self.assertRegex(r.stderr, r"cpu: \w+, 1 thread,")
        finally:
            os.rmdir(group)


@unittest.skipUnless(sys.platform == "linux", "looks into /proc")
class Neighbour(Case):
    def busy(self, *flags):
        p = subprocess.Popen([IGN, "generate", "--model", tiny(context=32768), "--prompt", "x",
                              "--unbounded", "--context", "32768", "--ignore-eos", "--threads",
                              str(THREADS), *flags], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env())
        os.read(p.stdout.fileno(), 1)
        return p

    def stop(self, p):
        p.send_signal(signal.SIGINT)
        p.communicate(timeout=60)
        self.assertEqual(p.returncode, 130)

    def test_priority(self):
        """All that compute have it; one thread, which waits for Ctrl-C, keeps its own."""
        nice = os.nice(0)
        for name, policy, level in (("normal", SCHED_OTHER, nice), ("low", SCHED_OTHER, 10),
                                    ("idle", SCHED_IDLE, 19)):
            p = self.busy("--priority", name)
            found = classes(p.pid)
            self.stop(p)
            self.assertEqual(len(found), THREADS + 1)
            self.assertGreaterEqual(found.count((policy, level)), THREADS, (name, found))
            self.assertEqual(found.count((policy, level)) + found.count((SCHED_OTHER, nice)),
                             2 * len(found) if (policy, level) == (SCHED_OTHER, nice)
                             else len(found))

    def used(self, *flags):
        """Processor seconds that a run takes in a second and a half, and the seconds that it had."""
        p = self.busy(*flags)
        t = time.monotonic()

        def seconds():
            with open(f"/proc/{p.pid}/stat") as f:
                fields = f.read().rsplit(")", 1)[1].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        before = seconds()
        time.sleep(1.5)
        cpu, wall = seconds() - before, time.monotonic() - t
        self.stop(p)
        return cpu, wall

    def test_duty(self):
        """The bound holds on a machine of any load; a quarter second may be used at once. That it
        says something shows where a run without a duty passes it: not so on a machine that is
        too loaded to give one its time, which proves nothing."""
        def bound(wall):
            return 0.2 * THREADS * (wall + 0.25) + 0.05
        cpu, wall = self.used("--duty", "20")
        self.assertLess(cpu, bound(wall))
        self.assertGreater(cpu, 0)
        for _ in range(3):
            cpu, wall = self.used("--duty", "100")
            if cpu > bound(wall):
                return
        self.skipTest("this machine is too loaded: a run without a duty stays within it too")

    def test_same_answer(self):
        args = ["generate", "--model", tiny(), "--prompt", "x", "--seed", "3", "--ignore-eos",
                "--max-tokens", "60"]
        want = self.ok(*args).out
        for flags in (["--priority", "idle"], ["--duty", "30"], ["--priority", "low", "--duty", "90"]):
            self.assertEqual(self.ok(*args, *flags).out, want)

    def test_wrong_use(self):
        for flag, bad in (("--duty", ("4", "101", "x", "50%")), ("--priority", ("high", "", "19"))):
            for value in bad:
                r = self.fails(2, "generate", "--model", tiny(), "--prompt", "x", f"{flag}={value}")
                self.assertIn(flag.encode(), r.err)
        self.fails(2, "tokenize", "--model", tiny(), "--text", "x", "--duty", "50")


if __name__ == "__main__":
    main()
