/* Print how much of each mask every class covers.   cc -std=c11 -O2 -o read_masks read_masks.c
 * Usage: read_masks NAME [COUNT]    ends after COUNT masks (default: when the writer ends)
 * SPDX-License-Identifier: Apache-2.0 */
#define _POSIX_C_SOURCE 200809L
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include "bisenet_masks.h"

static void wait_a_millisecond(void) { nanosleep(&(struct timespec){0, 1000000}, NULL); }

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int open_when_there(struct bisenet_reader *reader, const char *name) {
    while (bisenet_open(reader, name) != 0) {
        if (errno != ENOENT) return perror(name), -1;
        wait_a_millisecond();
    }
    return 0;
}

static void print_mask(const struct bisenet_mask *mask, const uint32_t *pixels) {
    double age_ms = (double)(now_ns() - mask->captured_ns) / 1e6;
    printf("frame %" PRIu64 " %" PRIu32 "x%" PRIu32 " age %.1f ms", mask->frame_index, mask->width,
           mask->height, age_ms);
    for (int id = 0; id < 256; id++)
        if (pixels[id]) printf(" %d:%.3f", id, (double)pixels[id] / mask->height / mask->width);
    puts("");
}

int main(int count, char **words) {
    struct bisenet_reader reader = {0};
    struct bisenet_mask mask;
    if (count < 2) return fprintf(stderr, "usage: read_masks NAME [COUNT]\n"), 2;
    long left = count > 2 ? strtol(words[2], NULL, 10) : -1;
    if (open_when_there(&reader, words[1]) != 0) return 1;
    while (left != 0) {
        enum bisenet_news news = bisenet_look(&reader, &mask);
        if (news == BISENET_ENDED) break;
        if (news == BISENET_REOPEN && open_when_there(&reader, words[1]) != 0) return 1;
        if (news != BISENET_NEW) {
            wait_a_millisecond();
            continue;
        }
        uint32_t pixels[256] = {0};
        for (size_t i = 0; i < (size_t)mask.height * mask.width; i++) pixels[mask.ids[i]]++;
        if (!bisenet_still_whole(&mask)) continue; /* it was overwritten while we counted */
        print_mask(&mask, pixels);
        fflush(stdout);
        left -= left > 0;
    }
    bisenet_close(&reader);
    return 0;
}
