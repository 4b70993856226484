/* See link.h. */
#include "link.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { PACKETS_MAX = 1 << 17 }; /* on the wire at once, in both directions: 256 MiB */
static const double NS = 1e9;
#define GAMMA UINT64_C(0x9e3779b97f4a7c15) /* of SplitMix64 */
const char *const fates[FATES] = {"lost", "overflowed", "policed", "severed", "unstored", "refused"};

static struct packet *spare;
static size_t packets;

/* SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014) */
static uint64_t draw(uint64_t *state)
{
    uint64_t z = *state += GAMMA;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

struct packet *allocate(void)
{
    struct packet *packet = spare;
    if (packet)
        spare = packet->next;
    else if (packets < PACKETS_MAX && (packet = malloc(sizeof *packet)))
        packets++;
    return packet;
}

void release(struct packet *packet)
{
    packet->next = spare;
    spare = packet;
}

void begin(struct direction *directions, uint64_t seed, uint64_t now)
{
    for (struct direction *d = directions; d < directions + DIRECTIONS; d++) {
        d->loss_state = draw(&seed);
        d->jitter_state = draw(&seed);
        d->jitter_seed = draw(&d->jitter_state);
        d->began = now;
    }
}

/* A binary heap: the packet that is due first is at the top, of several the one that came first. */

static int before(const struct waiting *a, const struct waiting *b)
{
    return a->due < b->due || (a->due == b->due && a->number < b->number);
}

static int push(struct direction *d, struct waiting item)
{
    if (d->count == d->room) {
        size_t room = d->room ? 2 * d->room : 1024;
        struct waiting *heap = realloc(d->heap, room * sizeof *heap);
        if (!heap)
            return 0;
        d->heap = heap;
        d->room = room;
    }
    size_t at = d->count++;
    for (; at && before(&item, &d->heap[(at - 1) / 2]); at = (at - 1) / 2)
        d->heap[at] = d->heap[(at - 1) / 2];
    d->heap[at] = item;
    return 1;
}

struct packet *pop(struct direction *d)
{
    struct packet *first = d->heap[0].packet;
    struct waiting last = d->heap[--d->count];
    size_t at = 0, child;
    while ((child = 2 * at + 1) < d->count) {
        if (child + 1 < d->count && before(&d->heap[child + 1], &d->heap[child]))
            child++;
        if (!before(&d->heap[child], &last))
            break;
        d->heap[at] = d->heap[child];
        at = child;
    }
    d->heap[at] = last;
    return first;
}

/* By how much a packet that leaves the serializer `then` comes later than the shortest possible delay: from 0 to twice
 * the jitter. Its own draw where packets may overtake each other; else that of the moment, which is twice the jitter
 * long. */
static uint64_t variation(const struct direction *d, uint64_t own, uint64_t then)
{
    uint64_t span = 2 * d->jitter;
    if (!span)
        return 0;
    uint64_t moment = d->jitter_seed + (then - d->began) / span * GAMMA;
    return (d->reorder ? own : draw(&moment)) % (span + 1);
}

static enum fate decide(struct direction *d, struct packet *packet, uint64_t early, uint64_t now)
{
    size_t size = packet->size - sizeof(struct virtio_net_hdr);
    int lost = draw(&d->loss_state) < d->loss;
    uint64_t own = draw(&d->jitter_state), due = now;
    d->in++;
    d->in_bytes += size;
    if (d->cut)
        return SEVERED;
    if (d->police_time > 0) { /* a token bucket by the time at which it is full again: virtual scheduling, ITU-T I.371 */
        double full = (d->full_at > (double)early ? d->full_at : (double)early) + (double)size * d->police_time;
        if (full > (double)now + (double)d->burst * d->police_time)
            return POLICED;
        d->full_at = full;
    }
    if (d->byte_time > 0) {
        double start = d->idle_at > (double)early ? d->idle_at : (double)early;
        double queued = (start > (double)now ? (start - (double)now) / d->byte_time : 0) + (double)size;
        if (d->queue && queued > (double)d->queue)
            return OVERFLOWED;
        if (queued > (double)d->longest)
            d->longest = (uint64_t)queued;
        d->idle_at = start + (double)size * d->byte_time;
        due = (uint64_t)d->idle_at;
    }
    if (lost)
        return LOST;
    due += d->delay + variation(d, own, due);
    due = due > early + d->jitter ? due - d->jitter : early;
    if (!d->reorder && due < d->last_due)
        due = d->last_due;
    if (!push(d, (struct waiting){due, d->number++, packet}))
        return UNSTORED;
    d->last_due = due;
    return ON_THE_WIRE;
}

enum fate enter(struct direction *d, struct packet *packet, uint64_t early, uint64_t now)
{
    enum fate fate = decide(d, packet, early, now);
    if (fate != ON_THE_WIRE) {
        d->ended[fate]++;
        release(packet);
    }
    return fate;
}

uint64_t next_due(const struct direction *d)
{
    return d->count ? d->heap[0].due : NEVER;
}

static uint64_t rescaled(uint64_t due, uint64_t from, double factor)
{
    return due > from ? from + (uint64_t)((double)(due - from) * factor) : due;
}

int set(struct direction *directions, const char *words, uint64_t now)
{
    unsigned which;
    struct direction new = {0};
    double loss, rate, police;
    if (sscanf(words, "set %u %" SCNu64 " %" SCNu64 " %lf %lf %" SCNu64 " %lf %" SCNu64 " %d %d", &which, &new.delay,
               &new.jitter, &loss, &rate, &new.queue, &police, &new.burst, &new.reorder, &new.cut) != 10 ||
        which >= DIRECTIONS)
        return 0;
    struct direction *d = &directions[which];
    new.byte_time = rate > 0 ? 8 * NS / rate : 0;
    if (d->byte_time > 0) { /* what waits for the serializer waits at the new rate; the order stays the same */
        double factor = new.byte_time / d->byte_time;
        for (size_t i = 0; i < d->count; i++)
            d->heap[i].due = rescaled(d->heap[i].due, now + d->delay, factor);
        d->last_due = rescaled(d->last_due, now + d->delay, factor);
        d->idle_at = (double)rescaled((uint64_t)d->idle_at, now, factor);
    }
    new.police_time = police > 0 ? 8 * NS / police : 0;
    if (d->police_time > 0) /* what is missing in the bucket comes at the new rate */
        d->full_at = (double)rescaled((uint64_t)d->full_at, now, new.police_time / d->police_time);
    d->delay = new.delay;
    d->jitter = new.jitter;
    d->loss = loss >= 1 ? UINT64_MAX : (uint64_t)(loss * 0x1p64);
    d->queue = new.queue;
    d->byte_time = new.byte_time;
    d->police_time = new.police_time;
    d->burst = new.burst;
    d->reorder = new.reorder;
    d->cut = new.cut;
    return 1;
}

void stats(const struct direction *directions, char *words, size_t room)
{
    size_t used = 0;
    for (const struct direction *d = directions; d < directions + DIRECTIONS && used < room; d++) {
        used += (size_t)snprintf(words + used, room - used,
                                 "in=%" PRIu64 " in_bytes=%" PRIu64 " out=%" PRIu64 " out_bytes=%" PRIu64
                                 " in_flight=%zu longest_queue=%" PRIu64 " late_ns=%" PRIu64 " late_max_ns=%" PRIu64
                                 " late_1ms=%" PRIu64,
                                 d->in, d->in_bytes, d->out, d->out_bytes, d->count, d->longest, d->late, d->late_max,
                                 d->late_1ms);
        for (int fate = 0; fate < FATES && used < room; fate++)
            used += (size_t)snprintf(words + used, room - used, " %s=%" PRIu64, fates[fate], d->ended[fate]);
        if (used < room)
            used += (size_t)snprintf(words + used, room - used, "\n");
    }
}

