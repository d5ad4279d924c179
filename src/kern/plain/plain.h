/* plain.h: the back end that defines what is correct. One invariant: it owns no fast path. */
#ifndef IGN_KERN_PLAIN_PLAIN_H
#define IGN_KERN_PLAIN_PLAIN_H

#include "kern/kern.h"

extern const struct kern kern_plain;

#endif
