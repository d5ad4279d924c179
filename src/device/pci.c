/* pci.c: graphics cards that are in the machine, whether or not a driver tells of them.
 *
 * Owns the folder of PCI devices, of which two files are read: class and vendor. It is how a card
 * without a driver is told from no card.
 */
#include <stdio.h>

#include "base/mem.h"
#include "base/os.h"
#include "device/machine.h"
#include "device/sys_root.h"

enum { DEVICE_MAX = 4096, VENDOR_NVIDIA = 0x10de, CLASS_DISPLAY = 0x03 };

/* The number in a file of "0x10de\n"; 0: none. */
static unsigned number_in(const char *folder, const char *device, const char *file) {
    char path[1024], text[16];
    size_t n;
    unsigned v = 0;
    int len = snprintf(path, sizeof path, "%s/%s/%s", folder, device, file);
    if (len < 0 || (size_t)len >= sizeof path || os_read_head(path, text, sizeof text, &n, NULL) ||
        n < 3 || text[0] != '0' || text[1] != 'x') {
        return 0;
    }
    for (const char *p = text + 2; *p && *p != '\n'; p++) {
        int digit = *p >= '0' && *p <= '9' ? *p - '0' : *p >= 'a' && *p <= 'f' ? *p - 'a' + 10 : -1;
        if (digit < 0 || v >> 28) {
            return 0;
        }
        v = v * 16 + (unsigned)digit;
    }
    return v;
}

void machine_pci(struct machine *m, const char *root) {
    char folder[1024], where[32] = "", **names = NULL;
    size_t n = 0;
    int cards = 0;
    for (int i = 0; i < m->n_gpu; i++) {
        if (m->gpu[i].kind == GPU_CUDA) {
            return;
        }
    }
    int len = snprintf(folder, sizeof folder, "%s/sys/bus/pci/devices", root ? root : "");
    if (len < 0 || (size_t)len >= sizeof folder || os_list(folder, &names, &n, NULL)) {
        return; /* a machine without PCI is none to warn of */
    }
    for (size_t i = 0; i < n && i < DEVICE_MAX; i++) {
        if (number_in(folder, names[i], "vendor") == VENDOR_NVIDIA &&
            number_in(folder, names[i], "class") >> 16 == CLASS_DISPLAY && cards++ == 0) {
            sys_words(where, sizeof where, names[i]);
        }
    }
    mem_free(names);
    if (cards > 0) {
        machine_warn(m,
                     "%d NVIDIA GPU%s in this machine (PCI %s), of which no driver tells: "
                     "install NVIDIA's driver, or mend what another warning says of it",
                     cards, cards > 1 ? "s are" : " is", where);
    }
}
