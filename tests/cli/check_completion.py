"""The completion scripts in the shells themselves: bash, zsh and fish, each where it is installed.

Each shell gets the start of a command line and says what it would offer: bash by its function, fish
by `complete -C`, zsh by its line editor on a terminal of its own.
"""
import os
import pty
import re
import select
import shutil
import subprocess
import time
import unittest

from cli_rig import IGN, SLOW, Case, env, ign, main, path, write

VERBS = [v["name"] for v in ign("help", "--json").json()["verbs"]]
BIN = os.path.dirname(IGN)
os.makedirs(path("files/inner"), exist_ok=True)
write("files/one.gguf", "")
write("files/two words.gguf", "")


def script(shell):
    return write("completion." + shell, ign("completion", shell).out)


def shell_env(**more):
    return env(PATH=BIN + ":" + os.environ["PATH"], TERM="dumb", **more)


class Bash:
    name = "bash"

    def __init__(self):
        self.file = script("bash")

    def offers(self, line):
        """COMP_WORDS as bash cuts them: at blanks, and around '='."""
        words = [w for w in re.split(r"\s+|(=)", line) if w]
        if line[-1] in " ":
            words.append("")
        code = (f'source "{self.file}"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _ign ign; '
                'printf "%s\\n" "${COMPREPLY[@]}"')
        run = subprocess.run(["bash", "--norc", "-c", code, "-", *words], env=shell_env(),
                             cwd=path("files"), stdout=subprocess.PIPE, check=True)
        return {w for w in run.stdout.decode().split("\n") if w}

    def close(self):
        pass


class Fish:
    name = "fish"

    def __init__(self):
        self.file = script("fish")

    def offers(self, line):
        code = f"source '{self.file}'; complete -C '{line}'"
        run = subprocess.run(["fish", "--no-config", "-c", code], env=shell_env(), cwd=path("files"),
                             stdout=subprocess.PIPE, check=True)
        words = {w.split("\t")[0] for w in run.stdout.decode().split("\n") if w}
        return {w.split("=", 1)[1] if w.startswith("--") and "=" in w else w.rstrip("/")
                for w in words}

    def close(self):
        pass


class Zsh:
    """One zsh on a terminal of its own. What compadd is given is caught on its way; everything else
    is zsh's own completion system. ^X completes, and writes down what was found."""
    name = "zsh"

    def __init__(self):
        self.found = write("found", "")
        setup = write("zshrc", f'''
            autoload -Uz compinit && compinit -u -D
            source "{script("zsh")}"
            compadd() {{
                local -a found
                if [[ ${{@[1,(i)(-|--)]}} != *-(O|A|D)* ]]; then
                    builtin compadd -O found "$@"
                    print -rl -- "<${{^found[@]}}>" >>"{self.found}"
                fi
                builtin compadd "$@"
            }}
            show() {{ : >"{self.found}"; zle complete-word; print done >>"{self.found}" }}
            zle -C complete-word complete-word _main_complete
            zle -N show
            bindkey '^X' show
            bindkey '^U' kill-whole-line
            PS1='ready>'
        ''')
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(path("files"))
            os.execvpe("zsh", ["zsh", "-f", "-i"], shell_env())
        self.type(f" source {setup}\n")
        self.wait(lambda shown: b"ready>" in shown)

    def type(self, text):
        os.write(self.fd, text.encode())

    def wait(self, is_there):
        """Reads what the terminal shows until is_there(of that) says that it is enough."""
        shown, end = b"", time.monotonic() + 60 * SLOW
        while not is_there(shown):
            if time.monotonic() > end:
                raise AssertionError(f"zsh does not answer; its terminal shows {shown!r}")
            if select.select([self.fd], [], [], 0.02)[0]:
                shown += os.read(self.fd, 65536)

    def offers(self, line):
        def text():
            with open(self.found, encoding="utf-8") as f:
                return f.read()
        write("found", "")
        self.type("\x15" + line + "\x18")
        self.wait(lambda _: text().endswith("done\n"))
        return {w.rstrip("/") for w in re.findall("<(.+)>", text())}

    def close(self):
        os.kill(self.pid, 9)
        os.close(self.fd)
        os.waitpid(self.pid, 0)


class Shells:
    shell = None

    @classmethod
    def setUpClass(cls):
        if not shutil.which(cls.shell.name):
            raise unittest.SkipTest(f"no {cls.shell.name}")
        cls.running = cls.shell()

    @classmethod
    def tearDownClass(cls):
        cls.running.close()

    def offers(self, line):
        return self.running.offers(line)

    def has(self, line, *words):
        found = self.offers(line)
        for word in words:
            self.assertIn(word, found, line)
        return found

    def test_verbs(self):
        self.assertLessEqual(set(VERBS), self.has("ign ", "generate"))
        found = self.has("ign gen", "generate")
        self.assertNotIn("chat", found)
        self.has("ign module ", "llm-infrastructure")
        self.assertLessEqual(set(VERBS), self.offers("ign module llm-infrastructure "))
        self.has("ign help ch", "chat")

    def test_flags(self):
        """All flags of each verb are there, and none of another."""
        for verb in ("generate", "inspect", "config", "version"):
            page = self.ok("help", verb).text
            flags = {line.split()[0] for line in page.splitlines() if line.startswith("  --")}
            found = {w.rstrip("=") for w in self.offers(f"ign {verb} --") if w.startswith("--")}
            self.assertEqual(found, flags | {"--help", "--version"}, verb)
        found = self.has("ign module llm-infrastructure generate --te", "--temperature")
        self.assertNotIn("--device", found)

    def test_choices(self):
        for line in ("ign generate --device ", "ign generate --top-k 3 --device=",
                     "ign module llm-infrastructure chat --device "):
            found = self.has(line, "auto", "cpu", "plain")
            self.assertNotIn("one.gguf", found)
        self.assertNotIn("auto", self.has("ign generate --device p", "plain"))
        self.has("ign config ", "show", "check", "path")
        self.has("ign completion ", "bash", "zsh", "fish")
        found = self.has("ign models ", "list", "import", "verify", "keygen")
        self.assertNotIn("PATH", found)

    def test_files(self):
        self.has("ign inspect ", "one.gguf")
        self.has("ign generate --model ", "one.gguf", "inner")
        self.has("ign generate --prompt-file=", "one.gguf")
        found = self.has("ign generate --store ", "inner")
        self.assertNotIn("one.gguf", found)
        for line in ("ign version ", "ign generate --seed "):
            self.assertNotIn("one.gguf", self.offers(line))


class TestBash(Shells, Case):
    shell = Bash


class TestZsh(Shells, Case):
    shell = Zsh


class TestFish(Shells, Case):
    shell = Fish


class Verb(Case):
    def test_words(self):
        self.fails(2, "completion")
        self.fails(2, "completion", "powershell")
        self.assertEqual(self.ok("completion", "zsh", "--json").json()["text"],
                         self.ok("completion", "zsh").text)


if __name__ == "__main__":
    main()
