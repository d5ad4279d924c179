#!/usr/bin/env python3
"""Makes a tiny random BERT and its golden embeddings, and golden embeddings of a tiny decoder:

    tools/make_tiny_encoder.py [--out tests/model/golden]

    tiny-bert              a Hugging Face folder as sentence-transformers writes them, F32
    tiny-bert.gguf         the same weights under the names that GGUF files have, F16
    tiny-bert.embeddings   texts, ids by `tokenizers`, vectors by transformers
    tiny-qwen3.embeddings  of the folder tiny-qwen3, pooled
    tiny-mistral-embed     a decoder without an output matrix, whose last token is the text's: a folder
                           as sentence-transformers writes them, BF16; its tokenizer adds an end
    tiny-mistral-embed.embeddings   likewise

BERT's heads of 12 dimensions are no whole registers, and texts are cut after 40 tokens, before the
positions end. A golden file has for each text four lines: the text; its ids; its vector by the mean;
by the first token (of the decoder: the last). Vectors have the length 1. Needs torch, transformers,
tokenizers, gguf. The random numbers are fixed: running it again changes nothing.
"""
import argparse
import json
import os
import shutil

import gguf
import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (AutoModel, BertConfig, BertModel, MistralConfig, MistralModel,
                          PreTrainedTokenizerFast)

import make_tiny_folders
import make_tiny_models as tiny

MOST = 40
WIDTH = {"mean_tokens": 96, "lasttoken": 64}
CONFIG = dict(hidden_size=WIDTH["mean_tokens"], num_hidden_layers=2, num_attention_heads=8, intermediate_size=128,
              max_position_embeddings=48, type_vocab_size=2, hidden_act="gelu")
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TEXTS = ["The pump is hot", "", "a", "Überdruck im Kessel, naïve Änderung!", "the the the thermal",
         "泵很热 pump", "tab\there\u00a0and\u200bthere \u0000 x", "x<y && z>=42; // [SEP] \u2581the",
         "İSTANBUL Straße ΑΣ \u1E9B\u0323 e\u0301\u0327 \U0001F525", "thethermalpumps unhotness",
         "pump " * 60, "a" * 101 + " pump", "." * 12]
PLAIN = ["The pump is hot", "a", "thermal: 42 C, pump on", "pump " * 12]


def vocabulary():
    words = ["the", "pump", "is", "hot", "thermal", "un", "over", "and", "here", "there", "x", "42"]
    inner = ["##s", "##ness", "##the", "##pump", "##pumps", "##mal", "##r"]
    letters = [chr(c) for c in range(33, 127) if not 65 <= c <= 90] + list("泵ασßſ")
    pieces = SPECIAL + ["[unused0]"] + letters + ["##" + c for c in letters if c.isalnum()]
    return {p: i for i, p in enumerate(dict.fromkeys(pieces + words + inner))}


def tokenizer():
    t = Tokenizer(models.WordPiece(vocabulary(), unk_token="[UNK]", max_input_chars_per_word=100))
    t.normalizer = normalizers.BertNormalizer()
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ids = {p: t.token_to_id(p) for p in SPECIAL}
    t.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])])
    return PreTrainedTokenizerFast(tokenizer_object=t, unk_token="[UNK]", pad_token="[PAD]",
                                   cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]")


def randomize(model):
    rng = np.random.default_rng(7)
    for name, p in model.named_parameters():
        shape = tuple(p.shape)
        v = rng.standard_normal(shape)
        v = (1 + 0.2 * v if "LayerNorm.weight" in name else 0.3 * v if name.endswith("bias") else
             0.5 * v if "embeddings" in name else 1.5 / np.sqrt(shape[-1]) * v)
        p.data = torch.from_numpy(v.astype(np.float16).astype(np.float32))


NAMES = {"attention.self.query": "attn_q", "attention.self.key": "attn_k",
         "attention.self.value": "attn_v", "attention.output.dense": "attn_output",
         "attention.output.LayerNorm": "attn_output_norm", "intermediate.dense": "ffn_up",
         "output.dense": "ffn_down", "output.LayerNorm": "layer_output_norm"}
TABLES = {"word_embeddings": "token_embd", "position_embeddings": "position_embd",
          "token_type_embeddings": "token_types", "LayerNorm": "token_embd_norm"}


def gguf_name(name):
    stem, end = name.rsplit(".", 1)
    if stem.startswith("embeddings."):
        return TABLES[stem.split(".")[1]] + "." + end
    if not stem.startswith("encoder.layer."):
        return None  # the pooler
    layer, part = stem.removeprefix("encoder.layer.").split(".", 1)
    return "blk.%s.%s.%s" % (layer, NAMES[part], end)


def write_gguf(path, model, tok):
    w, c = gguf.GGUFWriter(path, "bert"), model.config
    w.add_block_count(c.num_hidden_layers)
    w.add_context_length(c.max_position_embeddings)
    w.add_embedding_length(c.hidden_size)
    w.add_feed_forward_length(c.intermediate_size)
    w.add_head_count(c.num_attention_heads)
    w.add_layer_norm_eps(c.layer_norm_eps)
    w.add_causal_attention(False)
    w.add_pooling_type(gguf.PoolingType.MEAN)
    w.add_uint32("bert.truncation_length", MOST)
    w.add_tokenizer_model("bert")
    w.add_token_type_count(c.type_vocab_size)
    pieces = sorted(tok.get_vocab(), key=tok.get_vocab().get)
    w.add_token_list([p if p in SPECIAL else p[2:] if p.startswith("##") and len(p) > 2
                      else "\u2581" + p for p in pieces])
    w.add_token_types([gguf.TokenType.CONTROL if p in SPECIAL else gguf.TokenType.NORMAL
                       for p in pieces])
    w.add_unk_token_id(1)
    w.add_bos_token_id(2)  # as its converters write them
    w.add_eos_token_id(3)
    w.add_sep_token_id(3)
    w.add_pad_token_id(0)
    w.add_add_bos_token(True)
    w.add_add_eos_token(True)
    for name, p in model.named_parameters():
        if gguf_name(name):
            v = p.data.numpy()
            half = v.ndim > 1 and "embeddings" not in name
            w.add_tensor(gguf_name(name), v.astype(np.float16) if half else v)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def write_folder(path, model, tok):
    shutil.rmtree(path, ignore_errors=True)
    model.save_pretrained(path)
    tok.save_pretrained(path)
    write_modules(path, "mean_tokens")


def write_modules(path, how):
    """What sentence-transformers writes beside a model."""
    os.mkdir(os.path.join(path, "1_Pooling"))
    kind = "sentence_transformers.models."
    for name, value in (
            ("modules.json", [{"idx": 0, "name": "0", "path": "", "type": kind + "Transformer"},
                              {"idx": 1, "name": "1", "path": "1_Pooling", "type": kind + "Pooling"}]),
            ("1_Pooling/config.json", {"word_embedding_dimension": WIDTH[how],
                                       "pooling_mode_cls_token": False,
                                       "pooling_mode_" + how: True}),
            ("sentence_bert_config.json", {"max_seq_length": MOST, "do_lower_case": False})):
        with open(os.path.join(path, name), "w", encoding="utf-8") as f:
            json.dump(value, f, indent=2)
            f.write("\n")


def write_golden(path, model, tok, texts, at, **limit):
    with open(path, "wb") as f:
        for text in texts:
            ids = tok(text, split_special_tokens=True, **limit)["input_ids"]
            with torch.no_grad():
                hidden = model(torch.tensor([ids]))[0][0].double()
            lines = [text.encode(), " ".join(map(str, ids)).encode()]
            for v in (hidden.mean(0), hidden[at]):
                lines.append(" ".join("%.9g" % x for x in v / v.norm()).encode())
            f.write(b"".join(line + b"\n" for line in lines))


def write_decoder(folder):
    model = MistralModel(MistralConfig(**{**tiny.BASE, "tie_word_embeddings": False}, head_dim=24,
                                       sliding_window=12)).eval()
    tiny.randomize(model, np.random.default_rng(9))
    model = model.to(torch.bfloat16)
    make_tiny_folders.save(model, folder, "1GB", post="$A <|end|>")
    write_modules(folder, "lasttoken")
    write_golden(folder + ".embeddings",
                 AutoModel.from_pretrained(folder, dtype=torch.float32).eval(),
                 PreTrainedTokenizerFast.from_pretrained(folder), PLAIN + ["", "pump " * 60], -1,
                 truncation=True, max_length=MOST)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--out", default=os.path.join(os.path.dirname(__file__), "../tests/model/golden"))
    out = p.parse_args().out
    torch.set_num_threads(1)
    tok = tokenizer()
    model = BertModel(BertConfig(vocab_size=len(tok), **CONFIG)).eval()
    randomize(model)
    write_folder(os.path.join(out, "tiny-bert"), model, tok)
    write_gguf(os.path.join(out, "tiny-bert.gguf"), model, tok)
    write_golden(os.path.join(out, "tiny-bert.embeddings"), model, tok, TEXTS, 0,
                 truncation=True, max_length=MOST)
    folder = os.path.join(out, "tiny-qwen3")
    write_golden(os.path.join(out, "tiny-qwen3.embeddings"),
                 AutoModel.from_pretrained(folder, dtype=torch.float32).eval(),
                 PreTrainedTokenizerFast.from_pretrained(folder), PLAIN, -1)
    write_decoder(os.path.join(out, "tiny-mistral-embed"))


if __name__ == "__main__":
    main()
