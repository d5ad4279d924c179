/* jinja_filter.h: the filters on sequences, for the table in jinja_filter.c.
 *
 * Owns nothing but the list; each is described where it is written (jinja_filter_seq.c).
 */
#ifndef IGN_TEXT_JINJA_FILTER_H
#define IGN_TEXT_JINJA_FILTER_H

#include "text/jinja_int.h"

#define JFILTER(name)                                                                              \
    bool jfilter_##name(struct jrun *r, struct jval in, const struct jargs *a, struct jval *out)

JFILTER(batch);
JFILTER(dictsort);
JFILTER(first);
JFILTER(groupby);
JFILTER(items);
JFILTER(join);
JFILTER(last);
JFILTER(list);
JFILTER(map);
JFILTER(max);
JFILTER(min);
JFILTER(reject);
JFILTER(rejectattr);
JFILTER(reverse);
JFILTER(select);
JFILTER(selectattr);
JFILTER(slice);
JFILTER(sort);
JFILTER(sum);
JFILTER(unique);

/* dict.items() as a list of pairs. */
bool jfilter_dict_items(struct jrun *r, struct jval dict, struct jval *out);

#endif
