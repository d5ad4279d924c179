#!/usr/bin/env python3
"""Makes tiny random models as Hugging Face folders, written by transformers itself:

    tools/make_tiny_folders.py [--out tests/model/golden] [NAME...]

    tiny-mistral   F16; the weights of tiny-mistral.gguf, and its golden logits
    tiny-llama31   BF16 with norms in F32, in several shards; those of tiny-llama31.gguf
    tiny-mixtral   F32, each expert's tensors alone; those of tiny-mixtral.gguf
    tiny-qwen3, tiny-gemma2, tiny-gemma3, tiny-phi3, tiny-phi35, tiny-linear, tiny-yarn
                   F32 or F16; those of the GGUF files

and these, all of them BF16, norms and biases too, with golden logits of their own:

    tiny-qwen2         untied output
    tiny-qwen2-window  the layers from the second on have a window
    tiny-phi4          longrope on three quarters of each head, tied output
    tiny-gemma3-image, tiny-mistral3
                       the text models inside of models of pictures ("text_config")

The tokenizer is a byte for each id and an end, as in the GGUF files. Needs torch, transformers,
tokenizers, gguf. The random numbers are fixed: running it again changes nothing.
"""
import argparse
import os
import shutil
import tempfile

import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (Gemma3Config, Gemma3ForConditionalGeneration, Gemma3TextConfig,
                          Mistral3Config, Mistral3ForConditionalGeneration, MistralConfig,
                          Phi3Config, Phi3ForCausalLM, PixtralVisionConfig,
                          PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM,
                          SiglipVisionConfig)

import golden_file
import make_tiny_models as tiny

TEMPLATE = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\\n' }}{% endfor %}"
TYPES = {"tiny-mistral": torch.float16, "tiny-llama31": torch.bfloat16,
         "tiny-mixtral": torch.float32, "tiny-qwen3": torch.float32, "tiny-gemma2": torch.float32,
         "tiny-gemma3": torch.float32, "tiny-phi35": torch.float16, "tiny-phi3": torch.float32,
         "tiny-linear": torch.float32, "tiny-yarn": torch.float32}
SHARD = {"tiny-llama31": "60KB"}
EYE = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
           image_size=28, patch_size=14)
# The random numbers of each come from its place, counted from 100.
OWN = {
    "tiny-qwen2": (Qwen2ForCausalLM, Qwen2Config(**{**tiny.BASE, "tie_word_embeddings": False})),
    "tiny-qwen2-window": (Qwen2ForCausalLM, Qwen2Config(
        **tiny.BASE, use_sliding_window=True, sliding_window=12, max_window_layers=1)),
    "tiny-phi4": (Phi3ForCausalLM, Phi3Config(
        **tiny.BASE, pad_token_id=None, original_max_position_embeddings=256,
        rope_parameters=tiny.rope("longrope", partial_rotary_factor=0.75,
                                  original_max_position_embeddings=256,
                                  short_factor=[1 + 0.03 * i for i in range(6)],
                                  long_factor=[1 + i * i / 2 for i in range(6)]))),
    "tiny-gemma3-image": (Gemma3ForConditionalGeneration, Gemma3Config(
        text_config=Gemma3TextConfig(**tiny.BASE, head_dim=16, query_pre_attn_scalar=16,
                                     sliding_window=12,
                                     layer_types=["full_attention", "sliding_attention"]),
        vision_config=SiglipVisionConfig(**EYE), mm_tokens_per_image=1)),
    "tiny-mistral3": (Mistral3ForConditionalGeneration, Mistral3Config(
        text_config=MistralConfig(**{**tiny.BASE, "tie_word_embeddings": False}, head_dim=24,
                                  sliding_window=None, rope_parameters=tiny.rope("default", 1e6)),
        vision_config=PixtralVisionConfig(**EYE), tie_word_embeddings=False)),
}


def save(model, path, shard, post=None):
    """`post`: what the tokenizer makes of a text $A, where that is more than the text."""
    shutil.rmtree(path, ignore_errors=True)
    model.config.architectures = [type(model).__name__]
    if model.can_generate():
        model.generation_config.eos_token_id = tiny.N_VOCAB - 1
    model.save_pretrained(path, max_shard_size=shard)
    t = Tokenizer(models.BPE({p: i for i, p in enumerate(tiny.byte_pieces())}, []))
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    t.add_special_tokens([AddedToken("<|end|>", normalized=False, special=True)])
    if post:
        t.post_processor = processors.TemplateProcessing(
            single=post, special_tokens=[("<|end|>", tiny.N_VOCAB - 1)])
    fast = PreTrainedTokenizerFast(tokenizer_object=t, eos_token="<|end|>")
    fast.chat_template = TEMPLATE
    fast.save_pretrained(path)


def from_gguf(name):
    """The same weights as the GGUF file: made the same way, from the same random numbers."""
    seed = list(tiny.MODELS).index(name)
    kind, arch, qtype, config = tiny.MODELS[name]
    model = kind(config).eval()
    tiny.randomize(model, np.random.default_rng(seed))
    with tempfile.TemporaryDirectory() as work:
        tiny.write_gguf(os.path.join(work, "m.gguf"), model, arch, qtype)
    for p in model.parameters():
        if p.data.ndim > 1:
            p.data = p.data.to(TYPES[name])
    return model


def own(name, out):
    rng = np.random.default_rng(100 + list(OWN).index(name))
    kind, config = OWN[name]
    model = kind(config).eval()
    tiny.randomize(model, rng)
    for p in model.parameters():
        p.data = p.data.to(torch.bfloat16).float()
    ids = rng.integers(0, tiny.N_VOCAB - 1, tiny.N_TOK).tolist()
    logits = golden_file.logits_of(model, ids)
    greedy, _ = golden_file.greedy_of(model, ids[:tiny.GREEDY_FROM], tiny.N_GREEDY)
    golden_file.write(os.path.join(out, name + ".golden"), ids, logits, tiny.GREEDY_FROM, greedy, 0,
                      np.arange(tiny.N_VOCAB))
    return model.to(torch.bfloat16)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--out", default=os.path.join(os.path.dirname(__file__),
                                                 "../tests/model/golden"))
    p.add_argument("names", nargs="*", default=[*TYPES, *OWN])
    a = p.parse_args()
    torch.set_num_threads(1)
    for name in a.names:
        model = own(name, a.out) if name in OWN else from_gguf(name)
        save(model, os.path.join(a.out, name), SHARD.get(name, "1GB"))
        print(name, sorted(os.listdir(os.path.join(a.out, name))))


if __name__ == "__main__":
    main()
