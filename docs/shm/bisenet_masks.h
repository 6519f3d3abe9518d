/* Reader of the masks that `bisenet-edge run SOURCE shm://NAME` publishes. C11, Linux. Layout: README.md.
 *
 *     struct bisenet_reader reader = {0};
 *     if (bisenet_open(&reader, "masks") != 0) perror("masks");
 *     struct bisenet_mask mask;
 *     switch (bisenet_look(&reader, &mask)) {
 *     case BISENET_NEW: ... use mask.ids where they stand ...;
 *                       if (!bisenet_still_whole(&mask)) ... throw the result away ...;
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef BISENET_MASKS_H
#define BISENET_MASKS_H

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define BISENET_HEADER_BYTES 4096u
#define BISENET_VERSION 1u

enum { BISENET_LIVE = 1, BISENET_CLOSED = 2, BISENET_REPLACED = 3 };

struct bisenet_header {
    char magic[8];
    uint32_t version, slots;
    uint64_t slot_bytes;
    uint32_t mask_offset, frame_offset;
    uint64_t max_pixels;
    _Atomic uint32_t state;
    uint32_t labels_bytes;
    unsigned char reserved[16];
    _Atomic uint64_t published;
    _Atomic uint64_t alive_ns;
};

struct bisenet_slot {
    _Atomic uint64_t generation;
    uint64_t frame_index, captured_ns, published_ns;
    uint32_t height, width;
};

_Static_assert(offsetof(struct bisenet_header, state) == 40, "layout");
_Static_assert(offsetof(struct bisenet_header, published) == 64, "layout");
_Static_assert(offsetof(struct bisenet_slot, width) == 36, "layout");

struct bisenet_reader {
    const unsigned char *memory;
    size_t size;
    uint64_t last; /* number of the mask that was seen last */
};

struct bisenet_mask {
    uint64_t number, frame_index, captured_ns, published_ns;
    uint32_t height, width;
    const uint8_t *ids; /* height x width class ids, where they stand */
    const uint8_t *bgr; /* height x width x 3, or NULL */
    const struct bisenet_slot *slot;
};

enum bisenet_news {
    BISENET_NEW,    /* a mask */
    BISENET_NOTHING, /* none since the last one: look again in a millisecond */
    BISENET_ENDED,  /* the writer has ended */
    BISENET_REOPEN  /* close, and open the name again */
};

static inline void bisenet_close(struct bisenet_reader *reader) {
    if (reader->memory != NULL) munmap((void *)(uintptr_t)reader->memory, reader->size);
    reader->memory = NULL;
}

/* Map a segment. Returns 0, or -1 with errno: ENOENT while there is no writer, EPROTO for another layout. */
static inline int bisenet_open(struct bisenet_reader *reader, const char *name) {
    char path[128];
    struct stat found;
    int failure = EPROTO;
    if (snprintf(path, sizeof path, "/%s", name) >= (int)sizeof path) return errno = ENAMETOOLONG, -1;
    int file = shm_open(path, O_RDONLY, 0);
    if (file < 0) return -1;
    void *memory = MAP_FAILED;
    if (fstat(file, &found) != 0) {
        failure = errno;
    } else if (found.st_size >= (off_t)BISENET_HEADER_BYTES) {
        memory = mmap(NULL, (size_t)found.st_size, PROT_READ, MAP_SHARED, file, 0);
        failure = memory == MAP_FAILED ? errno : EPROTO;
    }
    close(file);
    if (memory == MAP_FAILED) return errno = failure, -1;
    const struct bisenet_header *header = memory;
    if (memcmp(header->magic, "BSNEMASK", 8) != 0 || header->version != BISENET_VERSION ||
        BISENET_HEADER_BYTES + header->slots * header->slot_bytes != (uint64_t)found.st_size) {
        munmap(memory, (size_t)found.st_size);
        return errno = EPROTO, -1;
    }
    bisenet_close(reader);
    reader->memory = memory;
    reader->size = (size_t)found.st_size;
    reader->last = 0;
    return 0;
}

/* Whether a mask that was found by bisenet_look has not been overwritten since. Ask after using it. */
static inline int bisenet_still_whole(const struct bisenet_mask *mask) {
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(&mask->slot->generation, memory_order_relaxed) == 2 * mask->number;
}

/* Find the newest mask. */
static inline enum bisenet_news bisenet_look(struct bisenet_reader *reader, struct bisenet_mask *mask) {
    const struct bisenet_header *header = (const struct bisenet_header *)(const void *)reader->memory;
    for (;;) {
        uint64_t number = atomic_load_explicit(&header->published, memory_order_acquire);
        if (number == 0 || number == reader->last) {
            uint32_t state = atomic_load_explicit(&header->state, memory_order_acquire);
            return state == BISENET_CLOSED ? BISENET_ENDED
                   : state == BISENET_REPLACED ? BISENET_REOPEN : BISENET_NOTHING;
        }
        const unsigned char *start =
            reader->memory + BISENET_HEADER_BYTES + (number - 1) % header->slots * header->slot_bytes;
        const struct bisenet_slot *slot = (const struct bisenet_slot *)(const void *)start;
        if (atomic_load_explicit(&slot->generation, memory_order_acquire) != 2 * number) continue;
        *mask = (struct bisenet_mask){number, slot->frame_index, slot->captured_ns, slot->published_ns,
                                      slot->height, slot->width, start + header->mask_offset,
                                      header->frame_offset ? start + header->frame_offset : NULL, slot};
        /* The numbers above, too, may come from two masks: the sizes must be safe to use. */
        if (!bisenet_still_whole(mask)) continue;
        reader->last = number;
        return BISENET_NEW;
    }
}

#endif
