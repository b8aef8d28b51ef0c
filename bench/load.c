/* A closed-loop load generator for answers of HTTP/1.1, streamed or not: one thread, epoll, loopback.
 *
 *     load -p PORT -u PATH -b BODY_FILE -c CONNECTIONS -n REQUESTS [-t SECONDS] [-r RAMP_MS]
 *          [-H 'name: value']... [-V] [-S]
 *
 * Each connection is kept alive and asks again as soon as its answer has ended. Ends after REQUESTS
 * answers or SECONDS, whichever is first, and prints one JSON object. An event is a blank line in the
 * de-framed body; its delay is the time since the stamp @T<CLOCK_MONOTONIC ns>@ in it. A body that
 * breaks off, a status that is not 200, or a body of another length (with -V: of another hash) than
 * the first one is counted. With -S every connection reads the head of its answer and then nothing
 * more for SECONDS: a stalled reader. SIGTERM ends it early; it prints what it has.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HEAD_MAX 16384
#define GRACE_S 20 /* for answers under way when the time is over */
#define FNV_OFFSET 1469598103934665603ull
#define FNV_PRIME 1099511628211ull

typedef struct {
    uint32_t *tenths_us;
    size_t count, size;
} samples;

enum phase { IDLE, IN_HEAD, IN_BODY, STALLED };
enum framing { SIZE_LINE, CHUNK, CHUNK_END, TRAILER };

typedef struct {
    int fd;
    enum phase phase;
    char head[HEAD_MAX];
    size_t head_length, sent;
    int status, is_chunked, closes_after;
    long long left; /* of a body with a length; -1: until the connection ends */
    enum framing framing;
    uint64_t chunk_left;
    char size_line[20];
    int size_line_length;
    uint64_t started_ns, first_byte_ns, bytes, hash;
    int ends_in_newline; /* the last byte seen was the end of a line */
    int stamp_state;     /* 0 outside, 1 after @, 2 in the digits */
    uint64_t stamp_ns;
} connection;

static struct {
    int port, connections, ramp_ms, is_hashing, is_stalling;
    long requests;
    double seconds;
    char path[1024], headers[8192];
} options = {.connections = 1, .requests = 1, .seconds = 60, .path = "/"};

static char *request;
static size_t request_length;
static struct sockaddr_in server;
static int poller;
static long issued, finished, broken, not_200, mismatched;
static int active, stalled;
static uint64_t events, bytes_total, first_hash, first_bytes, begun_ns, ended_ns;
static samples first_byte, whole, delay;
static char first_error[160];
static volatile sig_atomic_t is_told_to_end;

static void ask(connection *c);

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

/* --- samples ------------------------------------------------------------------------------ */

static void add_sample(samples *to, uint64_t ns)
{
    if (to->count == to->size) {
        to->size = to->size ? to->size * 2 : 65536;
        to->tenths_us = realloc(to->tenths_us, to->size * sizeof *to->tenths_us);
        if (!to->tenths_us) {
            fputs("load: out of memory\n", stderr);
            exit(1);
        }
    }
    to->tenths_us[to->count++] = ns / 100 > UINT32_MAX ? UINT32_MAX : (uint32_t)(ns / 100);
}

static int compare(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return a < b ? -1 : a > b;
}

static void print_samples(const char *name, samples *of)
{
    if (!of->count) {
        printf(",\"%s\":null", name);
        return;
    }
    qsort(of->tenths_us, of->count, sizeof *of->tenths_us, compare);
    static const struct {
        const char *name;
        double share;
    } marks[] = {{"p50", .5}, {"p90", .9}, {"p99", .99}, {"p999", .999}, {"max", 1}};
    printf(",\"%s\":{\"n\":%zu", name, of->count);
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
        size_t at = (size_t)((double)(of->count - 1) * marks[i].share);
        printf(",\"%s\":%.1f", marks[i].name, of->tenths_us[at] / 10.0);
    }
    printf("}");
}

/* --- one answer --------------------------------------------------------------------------- */

static void hang_up(connection *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

static void fail(connection *c, const char *what)
{
    if (!first_error[0])
        snprintf(first_error, sizeof first_error, "%s, status %d, errno %d", what, c->status, errno);
    broken++;
    active--;
    hang_up(c);
    c->phase = IDLE;
    ask(c);
}

static void end_answer(connection *c, uint64_t at_ns)
{
    active--;
    finished++;
    ended_ns = at_ns;
    bytes_total += c->bytes;
    if (c->status != 200) {
        not_200++;
        if (!first_error[0])
            snprintf(first_error, sizeof first_error, "status %d", c->status);
    }
    add_sample(&first_byte, (c->first_byte_ns ? c->first_byte_ns : at_ns) - c->started_ns);
    add_sample(&whole, at_ns - c->started_ns);
    if (finished == 1) {
        first_hash = c->hash;
        first_bytes = c->bytes;
    } else if (c->bytes != first_bytes || c->hash != first_hash) {
        mismatched++;
    }
    if (c->closes_after)
        hang_up(c);
    c->phase = IDLE;
    ask(c);
}

static void count_events(connection *c, const unsigned char *at, const unsigned char *end)
{
    while (at < end) {
        if (c->ends_in_newline && *at == '\n') {
            events++;
            c->ends_in_newline = 0;
            at++;
            continue;
        }
        c->ends_in_newline = 0;
        at = memchr(at, '\n', (size_t)(end - at));
        if (!at)
            return;
        c->ends_in_newline = 1;
        at++;
    }
}

static void read_stamps(connection *c, const unsigned char *at, const unsigned char *end,
                        uint64_t at_ns)
{
    while (at < end) {
        if (c->stamp_state == 0) {
            at = memchr(at, '@', (size_t)(end - at));
            if (!at)
                return;
            at++;
            c->stamp_state = 1;
            continue;
        }
        unsigned char byte = *at++;
        if (c->stamp_state == 1) {
            c->stamp_state = byte == 'T' ? 2 : byte == '@';
            c->stamp_ns = 0;
        } else if (byte >= '0' && byte <= '9') {
            c->stamp_ns = c->stamp_ns * 10 + (byte - '0');
        } else {
            if (byte == '@' && c->stamp_ns)
                add_sample(&delay, at_ns > c->stamp_ns ? at_ns - c->stamp_ns : 0);
            c->stamp_state = 0;
        }
    }
}

static void take_body(connection *c, const unsigned char *bytes, size_t length, uint64_t at_ns)
{
    if (!length)
        return;
    if (!c->first_byte_ns)
        c->first_byte_ns = at_ns;
    c->bytes += length;
    count_events(c, bytes, bytes + length);
    read_stamps(c, bytes, bytes + length, at_ns);
    if (options.is_hashing)
        for (size_t i = 0; i < length; i++)
            c->hash = (c->hash ^ bytes[i]) * FNV_PRIME;
}

/* Returns how many bytes belong to the head; phase IN_BODY says that it is whole. */
static size_t take_head(connection *c, const unsigned char *bytes, size_t length)
{
    size_t room = HEAD_MAX - 1 - c->head_length, old = c->head_length;
    size_t taken = length < room ? length : room;
    memcpy(c->head + old, bytes, taken);
    c->head_length += taken;
    c->head[c->head_length] = 0;
    char *end = strstr(c->head + (old > 3 ? old - 3 : 0), "\r\n\r\n");
    if (!end)
        return taken;
    taken = (size_t)(end + 4 - c->head) - old;
    *end = 0;
    c->status = c->head_length > 12 ? atoi(c->head + 9) : 0;
    if (c->status == 100) {
        c->head_length = 0;
        return taken;
    }
    char *declared = strcasestr(c->head, "\r\ncontent-length:");
    c->is_chunked = strcasestr(c->head, "\r\ntransfer-encoding: chunked") != NULL;
    c->left = declared ? atoll(declared + 17) : -1;
    c->closes_after = strcasestr(c->head, "\r\nconnection: close") || (!c->is_chunked && !declared);
    c->framing = SIZE_LINE;
    c->size_line_length = 0;
    c->phase = IN_BODY;
    return taken;
}

/* One step through chunked framing; returns the bytes taken, or 0 once the answer has ended. */
static size_t take_chunked(connection *c, const unsigned char *bytes, size_t length, uint64_t at_ns)
{
    if (c->framing == CHUNK) {
        size_t taken = length < c->chunk_left ? length : (size_t)c->chunk_left;
        take_body(c, bytes, taken, at_ns);
        c->chunk_left -= taken;
        if (!c->chunk_left)
            c->framing = CHUNK_END;
        return taken;
    }
    if (*bytes == '\n') {
        if (c->framing == SIZE_LINE) {
            c->size_line[c->size_line_length] = 0;
            c->chunk_left = strtoull(c->size_line, NULL, 16);
            c->framing = c->chunk_left ? CHUNK : TRAILER;
        } else if (c->framing == CHUNK_END) {
            c->framing = SIZE_LINE;
        } else if (!c->size_line_length) {
            return 0;
        }
        c->size_line_length = 0;
    } else if (*bytes != '\r' && c->size_line_length < (int)sizeof c->size_line - 1) {
        c->size_line[c->size_line_length++] = (char)*bytes;
    }
    return 1;
}

static void take(connection *c, const unsigned char *bytes, size_t length, uint64_t at_ns)
{
    while (length && c->phase != IDLE && c->phase != STALLED) {
        size_t taken;
        if (c->phase == IN_HEAD) {
            taken = take_head(c, bytes, length);
            if (c->phase == IN_BODY && options.is_stalling && c->status == 200) {
                c->phase = STALLED;
                stalled++;
                epoll_ctl(poller, EPOLL_CTL_DEL, c->fd, NULL);
                return;
            }
            if (c->phase == IN_BODY && !c->is_chunked && !c->left) {
                end_answer(c, at_ns);
                return;
            }
            if (c->phase == IN_HEAD && c->head_length >= HEAD_MAX - 1) {
                fail(c, "head too large");
                return;
            }
        } else if (c->is_chunked) {
            taken = take_chunked(c, bytes, length, at_ns);
            if (!taken) {
                end_answer(c, at_ns);
                return;
            }
        } else {
            taken = c->left >= 0 && (long long)length > c->left ? (size_t)c->left : length;
            take_body(c, bytes, taken, at_ns);
            if (c->left >= 0 && !(c->left -= (long long)taken)) {
                end_answer(c, at_ns);
                return;
            }
        }
        bytes += taken;
        length -= taken;
    }
}

/* --- connections -------------------------------------------------------------------------- */

static void dial(connection *c)
{
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    connect(c->fd, (struct sockaddr *)&server, sizeof server);
    struct epoll_event event = {EPOLLIN | EPOLLOUT | EPOLLET, {.ptr = c}};
    epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event);
}

static void push(connection *c)
{
    while (c->sent < request_length) {
        ssize_t n = send(c->fd, request + c->sent, request_length - c->sent, MSG_NOSIGNAL);
        if (n < 0)
            return;
        c->sent += (size_t)n;
    }
}

static void end_early(int signal_number)
{
    (void)signal_number;
    is_told_to_end = 1;
}

static int is_over(void)
{
    return (double)(now_ns() - begun_ns) > options.seconds * 1e9;
}

static void ask(connection *c)
{
    if (issued >= options.requests || is_over())
        return;
    issued++;
    active++;
    if (c->fd < 0)
        dial(c);
    c->phase = IN_HEAD;
    c->head_length = c->sent = 0;
    c->bytes = c->first_byte_ns = 0;
    c->status = c->ends_in_newline = c->stamp_state = 0;
    c->hash = FNV_OFFSET;
    c->started_ns = now_ns();
    push(c);
}

static void receive(connection *c)
{
    static unsigned char bytes[1 << 18];
    int fd = c->fd;
    while (c->fd == fd && c->phase != STALLED) {
        /* Of a stalled reader's body nothing more than this is ever taken. */
        ssize_t n = recv(fd, bytes, options.is_stalling ? 2048 : sizeof bytes, 0);
        if (n > 0) {
            take(c, bytes, (size_t)n, now_ns());
            continue;
        }
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (c->phase == IDLE) {
            hang_up(c);
        } else if (n == 0 && c->phase == IN_BODY && !c->is_chunked && c->left < 0) {
            hang_up(c);
            end_answer(c, now_ns());
        } else {
            fail(c, n ? "receive failed" : "the connection ended inside an answer");
        }
        return;
    }
}

static void run(connection *all)
{
    static struct epoll_event ready[1024];
    int started = 0;
    for (;;) {
        double elapsed_ms = (double)(now_ns() - begun_ns) / 1e6;
        while (started < options.connections &&
               (!options.ramp_ms ||
                elapsed_ms >= (double)options.ramp_ms * started / options.connections))
            ask(&all[started++]);
        if (options.is_stalling ? is_over() : started == options.connections && !active)
            return;
        if (is_told_to_end || elapsed_ms > (options.seconds + GRACE_S) * 1e3)
            return;
        int count = epoll_wait(poller, ready, 1024, started < options.connections ? 1 : 100);
        for (int i = 0; i < count; i++) {
            connection *c = ready[i].data.ptr;
            if (c->fd < 0)
                continue;
            if (c->phase != IDLE && (ready[i].events & EPOLLOUT))
                push(c);
            if (ready[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR | EPOLLRDHUP))
                receive(c);
        }
    }
}

/* --- the command -------------------------------------------------------------------------- */

static void make_request(const char *body_file)
{
    FILE *file = fopen(body_file, "rb");
    if (!file) {
        perror(body_file);
        exit(2);
    }
    fseek(file, 0, SEEK_END);
    size_t length = (size_t)ftell(file);
    rewind(file);
    request = malloc(length + sizeof options.headers + 2048);
    int head = sprintf(request,
                       "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: gateway-bench\r\n"
                       "Accept: */*\r\n%sContent-Type: application/json\r\n"
                       "Content-Length: %zu\r\n\r\n",
                       options.path, options.port, options.headers, length);
    if (fread(request + head, 1, length, file) != length) {
        perror(body_file);
        exit(2);
    }
    fclose(file);
    request_length = (size_t)head + length;
}

static const char *read_options(int count, char **words)
{
    const char *body_file = NULL;
    int option;
    while ((option = getopt(count, words, "p:u:b:c:n:t:r:H:VS")) != -1) {
        switch (option) {
        case 'p': options.port = atoi(optarg); break;
        case 'u': snprintf(options.path, sizeof options.path, "%s", optarg); break;
        case 'b': body_file = optarg; break;
        case 'c': options.connections = atoi(optarg); break;
        case 'n': options.requests = atol(optarg); break;
        case 't': options.seconds = atof(optarg); break;
        case 'r': options.ramp_ms = atoi(optarg); break;
        case 'H':
            if (strlen(options.headers) + strlen(optarg) + 3 > sizeof options.headers)
                return NULL;
            strcat(strcat(options.headers, optarg), "\r\n");
            break;
        case 'V': options.is_hashing = 1; break;
        case 'S': options.is_stalling = 1; break;
        default: return NULL;
        }
    }
    return options.port ? body_file : NULL;
}

int main(int count, char **words)
{
    const char *body_file = read_options(count, words);
    if (!body_file) {
        fputs("usage: load -p PORT -u PATH -b BODY_FILE -c CONNECTIONS -n REQUESTS [-t SECONDS]"
              " [-r RAMP_MS] [-H HEADER]... [-V] [-S]\n", stderr);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, end_early);
    make_request(body_file);
    server.sin_family = AF_INET;
    server.sin_port = htons((uint16_t)options.port);
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    poller = epoll_create1(0);
    connection *all = calloc((size_t)options.connections, sizeof *all);
    for (int i = 0; i < options.connections; i++)
        all[i].fd = -1;
    begun_ns = ended_ns = now_ns();
    run(all);
    double elapsed_s = (double)(ended_ns - begun_ns) / 1e9;
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    printf("{\"requests\":%ld,\"broken\":%ld,\"not_200\":%ld,\"mismatched\":%ld,\"unfinished\":%d,"
           "\"stalled\":%d,\"elapsed_s\":%.4f,\"events\":%llu,\"bytes\":%llu,\"body_bytes\":%llu,"
           "\"hash\":\"%016llx\",\"cpu_s\":%.4f",
           finished, broken, not_200, mismatched, active - stalled, stalled, elapsed_s,
           (unsigned long long)events, (unsigned long long)bytes_total,
           (unsigned long long)first_bytes, (unsigned long long)first_hash,
           (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
               (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
    print_samples("first_byte_us", &first_byte);
    print_samples("whole_us", &whole);
    print_samples("delay_us", &delay);
    printf(",\"error\":\"%s\"}\n", first_error);
    return 0;
}
