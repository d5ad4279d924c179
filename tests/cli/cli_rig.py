"""What the tests of the command line share: the program, tiny models, and how to run it.

Every run gets a clean environment with a home of its own, so that nothing of the machine's user
leaks in. A run that ends by a signal fails the test that made it.
"""
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import unittest

IGN = os.environ["IGN_TEST_PROGRAM"]
TINY = os.environ["IGN_TEST_TINY_FILE"]
SLOW = float(os.environ.get("IGN_TEST_SLOWNESS", "1"))  # of a sanitized build

# The tiny model's vocabulary: byte b is token 3 + b.
END, START, STOP, BYTE = 0, 1, 2, 3

_folder = tempfile.TemporaryDirectory(prefix="ign-cli-")
FOLDER = _folder.name
HOME = os.path.join(FOLDER, "home")
os.mkdir(HOME)


def env(**more):
    base = {"HOME": HOME, "PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    for name, value in os.environ.items():
        if name.endswith("SAN_OPTIONS"):
            base[name] = value
    base.update(more)
    return {k: v for k, v in base.items() if v is not None}


def path(name):
    return os.path.join(FOLDER, name)


def write(name, data):
    with open(path(name), "wb") as f:
        f.write(data if isinstance(data, bytes) else data.encode())
    return path(name)


def read(name):
    with open(path(name), "rb") as f:
        return f.read()


_made = {}


def tiny(**options):
    """Path of a tiny model; the same options give the same file."""
    key = " ".join(f"{k}={v}" for k, v in sorted(options.items()))
    if key not in _made:
        _made[key] = path(f"tiny{len(_made)}.gguf")
        subprocess.run([TINY, _made[key]] + key.split(), check=True)
    return _made[key]


def machine_root(name):
    """A folder for --system-root: a machine of tests/device/roots, whose lines "== PATH" begin a
    file each."""
    root = path("root-" + name)
    if os.path.isdir(root):
        return root
    os.mkdir(root)
    roots = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "device", "roots")
    with open(os.path.join(roots, name), "rb") as f:
        parts = re.split(rb"^== (/.*)\n", f.read(), flags=re.M)[1:]
    for file, data in zip(parts[0::2], parts[1::2]):
        target = os.path.join(root, file.decode().lstrip("/"))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as f:
            f.write(data)
    return root


class Result:
    def __init__(self, args, code, out, err):
        self.args, self.code, self.out, self.err = args, code, out, err

    @property
    def text(self):
        return self.out.decode()

    def json(self):
        return json.loads(self.out)

    def __repr__(self):
        return f"ign {self.args!r} -> {self.code}\nstdout: {self.out[:2000]!r}\nstderr: {self.err[:2000]!r}"


def ign(*args, stdin=b"", environ=None, **more):
    p = subprocess.run([IGN, *args], input=stdin if isinstance(stdin, bytes) else stdin.encode(),
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                       env=environ or env(), timeout=120 * SLOW, **more)
    return Result(args, p.returncode, p.stdout, p.stderr)


class Case(unittest.TestCase):
    maxDiff = None

    def ok(self, *args, **more):
        r = ign(*args, **more)
        self.assertEqual(r.code, 0, r)
        return r

    def fails(self, codes, *args, **more):
        """Exits with one of `codes` and one well-formed line of error; returns the run."""
        r = ign(*args, **more)
        codes = (codes,) if isinstance(codes, int) else codes
        self.assertIn(r.code, codes, r)
        lines = [x for x in r.err.decode("utf-8").splitlines() if x.startswith("ign: error: ")]
        self.assertEqual(len(lines), 1, r)
        self.assertFalse(re.search(r"[\x00-\x1f\x7f]", lines[0]), r)
        self.assertRegex(lines[0], r"^ign: error: .+ \(.+\); .+$")
        if "--json" in args:
            doc = r.json()
            self.assertEqual(list(doc), ["error"], r)
            self.assertEqual(set(doc["error"]), {"code", "message", "hint"}, r)
            self.assertTrue(doc["error"]["message"], r)
        else:
            self.assertEqual(r.out, b"", r)
        return r


def limit_memory(bytes_):
    def set_limit():
        resource.setrlimit(resource.RLIMIT_AS, (bytes_, bytes_))
    return set_limit


def main():
    unittest.main(argv=[sys.argv[0], "-v"], verbosity=2)
