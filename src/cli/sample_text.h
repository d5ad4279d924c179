/* sample_text.h: a text for whoever names none: sample_text.txt, which the build puts into the
 * program. Plant-floor prose, Jython, C, SQL, JSON and ten languages, written for this.
 */
#ifndef IGN_CLI_SAMPLE_TEXT_H
#define IGN_CLI_SAMPLE_TEXT_H

#include <stddef.h>

extern const unsigned char sample_text[];
extern const size_t sample_text_size;

#endif
