#include "kern/cpu/micro.h"
void micro_init_avx2(struct micro *m) {
    m->name = "avx2";
}
