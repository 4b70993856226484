/*
 * One direction of a wire: what becomes of each packet, and when it is due. No clock and no descriptors: the time is an
 * argument.
 *
 *   policer (token bucket) -> drop-tail queue (bytes) -> serializer (rate) -> loss -> delay, jitter
 *
 * A packet that was let into the queue takes its time on the wire even if it is lost there. Every packet draws from the
 * generator of losses: which ones are lost depends on the seed and on their number. Jitter that reorders is drawn for
 * each packet, too. Jitter that does not is a delay that all packets of a moment share, and depends on the seed and on
 * the time: drawn for each packet and then put in order, it would be hardly any where packets follow each other closely,
 * for each would wait for the latest of many.
 */
#ifndef LINK_H
#define LINK_H
#include <linux/virtio_net.h>
#include <stddef.h>
#include <stdint.h>

#define MS UINT64_C(1000000)
#define NEVER UINT64_MAX
enum { DIRECTIONS = 2, PACKET_MAX = 2000 };
enum fate { LOST, OVERFLOWED, POLICED, SEVERED, UNSTORED, REFUSED, FATES, ON_THE_WIRE = FATES };
extern const char *const fates[FATES];

struct packet {
    struct packet *next;
    size_t size; /* with the header before it */
    uint8_t bytes[sizeof(struct virtio_net_hdr) + PACKET_MAX];
};

struct waiting {
    uint64_t due, number;
    struct packet *packet;
};

struct direction {
    int from, to;
    /* what it is to be like */
    uint64_t delay, jitter, queue, burst, loss; /* the last one compares with a random 64-bit number */
    double byte_time, police_time;              /* ns */
    int reorder, cut;
    /* what it is like now */
    double idle_at, full_at; /* when the serializer is, and the policer's bucket */
    uint64_t last_due, number, loss_state, jitter_state, jitter_seed, began;
    struct waiting *heap;
    size_t count, room;
    /* what it did */
    uint64_t in, in_bytes, out, out_bytes, ended[FATES], longest, late, late_max, late_1ms;
};

/* A packet to fill, or NULL where there are too many; and back again. */
struct packet *allocate(void);
void release(struct packet *packet);

/* Give the directions of a wire their generators, from a time on. */
void begin(struct direction *directions, uint64_t seed, uint64_t now);

/* Make a direction like this from now on: "set DIRECTION ..." as in wire.c. Returns whether the words are understood. */
int set(struct direction *directions, const char *words, uint64_t now);

/* The packet came at some time from `early` to `now`. They differ only when this program was kept from a CPU: its own
 * hiccup is not to look like a burst that overflows the queue, or that the policer has no tokens for. Returns what
 * becomes of it, and counts it; what is on the wire is due at `last_due`, and what is not is given back. */
enum fate enter(struct direction *d, struct packet *packet, uint64_t early, uint64_t now);

/* When the next packet is due, or NEVER; and take it off. */
uint64_t next_due(const struct direction *d);
struct packet *pop(struct direction *d);

/* Write a line of NAME=NUMBER for each direction. */
void stats(const struct direction *directions, char *words, size_t room);
#endif
