/* machine_part.h: the parts that machine_read is made of.
 *
 * Each fills its own fields of a zeroed struct machine from a root's files and adds warnings.
 * Invariant: none fails; a field that could not be read stays 0.
 */
#ifndef IGN_DEVICE_MACHINE_PART_H
#define IGN_DEVICE_MACHINE_PART_H

#include "device/machine.h"
#include "device/sys_root.h"

/* platform, and all of cpu but quota and budget. */
void cpu_info_read(struct machine *m, struct sys_root *r);
/* cpu.quota, memory.limit, limit_left, and where they are from. */
void cgroup_read(struct machine *m, struct sys_root *r);
/* machine_read on a root that need not be a folder; r->text is the caller's. */
void machine_read_root(struct machine *m, struct sys_root *r);

#endif
