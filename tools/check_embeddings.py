#!/usr/bin/env python3
"""Compares `ign embed` with sentence-transformers' formula computed by PyTorch: the vectors of the
last layer pooled as the folder says (mean over the tokens, the first, the last), then scaled to the
length 1; in front of each text the folder's prompt, if it has one for texts without.

    tools/check_embeddings.py --ign IGN FOLDER [MODEL...] [--device cpu plain] [--threads N]

FOLDER is a Hugging Face folder of an encoder or a language model; without the settings of
sentence-transformers beside it, it is pooled by the mean. Each MODEL (default: FOLDER itself) is
another form of it: its GGUF files, quantized ones too. Texts are prose, code, other languages, emoji, lines
of noise, an empty line, and some longer than the model sees. Prints the least and the median cosine
for each, and ends with status 1 if one of full precision is below 0.9999, or a quantized one below
0.98. Needs torch, transformers and gguf.
"""
import argparse
import json
import os
import subprocess
import sys

import gguf
import torch
from transformers import AutoModel, AutoTokenizer

import token_texts

LINES = """
Hello world
The pump in hall 3 trips on overcurrent whenever the discharge valve closes faster than two seconds.
Die Pumpe in Halle 3 löst bei Überstrom aus, sobald das Ventil schneller als in 2 s schließt.
La pompe du hall 3 se déclenche en surintensité dès que la vanne se ferme trop vite.
La bomba de la nave 3 se dispara por sobrecorriente cuando la válvula se cierra deprisa.
A bomba do galpão 3 desarma por sobrecorrente quando a válvula fecha rápido demais.
Насос в цехе 3 отключается по перегрузке, когда клапан закрывается слишком быстро.
Η αντλία στην αίθουσα 3 πέφτει από υπερένταση όταν η βάνα κλείνει γρήγορα.
当阀门关闭过快时，3号车间的泵会因过流而跳闸。
バルブが速く閉じすぎると、3号棟のポンプが過電流でトリップします。
밸브가 너무 빨리 닫히면 3번 홀의 펌프가 과전류로 트립됩니다.
المضخة في القاعة 3 تتوقف بسبب التيار الزائد عند إغلاق الصمام بسرعة.
हॉल 3 का पंप तब ट्रिप हो जाता है जब वाल्व बहुत तेज़ी से बंद होता है।
Pompa w hali 3 wyłącza się z powodu przetężenia, gdy zawór zamyka się zbyt szybko.
Čerpadlo v hale 3 vypíná nadproudem, když se ventil zavře příliš rychle.
Vana çok hızlı kapandığında 3. holdeki pompa aşırı akımdan açıyor. İSTANBUL ıİiI
Máy bơm ở xưởng 3 bị ngắt do quá dòng khi van đóng quá nhanh.
ปั๊มในโรง 3 ทริปเพราะกระแสเกินเมื่อวาล์วปิดเร็วเกินไป
המשאבה באולם 3 נופלת על זרם יתר כשהשסתום נסגר מהר מדי.
🚨🔧 Pump 3 down again 😡😡 — 👩🏽‍🔧 on it, ETA 15 min ✅
if (valve.position < 0.05 && current > 1.2 * nominal) { trip(PUMP_3); }
value = system.tag.readBlocking(['[default]Hall3/Pump/Current'])[0].value
SELECT t_stamp, floatvalue FROM sqlt_data_1_2026_11 WHERE tagid = 42 ORDER BY t_stamp DESC LIMIT 10;
{"tag": "Hall3/Pump/Current", "quality": 192, "value": 17.25, "timestamp": 1764132000000}
<opc:Item NodeId="ns=2;s=Hall3.Pump.Current" DataType="Double"/>
192.168.178.42:502 holding register 40001 = 0x2F3A
1234567890 3.14159 -2.5e-7 100% 42°C 5 µm ½ ¾ № ™ © €
E=mc², ∑ᵢ xᵢ² ≤ ‖x‖₁ · ‖x‖∞, α→β ⇒ ¬γ
[CLS] [SEP] [MASK] [PAD] [UNK] are words of a user here
a
?
!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!
    blanks   in  front and	tabs	between   
aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft
naïve café résumé Ångström Zürich Łódź smørrebrød fiancée
What is the melting point of aluminium?
Aluminium melts at 660 degrees Celsius.
The cat sits on the mat.
A feline rests upon a rug.
Restart the gateway after changing the redundancy settings.
""".split("\n")[1:-1]


def one_line(text):
    text = text if isinstance(text, str) else text.decode("utf-8", "replace")
    return text.replace("\r", " ").replace("\n", " ")


def texts():
    out = LINES + [""]
    for kind, n, most in (("english", 12, 300), ("code", 12, 300), ("jython", 8, 400),
                          ("cjk", 8, 150), ("arabic", 8, 200), ("hindi", 8, 200),
                          ("emoji", 8, 120), ("broken", 8, 200), ("controls", 6, 200),
                          ("randoms", 12, 400)):
        out += [one_line(t)[:most] for t in token_texts.ALL[kind]()[:n]]
    prose = " ".join(one_line(t) for t in token_texts.ALL["english"]()[:40])
    out += [prose[:700], prose[:1500], prose[:6000], " ".join(LINES)]
    return out


def read(folder, name):
    path = os.path.join(folder, name)
    return json.load(open(path, encoding="utf-8")) if os.path.exists(path) else None


def pooling_of(folder):
    modules = read(folder, "modules.json") or []
    names = [m["path"] for m in modules if m["type"].endswith("Pooling")]
    settings = read(folder, names[0] + "/config.json") if names else {"pooling_mode": "mean"}
    flags = {"mean": "mean_tokens", "cls": "cls_token", "last": "lasttoken"}
    return next(how for how, flag in flags.items()
                if settings.get("pooling_mode") in (how, flag) or
                settings.get("pooling_mode_" + flag))


class Reference:
    """PyTorch in f32, one text at a time: nothing is padded."""

    def __init__(self, folder):
        self.tok = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
        self.pooling = pooling_of(folder)
        limits = read(folder, "sentence_bert_config.json") or {}
        self.all = self.model.config.max_position_embeddings
        self.most = limits.get("max_seq_length") or self.all
        ways = read(folder, "config_sentence_transformers.json") or {}
        self.prompt = ways.get("prompts", {}).get(ways.get("default_prompt_name"), "")

    def embed(self, text, most):
        ids = self.tok(self.prompt + text, truncation=True, max_length=most, return_tensors="pt",
                       split_special_tokens=True)  # "[SEP]" in a text is text
        with torch.inference_mode():
            if not ids["input_ids"].numel():  # an empty text, and nothing is added to it
                return torch.zeros(self.model.config.hidden_size, dtype=torch.float64)
            hidden = self.model(**ids)[0][0]
        one = {"mean": hidden.mean(0), "cls": hidden[0], "last": hidden[-1]}[self.pooling]
        return torch.nn.functional.normalize(one, p=2, dim=0).double()


def ours(a, model, device, lines, ref):
    data = "\n".join(lines).encode("utf-8") + b"\n"
    cmd = [a.ign, "embed", "--model", model, "--device", device, "--json", "--quiet",
           "--pooling", ref.pooling]
    if not os.path.isdir(model):
        cmd += ["--prompt", ref.prompt]  # files of other converters do not have it
    if a.threads:
        cmd += ["--threads", str(a.threads)]
    out = subprocess.run(cmd, input=data, stdout=subprocess.PIPE, check=True).stdout
    return torch.tensor(json.loads(out)["embeddings"], dtype=torch.float64)


def cuts(model):
    """Whether it knows of the folder's limit: files of other converters do not."""
    return os.path.isdir(model) or any(k.endswith(".truncation_length")
                                       for k in gguf.GGUFReader(model).fields)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("folder")
    p.add_argument("models", nargs="*")
    p.add_argument("--ign", required=True)
    p.add_argument("--device", nargs="+", default=["cpu"])
    p.add_argument("--threads", type=int)
    a = p.parse_args()
    lines = texts()
    ref = Reference(a.folder)
    failed, known = False, {}
    for model in a.models or [a.folder]:
        most = ref.most if cuts(model) else ref.all
        if most not in known:
            known[most] = torch.stack([ref.embed(t, most) for t in lines])
        want = known[most]
        for device in a.device:
            got = ours(a, model, device, lines, ref)
            cos = torch.nn.functional.cosine_similarity(got, want, dim=1)
            cos[(got == want).all(1)] = 1  # the cosine of nothing with nothing
            exact = os.path.isdir(model) or any(x in model.lower() for x in ("f32", "f16"))
            bad = [i for i in range(len(lines)) if not cos[i] >= (0.9999 if exact else 0.98)]
            failed = failed or bool(bad)
            print(f"{os.path.basename(os.path.normpath(model)):28} {device:6} {len(lines)} texts: "
                  f"cosine least {cos.min():.7f}, median {cos.median():.7f}, largest difference "
                  f"{(got - want).abs().max():.2e}", flush=True)
            for i in bad[:5]:
                print(f"    {cos[i]:.6f} {lines[i][:70]!r}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
