"""The golden file: what PyTorch says about a token sequence, for tests/model/test_golden.c.

All numbers are little-endian; floats are f32, the others i32 unless noted:

    8 bytes "igngold1"
    n_tok, n_vocab, n_top, n_fixed, n_greedy_from, n_greedy
    tok     [n_tok]      the ids of the text
    fixed   [n_fixed]    ids whose logits are kept at every position
    greedy  [n_greedy]   the greedy continuation of the first n_greedy_from ids
    then for each position:
        f32 logsumexp; top ids [n_top]; f32 their logits [n_top]; f32 logits of `fixed` [n_fixed]

A tiny model's file has n_top = 0 and n_fixed = n_vocab: all logits.
"""
import numpy as np
import torch

MAGIC = b"igngold1"


def logits_of(model, ids):
    """All logits of one sequence, [n_tok, n_vocab] f32."""
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].float().numpy()


def greedy_of(model, ids, n):
    """n ids, each the largest logit (the lower id wins a tie); the margins come with them."""
    out, margins, cache = [], [], None
    x = torch.tensor([ids])
    with torch.no_grad():
        for _ in range(n):
            r = model(x, past_key_values=cache, use_cache=True)
            cache = r.past_key_values
            top = torch.topk(r.logits[0, -1].float(), 2)
            out.append(int(r.logits[0, -1].argmax()))
            margins.append(float(top.values[0] - top.values[1]))
            x = torch.tensor([[out[-1]]])
    return out, margins


def write(path, ids, logits, greedy_from, greedy, n_top, fixed):
    with open(path, "wb") as f:
        f.write(MAGIC)
        head = [len(ids), logits.shape[1], n_top, len(fixed), greedy_from, len(greedy)]
        np.array(head + list(ids) + list(fixed) + list(greedy), "<i4").tofile(f)
        for row in logits:
            wide = row.astype(np.float64)
            lse = wide.max() + np.log(np.exp(wide - wide.max()).sum())
            np.array([lse], "<f4").tofile(f)
            # Stable: among equal logits the lower id comes first.
            top = np.argsort(-row, kind="stable")[:n_top]
            top.astype("<i4").tofile(f)
            row[top].astype("<f4").tofile(f)
            row[fixed].astype("<f4").tofile(f)


def kl(p, q):
    """KL(p || q) in nats per position, from logits [n_tok, n_vocab], in f64."""
    p, q = torch.from_numpy(p).double(), torch.from_numpy(q).double()
    lp, lq = torch.log_softmax(p, -1), torch.log_softmax(q, -1)
    return (lp.exp() * (lp - lq)).sum(-1).numpy()
