/*
 * A wire between two hosts: takes packets from two TUN devices, and hands each to the other one, later or never.
 *
 * Usage: wire TUN TUN CONTROL SEED, three descriptors and a number. The devices have IFF_NO_PI and IFF_VNET_HDR and no
 * segmentation offload, so that one read is one packet of the wire. What is said on CONTROL (a SOCK_SEQPACKET) is
 * answered there; the program ends when its other end is closed.
 *
 *   set DIRECTION DELAY JITTER LOSS RATE QUEUE POLICE BURST REORDER CUT
 *                ns, ns, a share, bit/s, bytes, bit/s, bytes, 0 or 1, 0 or 1; RATE or POLICE 0: no limit
 *   stats        one line of NAME=NUMBER for each direction
 *
 * Usage: wire SEED. The same wire without devices, on the clock of whoever asks: each line of the input is answered with
 * one line.
 *
 *   set ...      as above, with the time (ns) before it
 *   packet DIRECTION SIZE EARLY NOW
 *                a packet of so many bytes came at some time from EARLY to NOW (ns): when it is due, or what became of it
 *
 * Direction 0 goes from the first device to the second; see link.h for what happens in each.
 */
#define _GNU_SOURCE
#include "link.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
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

enum {
    BATCH = 64,
    BUSY = 10,        /* packets in a millisecond, in or out, from which on they are handled in groups ... */
    GROUP_NS = 100000 /* ... this far apart, as a network card does it: waking up for each would take a whole core */
};

static uint64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 * MS + (uint64_t)now.tv_nsec;
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
            d->ended[UNSTORED]++;
            continue;
        }
        uint64_t now = clock_ns();
        packet->size = (size_t)size;
        enter(d, packet, now - kept_away, now);
    }
    return taken;
}

/* Hand over what is due; return how many packets that were. */
static int deliver(struct direction *d, uint64_t now)
{
    int given = 0;
    for (; given < BATCH && next_due(d) <= now; given++) {
        uint64_t late = now - next_due(d);
        struct packet *packet = pop(d);
        if (d->cut)
            d->ended[SEVERED]++; /* it was still on the way */
        else if (write(d->to, packet->bytes, packet->size) < 0)
            d->ended[REFUSED]++;
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

/* Answer questions about packets that are only told of. */
static int simulate(struct direction *directions)
{
    char line[512];
    while (fgets(line, sizeof line, stdin)) {
        uint64_t early, now;
        unsigned which;
        int words = 0;
        struct packet *packet = allocate();
        if (!packet)
            return 1;
        if (sscanf(line, "packet %u %zu %" SCNu64 " %" SCNu64, &which, &packet->size, &early, &now) == 4 &&
            which < DIRECTIONS) {
            struct direction *d = &directions[which];
            packet->size += sizeof(struct virtio_net_hdr);
            while (next_due(d) <= now)
                release(pop(d));
            enum fate fate = enter(d, packet, early, now);
            if (fate != ON_THE_WIRE)
                puts(fates[fate]);
            else
                printf("%" PRIu64 "\n", d->last_due);
        } else {
            release(packet);
            int known = sscanf(line, "%" SCNu64 " %n", &now, &words) == 1 && set(directions, line + words, now);
            puts(known ? "ok" : "not understood");
        }
        fflush(stdout);
    }
    return 0;
}

int main(int argc, char **argv)
{
    static struct direction directions[DIRECTIONS];
    if (argc == 2) {
        begin(directions, strtoull(argv[1], NULL, 10), 0);
        return simulate(directions);
    }
    if (argc != 5)
        return fputs("usage: wire TUN TUN CONTROL SEED\n       wire SEED\n", stderr), 2;
    int tuns[DIRECTIONS] = {atoi(argv[1]), atoi(argv[2])}, control = atoi(argv[3]);
    uint64_t missed[DIRECTIONS] = {0}, window = clock_ns();
    int schedstat = open("/proc/self/schedstat", O_RDONLY | O_CLOEXEC), moved = 0, busy = 0;
    begin(directions, strtoull(argv[4], NULL, 10), window);
    for (int i = 0; i < DIRECTIONS; i++) {
        directions[i].from = tuns[i];
        directions[i].to = tuns[1 - i];
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
