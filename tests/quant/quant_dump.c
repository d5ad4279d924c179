/* quant_dump.c: decodes blocks from stdin to floats on stdout, for tools/make_quant_golden.py.
 *
 *     quant_dump TYPE < blocks > floats
 */
#include <stdio.h>
#include <string.h>

#include "quant/quant.h"

int main(int argc, char **argv) {
    for (uint32_t t = 0; argc == 2 && t < DT_MAX; t++) {
        const struct dtype_info *info = dtype_info(t);
        if (!info->block || strcmp(info->name, argv[1]) != 0) {
            continue;
        }
        _Alignas(4) uint8_t block[512];
        float out[QK_K];
        while (fread(block, 1, info->bytes, stdin) == info->bytes) {
            quant_decode((enum dtype)t, block, out, info->block);
            fwrite(out, sizeof out[0], info->block, stdout);
        }
        return fflush(stdout) == 0 ? 0 : 1;
    }
    fputs("usage: quant_dump TYPE < blocks > floats\n", stderr);
    return 2;
}
