/* char_width.h: how many columns a character takes in a terminal.
 *
 * Owns a small table of the ranges that are wide (East Asian, emoji) or have no width (combining
 * marks, joiners). Refuses grapheme clusters: a terminal draws an emoji with joiners in its own
 * way, and no table can know it. Source: Unicode 15, EastAsianWidth.txt and general categories Mn
 * and Me, with neighbouring ranges joined over unassigned code points.
 */
#ifndef IGN_CLI_CHAR_WIDTH_H
#define IGN_CLI_CHAR_WIDTH_H

#include <stdint.h>

/* 0, 1 or 2; of a control character 2, since it is shown as ^X. */
int char_width(uint32_t cp);

#endif
