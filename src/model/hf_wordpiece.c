/* hf_wordpiece.c: the WordPiece tokenizers of tokenizer.json.
 *
 * Owns which settings of BERT's normalizer and words are known, and the spelling of pieces: a
 * folder marks those that go on with a word by "##", GGUF files those that begin one by U+2581.
 */
#include <string.h>

#include "model/hf.h"
#include "model/hf_json.h"
#include "text/vocab.h"

enum err_code hf_wordpiece_style(struct hf_vocab *v, const struct json *norm,
                                 const struct json *pre, struct err *e) {
    if (!hf_says(norm, "type", "BertNormalizer") || !hf_truth(norm, "clean_text", true) ||
        !hf_truth(norm, "handle_chinese_chars", true) ||
        !hf_says(pre, "type", "BertPreTokenizer")) {
        return err_set(e, ERR_UNSUPPORTED,
                       "WordPiece with a 'normalizer' or 'pre_tokenizer' that is not BERT's");
    }
    v->wordpiece = true;
    v->lowercase = hf_truth(norm, "lowercase", true);
    v->strip_accents = hf_truth(norm, "strip_accents", v->lowercase);
    return ERR_OK;
}

struct str hf_wordpiece_spell(struct hf_vocab *v, const struct hf_piece *p) {
    static const char mark[] = "\xE2\x96\x81";
    if (p->kind != PIECE_NORMAL) {
        return p->text;
    }
    if (str_starts(p->text, "##")) {
        return str_of(p->text.p + 2, p->text.n - 2);
    }
    char *text = arena_alloc(&v->mem, p->text.n + sizeof mark, 1);
    if (!text) {
        return str_of(NULL, 0);
    }
    memcpy(text, mark, sizeof mark - 1);
    memcpy(text + sizeof mark - 1, p->text.p, p->text.n);
    return str_of(text, p->text.n + sizeof mark - 1);
}
