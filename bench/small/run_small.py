#!/usr/bin/env python3
"""run_small.py IGN MODEL [--cpu LEVEL] [--batches 1,2,3,...] [--turns N]: requests side by side.

Prints for each number of requests in a step the tokens a second of all together, beside what the
step could give: the number times the speed of one alone, and the speed of prefill. Each turn measures
all of them one after the other, prefill last; the medians of the turns are compared, because the
bandwidth of a shared machine changes from minute to minute. Markdown, for docs/speed.
"""
import argparse
import json
import statistics
import subprocess


def measure(o, side_by_side, prompt, new):
    """One run of the benchmark, as JSON."""
    command = [o.ign, "benchmark", "--json", "--model", o.model, "--speculate", "off",
               "--threads", str(o.threads), "--prompt-tokens", str(prompt),
               "--new-tokens", str(new)]
    command += ["--cpu", o.cpu] if o.cpu else []
    command += ["--no-mmap"] if o.no_mmap else []
    command += (["--concurrent-requests", str(side_by_side), "--duration", "0.01"]
                if side_by_side > 1 else ["--repeat", "1"])
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def step_rate(o, n):
    """Tokens a second of n requests that are in each step together, by the time between tokens."""
    result = measure(o, n, 2, o.new)
    return n * 1e3 / result["requests"]["itl_ms"]["p50"]


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    p.add_argument("ign")
    p.add_argument("model")
    p.add_argument("--cpu")
    p.add_argument("--no-mmap", action="store_true",
                   help="weights in large pages from the start, as they are after some minutes")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--batches", default="1,2,3,4,6,8,12,16")
    p.add_argument("--new", type=int, default=24)
    p.add_argument("--turns", type=int, default=3)
    o = p.parse_args()
    batches = [int(n) for n in o.batches.split(",")]
    rates = {n: [] for n in batches}
    prefill = []
    for _ in range(o.turns):
        for n in batches:
            rates[n].append(step_rate(o, n))
        prefill.append(measure(o, 1, 512, 2)["prefill"]["tokens_per_second"]["median"])
    top = statistics.median(prefill)
    one = statistics.median(rates[batches[0]]) / batches[0]
    print(f"{o.cpu or 'best level'}: prefill {top:.0f} tokens a second, one request {one:.1f}\n")
    print("| side by side | tokens a second | of min(side by side x one, prefill) |")
    print("| --- | --- | --- |")
    for n in batches:
        rate = statistics.median(rates[n])
        print(f"| {n} | {rate:.1f} | {100 * rate / min(n * one, top):.0f} % |")


if __name__ == "__main__":
    main()
