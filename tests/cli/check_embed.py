"""embed: keys, lines, refusals, and what other verbs say of an encoder."""
import json
import math
import os
import shutil

from cli_rig import Case, ign, main, path, read, tiny, write

BERT = os.path.join(os.path.dirname(__file__), "../model/golden/tiny-bert")
M = ["--model", BERT]


def dot(a, b):
    return sum(x * y for x, y in zip(a, b))


class Embed(Case):
    def test_json(self):
        r = self.ok("embed", *M, "--text", "The pump is hot", "--json").json()
        self.assertEqual((r["dimension"], r["tokens"], r["cut"]), (96, 6, 0))
        self.assertEqual(len(r["embeddings"]), 1)
        self.assertEqual(len(r["embeddings"][0]), 96)
        self.assertAlmostEqual(dot(r["embeddings"][0], r["embeddings"][0]), 1, places=5)

    def test_lines(self):
        """A line each, of either kind of break; an empty one counts; the last needs no break."""
        text = write("embed.txt", b"The pump is hot\r\n\nhot\nThe pump is hot")
        for args, stdin in ((["--file", text], ""), ([], read("embed.txt").decode())):
            a = ign("embed", *M, *args, "--json", stdin=stdin).json()
            self.assertEqual(len(a["embeddings"]), 4)
            self.assertEqual(a["embeddings"][0], a["embeddings"][3])
            self.assertLess(dot(a["embeddings"][0], a["embeddings"][2]), 0.999)
        rows = self.ok("embed", *M, "--file", text).text.splitlines()
        self.assertEqual([[float(x) for x in row.split(" ")] for row in rows], a["embeddings"])
        self.assertEqual(ign("embed", *M, "--json").json()["embeddings"], [])

    def test_forms(self):
        auto, mean, cls, last = (self.ok("embed", *M, "--text", "The pump is hot", *how).text
                                 for how in ([], ["--pooling", "mean"], ["--pooling", "cls"],
                                             ["--pooling", "last"]))
        self.assertEqual(auto, mean)
        self.assertEqual(len({mean, cls, last}), 3)
        v = self.ok("embed", *M, "--text", "x", "--unscaled", "--json").json()["embeddings"][0]
        self.assertGreater(math.fabs(dot(v, v) - 1), 1e-3)

    def test_many(self):
        """More texts than are taken at a time, in order."""
        text = write("many.txt", "".join(f"pump {i}\n" for i in range(600)))
        many = self.ok("embed", *M, "--file", text, "--json").json()
        self.assertEqual(len(many["embeddings"]), 600)
        one = self.ok("embed", *M, "--text", "pump 599", "--json").json()
        self.assertEqual(many["embeddings"][599], one["embeddings"][0])

    def test_cut(self):
        r = ign("embed", *M, "--text", "pump " * 60, "--json")
        self.assertEqual((r.json()["tokens"], r.json()["cut"]), (40, 1))
        self.assertIn("cut after 40 tokens, 22 or more were left out", r.err.decode())
        r = self.ok("embed", *M, "--text", "pump " * 60, "--context", "512")
        self.assertIn("no more than 40 tokens of a text, not 512", r.err.decode())
        self.assertNotIn("expect worse answers", r.err.decode())

    def test_prompt(self):
        """The folder's own prompt, of a file made of it too, unless another is given."""
        folder, file = path("prompted"), path("prompted.gguf")
        shutil.copytree(BERT, folder)
        with open(folder + "/config_sentence_transformers.json", "w", encoding="utf-8") as f:
            json.dump({"prompts": {"query": "the pump: "}, "default_prompt_name": "query"}, f)
        self.ok("quantize", folder, file, "--type", "f32")

        def embed(model, text, *more):
            return self.ok("embed", "--model", model, "--text", text, "--json", *more).json()
        for m in folder, file:
            self.assertEqual(embed(m, "hot")["embeddings"],
                             embed(BERT, "the pump: hot")["embeddings"])
            self.assertEqual(embed(m, "hot", "--prompt", "x ")["embeddings"],
                             embed(BERT, "x hot")["embeddings"])
            self.assertEqual(embed(m, "hot", "--prompt", "")["embeddings"],
                             embed(BERT, "hot")["embeddings"])
        self.assertEqual(embed(folder, "pump " * 60)["tokens"], 40)

    def test_decoder(self):
        r = self.ok("embed", "--model", tiny(), "--text", "the pump", "--json").json()
        self.assertEqual(r["dimension"], 64)
        self.assertAlmostEqual(dot(r["embeddings"][0], r["embeddings"][0]), 1, places=5)

    def test_refused(self):
        self.fails(2, "embed", *M, "--text", "x", "--file", write("x.txt", "x"))
        self.fails(2, "embed", *M, "--text", "x", "--pooling", "max")
        self.fails(4, "embed", *M, "--file", path("none.txt"))
        for verb in (["generate", "--prompt", "x"], ["chat"], ["logits", "--ids", "5"],
                     ["perplexity", "--file", write("p.txt", "x " * 99)], ["benchmark"],
                     ["initialize"]):
            r = ign(verb[0], *M, *verb[1:])
            self.assertEqual(r.code, 1, r)
            self.assertIn("ign embed", r.err.decode())

    def test_others(self):
        """What asks a file only about itself takes an encoder as any other."""
        self.assertEqual(self.ok("inspect", BERT, "--json").json()["architecture"], "bert")
        ids = self.ok("tokenize", *M, "--text", "The pump").text.split()
        self.assertEqual(ids, ["2", "120", "121", "3"])
        self.assertEqual(self.ok("detokenize", *M, "--ids", "120 121 124 131").text,
                         "the pump thermalness")
        plan = self.ok("initialize", *M, "--dry-run", "--json").json()["plan"]
        self.assertEqual(plan["kv_bytes"], 0)
        q8 = path("bert-q8.gguf")
        self.ok("quantize", BERT, q8, "--type", "q8_0")
        a, b = (self.ok("embed", "--model", m, "--text", "The pump is hot", "--json")
                .json()["embeddings"][0] for m in (BERT, q8))
        self.assertGreater(dot(a, b), 0.999)


if __name__ == "__main__":
    main()
