/*
 * A wire between two hosts: takes packets from two TUN devices, and hands each to the other one, later or never.
 *
 * Usage: wire TUN TUN CONTROL SEED, three descriptors and a number. The devices have IFF_NO_PI and IFF_VNET_HDR and no
 * segmentation offload, so that one read is one packet of the wire. What is said on CONTROL (a SOCK_SEQPACKET) is
 * answered there; the program ends when its other end is closed.
 *
 *   set DIRECTION DELAY JITTER LOSS RATE QUEUE REORDER CUT    ns, ns, a share, bit/s, bytes; RATE 0: no limit
 *   stats                                                     one line of NAME=NUMBER for each direction
 *
 * Direction 0 goes from the first device to the second. In each of them:
 *
 *   drop-tail queue (bytes) -> serializer (rate) -> loss -> delay, jitter
 *
 * A packet that was let into the queue takes its time on the wire even if it is lost there. Loss and jitter have
 * generators of their own, which every packet draws from: which ones are lost depends on the seed and on their number.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <linux/virtio_net.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <fcntl.h>

enum {
    DIRECTIONS = 2,
    PACKET_MAX = 2000,
    PACKETS_MAX = 1 << 17, /* on the wire at once, in both directions: 256 MiB */
    BATCH = 64,
    BUSY = 10,        /* packets in a millisecond, in or out, from which on they are handled in groups ... */
    GROUP_NS = 100000 /* ... this far apart, as a network card does it: waking up for each would take a whole core */
};
static const double NS = 1e9;
#define MS UINT64_C(1000000)
#define NEVER UINT64_MAX

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
    uint64_t delay, jitter, queue, loss; /* the last one compares with a random 64-bit number */
    double byte_time;
    int reorder, cut;
    /* what it is like now */
    double idle_at; /* when the serializer is */
    uint64_t last_due, number, loss_state, jitter_state;
    struct waiting *heap;
    size_t count, room;
    /* what it did */
    uint64_t in, in_bytes, out, out_bytes, lost, overflowed, severed, unstored, refused, longest, late, late_max, late_1ms;
};

static struct packet *spare;
static size_t packets;

static uint64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 * MS + (uint64_t)now.tv_nsec;
}

/* SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014) */
static uint64_t draw(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static struct packet *allocate(void)
{
    struct packet *packet = spare;
    if (packet)
        spare = packet->next;
    else if (packets < PACKETS_MAX && (packet = malloc(sizeof *packet)))
        packets++;
    return packet;
}

static void release(struct packet *packet)
{
    packet->next = spare;
    spare = packet;
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

static struct packet *pop(struct direction *d)
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

/* The packet came at some time from `early` to `now`. They differ only when this program was kept from a CPU: its own
 * hiccup is not to look like a burst that overflows the queue. Returns whether the packet is on the wire. */
static int enter(struct direction *d, struct packet *packet, uint64_t early, uint64_t now)
{
    size_t size = packet->size - sizeof(struct virtio_net_hdr);
    int lost = draw(&d->loss_state) < d->loss;
    uint64_t jitter = draw(&d->jitter_state) % (2 * d->jitter + 1), due = now;
    d->in++;
    d->in_bytes += size;
    if (d->cut)
        return d->severed++, 0;
    if (d->byte_time > 0) {
        double start = d->idle_at > (double)early ? d->idle_at : (double)early;
        double queued = (start > (double)now ? (start - (double)now) / d->byte_time : 0) + (double)size;
        if (d->queue && queued > (double)d->queue)
            return d->overflowed++, 0;
        if (queued > (double)d->longest)
            d->longest = (uint64_t)queued;
        d->idle_at = start + (double)size * d->byte_time;
        due = (uint64_t)d->idle_at;
    }
    if (lost)
        return d->lost++, 0;
    due += d->delay + jitter;
    due = due > early + d->jitter ? due - d->jitter : early;
    if (!d->reorder && due < d->last_due)
        due = d->last_due;
    d->last_due = due;
    if (!push(d, (struct waiting){due, d->number++, packet}))
        return d->unstored++, 0;
    return 1;
}

/* Read what there is; return how many packets that were. */
static int collect(struct direction *d, uint64_t kept_away)
{
    int taken = 0;
    while (taken < BATCH) {
        static uint8_t waste[PACKET_MAX];
        struct packet *packet = allocate();
        ssize_t size = packet ? read(d->from, packet->bytes, sizeof packet->bytes) : read(d->from, waste, sizeof waste);
        if (size <= (ssize_t)sizeof(struct virtio_net_hdr)) {
            if (packet)
                release(packet);
            break;
        }
        taken++;
        if (!packet) {
            d->unstored++;
            continue;
        }
        uint64_t now = clock_ns();
        packet->size = (size_t)size;
        if (!enter(d, packet, now - kept_away, now))
            release(packet);
    }
    return taken;
}

static uint64_t next_due(const struct direction *d)
{
    return d->count ? d->heap[0].due : NEVER;
}

/* Hand over what is due; return how many packets that were. */
static int deliver(struct direction *d, uint64_t now)
{
    int given = 0;
    for (; given < BATCH && next_due(d) <= now; given++) {
        uint64_t late = now - next_due(d);
        struct packet *packet = pop(d);
        if (d->cut)
            d->severed++; /* it was still on the way */
        else if (write(d->to, packet->bytes, packet->size) < 0)
            d->refused++;
        else {
            d->out++;
            d->out_bytes += packet->size - sizeof(struct virtio_net_hdr);
            d->late += late;
            d->late_1ms += late > MS;
            if (late > d->late_max)
                d->late_max = late;
        }
        release(packet);
    }
    return given;
}

static uint64_t rescaled(uint64_t due, uint64_t from, double factor)
{
    return due > from ? from + (uint64_t)((double)(due - from) * factor) : due;
}

static int set(struct direction *directions, const char *words, uint64_t now)
{
    unsigned which;
    struct direction new = {0};
    double loss, rate;
    if (sscanf(words, "set %u %" SCNu64 " %" SCNu64 " %lf %lf %" SCNu64 " %d %d", &which, &new.delay, &new.jitter, &loss,
               &rate, &new.queue, &new.reorder, &new.cut) != 8 || which >= DIRECTIONS)
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
    d->delay = new.delay;
    d->jitter = new.jitter;
    d->loss = loss >= 1 ? UINT64_MAX : (uint64_t)(loss * 0x1p64);
    d->queue = new.queue;
    d->byte_time = new.byte_time;
    d->reorder = new.reorder;
    d->cut = new.cut;
    return 1;
}

static void stats(const struct direction *directions, char *words, size_t room)
{
    size_t used = 0;
    for (const struct direction *d = directions; d < directions + DIRECTIONS && used < room; d++)
        used += (size_t)snprintf(
            words + used, room - used,
            "in=%" PRIu64 " in_bytes=%" PRIu64 " out=%" PRIu64 " out_bytes=%" PRIu64 " lost=%" PRIu64 " overflowed=%" PRIu64
            " severed=%" PRIu64 " unstored=%" PRIu64 " refused=%" PRIu64 " in_flight=%zu longest_queue=%" PRIu64
            " late_ns=%" PRIu64 " late_max_ns=%" PRIu64 " late_1ms=%" PRIu64 "\n",
            d->in, d->in_bytes, d->out, d->out_bytes, d->lost, d->overflowed, d->severed, d->unstored, d->refused, d->count,
            d->longest, d->late, d->late_max, d->late_1ms);
}

/* Answer one request; return whether there is still somebody to ask. */
static int answer(int control, struct direction *directions)
{
    char words[2048];
    ssize_t size = recv(control, words, sizeof words - 1, MSG_DONTWAIT);
    if (size <= 0)
        return size < 0 && (errno == EAGAIN || errno == EINTR);
    words[size] = 0;
    if (!strcmp(words, "stats"))
        stats(directions, words, sizeof words);
    else
        strcpy(words, set(directions, words, clock_ns()) ? "ok" : "not understood");
    return send(control, words, strlen(words), MSG_NOSIGNAL) >= 0;
}

/* How long this process could have run and did not, ns; 0 where the kernel does not tell. */
static uint64_t starved(int schedstat)
{
    char line[96];
    unsigned long long waited = 0;
    ssize_t size = pread(schedstat, line, sizeof line - 1, 0);
    if (size > 0) {
        line[size] = 0;
        if (sscanf(line, "%*u %llu", &waited) != 1)
            waited = 0;
    }
    return waited;
}

/* Go before everything else: who is late tells lies about the network. A deadline comes first, as the kernel takes a
 * real-time process off its CPU for 50 ms in a second when others wait. */
static void take_precedence(void)
{
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
    } deadline = {.size = 48, .policy = SCHED_DEADLINE, .runtime = 800000, .deadline = MS, .period = MS};
    struct sched_param first = {.sched_priority = 1};
    if (syscall(SYS_sched_setattr, 0, &deadline, 0) && sched_setscheduler(0, SCHED_FIFO, &first) &&
        setpriority(PRIO_PROCESS, 0, -15))
        fputs("wire: nothing lets this go before others; packets will be late\n", stderr);
    prctl(PR_SET_TIMERSLACK, 1);
}

int main(int argc, char **argv)
{
    if (argc != 5)
        return fputs("usage: wire TUN TUN CONTROL SEED\n", stderr), 2;
    int tuns[DIRECTIONS] = {atoi(argv[1]), atoi(argv[2])}, control = atoi(argv[3]);
    uint64_t seed = strtoull(argv[4], NULL, 10), missed[DIRECTIONS] = {0}, window = clock_ns();
    int schedstat = open("/proc/self/schedstat", O_RDONLY | O_CLOEXEC), moved = 0, busy = 0;
    static struct direction directions[DIRECTIONS];
    for (int i = 0; i < DIRECTIONS; i++) {
        directions[i].from = tuns[i];
        directions[i].to = tuns[1 - i];
        directions[i].loss_state = draw(&seed);
        directions[i].jitter_state = draw(&seed);
    }
    take_precedence();
    uint64_t starved_before = starved(schedstat);
    struct pollfd polled[] = {
        {.fd = tuns[0], .events = POLLIN}, {.fd = tuns[1], .events = POLLIN}, {.fd = control, .events = POLLIN}};
    for (;;) {
        uint64_t starved_now = starved(schedstat), now = clock_ns(), due = NEVER;
        int more = 0;
        for (int i = 0; i < DIRECTIONS; i++) {
            missed[i] += starved_now - starved_before;
            moved += deliver(&directions[i], now);
        }
        starved_before = starved_now;
        for (int i = 0; i < DIRECTIONS; i++) {
            int taken = collect(&directions[i], missed[i]);
            moved += taken;
            more |= taken == BATCH;
            if (taken < BATCH)
                missed[i] = 0; /* whatever comes now came now */
            if (next_due(&directions[i]) < due)
                due = next_due(&directions[i]);
        }
        now = clock_ns();
        if (now - window >= MS) {
            busy = (uint64_t)moved * MS >= BUSY * (now - window);
            window = now;
            moved = 0;
        }
        struct timespec wait = {0}, group = {.tv_nsec = GROUP_NS};
        if (busy && !more)
            clock_nanosleep(CLOCK_MONOTONIC, 0, &group, NULL);
        else if (!more && due > now) {
            wait.tv_sec = (time_t)((due - now) / (1000 * MS));
            wait.tv_nsec = (long)((due - now) % (1000 * MS));
        }
        int forever = !busy && !more && due == NEVER;
        if (ppoll(polled, DIRECTIONS + 1, forever ? NULL : &wait, NULL) < 0 && errno != EINTR)
            return perror("wire: ppoll"), 1;
        if (polled[DIRECTIONS].revents && !answer(control, directions))
            return 0;
        for (int i = 0; i < DIRECTIONS; i++)
            if (polled[i].revents & (POLLERR | POLLNVAL))
                return fputs("wire: a device is gone\n", stderr), 1;
    }
}
