/* cpu.h: the fast back end on the host's processor. One invariant: it never copies a matrix. */
#ifndef IGN_KERN_CPU_CPU_H
#define IGN_KERN_CPU_CPU_H

#include "kern/kern.h"

extern const struct kern kern_cpu;

#endif
