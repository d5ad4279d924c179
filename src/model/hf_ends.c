/* hf_ends.c: what a tokenizer.json puts at the ends of a text, and how it turns tokens into text.
 *
 * Owns "post_processor" and "decoder": which of their settings this program can follow. The rest is
 * refused by its place in the file.
 */
#include <stdio.h>

#include "model/hf.h"
#include "model/hf_json.h"
#include "text/vocab.h"

/* One step of "single" in a template: a special token before the text, or behind it. */
static enum err_code read_step(struct hf_vocab *v, const struct json *step, bool *seen_text,
                               struct err *e) {
    const struct json *special = hf_member(step, "SpecialToken");
    if (!special) {
        *seen_text = true;
        return ERR_OK;
    }
    const struct json *name = hf_member(special, "id");
    int32_t id = name ? hf_piece_find(v, json_str(name)) : -1;
    bool *adds = *seen_text ? &v->add_eos : &v->add_bos;
    if (id < 0 || *adds) {
        return err_set(e, ERR_UNSUPPORTED, "'post_processor' adds %s",
                       id < 0 ? "a token that is not there" : "more than one token at an end");
    }
    *adds = true;
    *(*seen_text ? &v->eos : &v->bos) = id;
    return ERR_OK;
}

/* "cls": ["[CLS]", 101], "sep": ["[SEP]", 102]: before the text, and behind it. */
static enum err_code read_bert(struct hf_vocab *v, const struct json *post, struct err *e) {
    const struct {
        const char *name;
        int32_t *id;
        bool *adds;
    } ends[] = {{"cls", &v->bos, &v->add_bos}, {"sep", &v->eos, &v->add_eos}};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        const struct json *pair = hf_member(post, ends[i].name);
        bool list = pair && json_kind(pair) == JSON_IS_ARRAY && json_count(pair) > 0;
        *ends[i].id = list ? hf_piece_find(v, json_str(json_at(pair, 0))) : -1;
        if (*ends[i].id < 0) {
            return err_set(e, ERR_FORMAT, "'post_processor' adds a token that is not there");
        }
        *ends[i].adds = true;
    }
    v->says_bos = true;
    return ERR_OK;
}

enum err_code hf_post(struct hf_vocab *v, const struct json *post, struct err *e) {
    const struct json *list = hf_member(post, "processors"), *single = hf_member(post, "single");
    enum err_code rc = ERR_OK;
    if (hf_says(post, "type", "Sequence") && list && json_kind(list) == JSON_IS_ARRAY) {
        for (size_t i = 0; !rc && i < json_count(list); i++) {
            const struct json *step = json_at(list, i);
            rc =
                hf_says(step, "type", "Sequence")
                    ? err_set(e, ERR_UNSUPPORTED, "'post_processor.processors[%zu]': a sequence", i)
                    : hf_post(v, step, e);
        }
        return rc;
    }
    if (!post || hf_says(post, "type", "ByteLevel")) {
        return ERR_OK; /* changes offsets only */
    }
    if (hf_says(post, "type", "BertProcessing") || hf_says(post, "type", "RobertaProcessing")) {
        return read_bert(v, post, e);
    }
    if (!hf_says(post, "type", "TemplateProcessing") || !single ||
        json_kind(single) != JSON_IS_ARRAY) {
        struct str type = hf_text_of(post, "type");
        return err_set(e, ERR_UNSUPPORTED, "'post_processor' is not known: '%.*s'",
                       (int)(type.n < 40 ? type.n : 40), type.p);
    }
    bool seen_text = false;
    v->says_bos = true;
    for (size_t i = 0; !rc && i < json_count(single); i++) {
        rc = read_step(v, json_at(single, i), &seen_text, e);
    }
    return rc;
}

/* ---- decoders --------------------------------------------------------------------------- */

/* One step: what spells a blank becomes one, byte pieces bytes; at the beginning one is dropped. */
static bool read_decoder_step(struct hf_vocab *v, const struct json *j) {
    bool bytes = !v->spm && !v->unigram && !v->wordpiece && !v->characters;
    const struct json *start = hf_member(j, "start"), *stop = hf_member(j, "stop");
    if (hf_says(j, "type", "ByteLevel")) {
        return bytes;
    }
    if (hf_says(j, "type", "Replace")) {
        return hf_says(hf_member(j, "pattern"), "String", "\xE2\x96\x81") &&
               hf_says(j, "content", " ");
    }
    if (hf_says(j, "type", "Strip")) {
        v->first_space = start && json_int(start) > 0 ? 1 : v->first_space;
        return hf_says(j, "content", " ") && (!start || json_int(start) <= 1) &&
               (!stop || json_int(stop) == 0);
    }
    if (hf_says(j, "type", "Metaspace")) {
        bool never =
            hf_says(j, "prepend_scheme", "never") || !hf_truth(j, "add_prefix_space", true);
        v->first_space = never ? v->first_space : 1;
        return hf_says(j, "replacement", "\xE2\x96\x81");
    }
    return hf_says(j, "type", "ByteFallback") || hf_says(j, "type", "Fuse") ||
           (v->wordpiece && hf_says(j, "type", "WordPiece") && hf_says(j, "prefix", "##"));
}

enum err_code hf_decoder(struct hf_vocab *v, const struct json *decoder, struct err *e) {
    const struct json *list = hf_member(decoder, "decoders");
    bool sequence = hf_says(decoder, "type", "Sequence");
    if (!decoder) {
        return ERR_OK;
    }
    if (sequence && (!list || json_kind(list) != JSON_IS_ARRAY)) {
        return err_set(e, ERR_FORMAT, "'decoder.decoders' is not a list");
    }
    v->first_space = v->wordpiece ? 0 : -1;
    for (size_t i = 0; i < (sequence ? json_count(list) : 1); i++) {
        const struct json *step = sequence ? json_at(list, i) : decoder;
        struct str type = hf_text_of(step, "type");
        char place[32] = "";
        if (sequence) {
            snprintf(place, sizeof place, ".decoders[%zu]", i);
        }
        if (!read_decoder_step(v, step)) {
            return err_set(e, ERR_UNSUPPORTED, "'decoder%s' is not known: '%.*s'", place,
                           (int)(type.n < 40 ? type.n : 40), type.p);
        }
    }
    return ERR_OK;
}
