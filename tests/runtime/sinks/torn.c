/* Read COUNT masks in which every byte must be (number % 251), and tell how many were thrown away.
 * Usage: torn NAME COUNT. Exit 3: a torn mask was taken for whole. Never sleeps: it is as rude as can be. */
#define _POSIX_C_SOURCE 200809L
#include <inttypes.h>
#include <stdlib.h>

#include "bisenet_masks.h"

int main(int count, char **words) {
    struct bisenet_reader reader = {0};
    struct bisenet_mask mask;
    if (count < 3) return 2;
    while (bisenet_open(&reader, words[1]) != 0)
        if (errno != ENOENT) return perror(words[1]), 1;
    long wanted = strtol(words[2], NULL, 10), whole = 0, thrown_away = 0, torn = 0;
    while (whole < wanted) {
        enum bisenet_news news = bisenet_look(&reader, &mask);
        if (news == BISENET_ENDED) break;
        if (news == BISENET_REOPEN) {
            while (bisenet_open(&reader, words[1]) != 0)
                if (errno != ENOENT) return perror(words[1]), 1;
            continue;
        }
        if (news != BISENET_NEW) continue;
        uint8_t want = (uint8_t)(mask.number % 251), differs = 0;
        for (size_t i = 0; i < (size_t)mask.height * mask.width; i++) differs |= mask.ids[i] ^ want;
        if (!bisenet_still_whole(&mask)) {
            thrown_away++;
            continue;
        }
        whole++;
        torn += differs != 0;
    }
    printf("%ld %ld %ld\n", whole, thrown_away, torn);
    return torn ? 3 : 0;
}
