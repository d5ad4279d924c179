#!/usr/bin/env python3
"""What speculation by lookup is worth: ten edits of Jython scripts, and prose.

    bench/speculate/run_speculate.py IGN MODEL [--turns N] [--only WORD] [--tokens N] [ign flags]

Each task runs with `--speculate auto` and `off` in turn, N times (3), greedily and with a fixed
seed. Printed: the ratio of decode speeds (the median of the turns' ratios), how many of the new
tokens came out of guesses and how many guesses came true, and whether all answers were equal, which
they must be: exit status 1 where they are not. Ratios only: the machine may be shared.
Python's standard library is enough.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).parent

# The change that each script of scripts/ is asked for.
CHANGES = {
    "alarm_summary": 'change CHATTER_COUNT from 10 to 15',
    "batch_record": 'add the phase "Rinse" at the end of PHASES',
    "energy_meter": 'change NIGHT_RATE to 0.17',
    "label_printer": 'let Line3 print on "10.20.1.63"',
    "pump_control": 'rename the function stopAll to stopEveryPump, also where it is called',
    "recipe_download": 'raise TIMEOUT_MS to 8000',
    "shift_report": 'add "Line4" to LINES',
    "tank_inventory": 'in the function tankRow, use the word "Uncertain" in place of "Bad"',
    "trend_export": 'make DATE_FORMAT "dd.MM.yyyy HH:mm:ss"',
    "work_order": 'let the function pause return the number of the order in place of True',
}
EDIT = """Return the following Jython script with one change: %s.
Change nothing else. Return only the whole script, from its first line to its last.

```python
%s```
"""
PROSE = {
    "prose_plc": "Explain to an apprentice what a PLC does, in a few paragraphs.",
    "prose_pump": "Describe how a centrifugal pump works and how it wears out.",
    "prose_story": "Tell a short story about a night shift in a dairy.",
    "prose_alarm": "Why are too many alarms dangerous? Write an essay.",
    "prose_letter": "Write a letter that asks a supplier to deliver a valve earlier.",
}


def generate(a, prompt, tokens, temperature, speculate):
    """One answer: the program's JSON."""
    p = subprocess.run([a.ign, "generate", "--model", a.model, "--prompt-file", "-", "--json",
                        "--quiet", "--seed", "1", "--temperature", str(temperature),
                        "--max-tokens", str(tokens), "--speculate", speculate, *a.flags],
                       input=prompt, capture_output=True, text=True, check=False)
    if p.returncode:
        sys.exit(f"{a.ign}: {p.stderr.strip()}")
    return json.loads(p.stdout)


def run_task(a, name, prompt, tokens, temperature):
    """A line of the table; (ratio, whether the answers were equal)."""
    ratios, ids = [], set()
    for turn in range(a.turns):
        pair = {}
        for way in ("off", "auto") if turn % 2 else ("auto", "off"):
            pair[way] = generate(a, prompt, tokens, temperature, way)
            ids.add(tuple(pair[way]["token_ids"]))
        ratios.append(pair["auto"]["decode_tokens_per_second"] /
                      pair["off"]["decode_tokens_per_second"])
    j = pair["auto"]
    ratio = statistics.median(ratios)
    print("| %-16s | %6.2f | %9s | %6d | %8.0f %% | %8.0f %% | %s |" %
          (name, ratio, "%.2f-%.2f" % (min(ratios), max(ratios)), j["new_tokens"],
           100 * j["accepted_tokens"] / max(1, j["new_tokens"]),
           100 * j["accepted_tokens"] / max(1, j["drafted_tokens"]),
           "equal" if len(ids) == 1 else "DIFFERENT"), flush=True)
    return ratio, len(ids) == 1


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    p.add_argument("ign")
    p.add_argument("model")
    p.add_argument("--turns", type=int, default=3)
    p.add_argument("--only", default="", help="tasks whose name has this word")
    p.add_argument("--tokens", type=int, default=1600, help="most new tokens of an edit")
    a, a.flags = p.parse_known_args()
    edits, prose, equal = [], [], True
    print("| task             | x off  | of turns  | tokens | of guess  | came true  | answers |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, change in CHANGES.items():
        if a.only in name or a.only == "edit":
            prompt = EDIT % (change, (HERE / "scripts" / (name + ".py")).read_text())
            ratio, same = run_task(a, name, prompt, a.tokens, 0)
            edits.append(ratio)
            equal = equal and same
    for name, prompt in PROSE.items():
        for temperature in (0, 0.8):
            if a.only in name:
                ratio, same = run_task(a, name + ("" if temperature == 0 else " T=0.8"), prompt,
                                       min(a.tokens, 300), temperature)
                prose.append(ratio)
                equal = equal and same
    for what, ratios in (("edits", edits), ("prose", prose)):
        if ratios:
            print("%s: median %.2f, least %.2f" % (what, statistics.median(ratios), min(ratios)))
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
