/* A model provider that costs nothing: one thread, epoll, HTTP/1.1, Anthropic's stream and JSON.
 *
 *     provider              binds 127.0.0.1 on a free port and prints it
 *
 * POST .../messages         an answer, streamed where the body says "stream":true
 * POST .../batch            what PostHog's collector says, whatever the body holds
 * GET anything              counts, as JSON
 *
 * A word in the first or last 4 KiB of the body (the model's name, or metadata.user_id) selects the
 * answer:  mock[-nEVENTS][-iINTERVAL_MS][-sTEXT_BYTES][-wEVENTS_PER_WRITE]
 *     n  text events between the head and the tail of the stream (6 more events)
 *     i  one event each so many milliseconds; 0: all at once
 *     s  bytes of text an event
 *     w  events a send(); 0: the whole answer in one
 * Each event is an HTTP chunk of its own. A paced event carries @T<CLOCK_MONOTONIC ns>@ in its text,
 * so that a client on the same machine can tell its delay. What a reader does not take stays in a
 * rendered answer that all connections share: a stalled reader costs the provider nothing.
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
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SELECTOR_REGION 4096
#define TEXT_MAX 65536
#define EVENT_MAX (TEXT_MAX + 1024)
#define SLOTS 8192 /* of the timer wheel, 1 ms each */
#define RENDERED_MAX 64
#define MODEL_MAX 80

typedef struct {
    int events, interval_ms, text_bytes, events_per_write;
    char model[MODEL_MAX];
} spec;

typedef struct {
    spec of;
    char *bytes;
    size_t length;
    size_t *ends; /* of each event's chunk, for writes of some events */
    size_t count;
} rendered;

typedef struct connection {
    int fd, waits_for_room, is_closed, is_paced, next_event;
    char *in;
    size_t in_length, in_size;
    char *out; /* what the socket did not take of a small answer or of a paced event */
    size_t out_length, out_sent, out_size;
    const rendered *answer; /* the shared answer that is being sent, or NULL */
    size_t answer_sent;
    spec of;
    uint64_t due_ns;
    int slot, is_timed;
    struct connection *previous, *next;
} connection;

static int poller;
static unsigned long long answers, batches, aborts;
static char filler[TEXT_MAX];
static rendered cache[RENDERED_MAX];
static int cached;
static connection *wheel[SLOTS];
static uint64_t wheel_ms;
static int timers;
static connection *closed[65536];
static int closed_count;

static const char STREAM_HEAD[] =
    "HTTP/1.1 200 OK\r\nDate: Wed, 25 Nov 2026 12:00:00 GMT\r\n"
    "Content-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n"
    "request-id: req_011CbenchBENCHbenchBENCH\r\n"
    "anthropic-ratelimit-requests-limit: 4000\r\n"
    "anthropic-ratelimit-requests-remaining: 3999\r\n"
    "anthropic-organization-id: 00000000-0000-4000-8000-000000000000\r\n"
    "Transfer-Encoding: chunked\r\n\r\n";
static const char JSON_HEAD[] =
    "HTTP/1.1 200 OK\r\nDate: Wed, 25 Nov 2026 12:00:00 GMT\r\n"
    "Content-Type: application/json\r\nrequest-id: req_011CbenchBENCHbenchBENCH\r\n"
    "anthropic-ratelimit-requests-limit: 4000\r\n"
    "anthropic-ratelimit-requests-remaining: 3999\r\n"
    "anthropic-organization-id: 00000000-0000-4000-8000-000000000000\r\n"
    "Content-Length: %d\r\n\r\n";

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static void *grow(void *memory, size_t size)
{
    void *grown = realloc(memory, size);
    if (!grown) {
        fputs("provider: out of memory\n", stderr);
        exit(1);
    }
    return grown;
}

/* --- timers ------------------------------------------------------------------------------- */

static void timer_set(connection *c)
{
    uint64_t at_ms = c->due_ns / 1000000;
    if (at_ms <= wheel_ms)
        at_ms = wheel_ms + 1;
    if (at_ms > wheel_ms + SLOTS - 2)
        at_ms = wheel_ms + SLOTS - 2;
    c->slot = (int)(at_ms % SLOTS);
    c->previous = NULL;
    c->next = wheel[c->slot];
    if (c->next)
        c->next->previous = c;
    wheel[c->slot] = c;
    c->is_timed = 1;
    timers++;
}

static void timer_clear(connection *c)
{
    if (!c->is_timed)
        return;
    if (c->previous)
        c->previous->next = c->next;
    else
        wheel[c->slot] = c->next;
    if (c->next)
        c->next->previous = c->previous;
    c->is_timed = 0;
    timers--;
}

/* --- writing ------------------------------------------------------------------------------ */

static void close_connection(connection *c)
{
    if (c->is_closed)
        return;
    if (c->is_paced || c->answer)
        aborts++;
    c->is_closed = 1;
    timer_clear(c);
    close(c->fd);
    if (closed_count < (int)(sizeof closed / sizeof *closed))
        closed[closed_count++] = c; /* freed after this round of events, which may name it */
}

static void wait_for_room(connection *c, int is_wanted)
{
    if (c->waits_for_room == is_wanted)
        return;
    struct epoll_event event = {EPOLLIN | (is_wanted ? EPOLLOUT : 0), {.ptr = c}};
    epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &event);
    c->waits_for_room = is_wanted;
}

/* Sends from `bytes`; returns what went, or -1 once the connection is closed. */
static ssize_t send_some(connection *c, const char *bytes, size_t length)
{
    size_t sent = 0;
    while (sent < length) {
        ssize_t n = send(c->fd, bytes + sent, length - sent, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno == EAGAIN || errno == EWOULDBLOCK)
                break;
            close_connection(c);
            return -1;
        }
        sent += (size_t)n;
    }
    return (ssize_t)sent;
}

static size_t write_end(const connection *c)
{
    const rendered *answer = c->answer;
    if (!c->of.events_per_write)
        return answer->length;
    size_t left = (size_t)c->of.events_per_write;
    for (size_t i = 0; i < answer->count; i++)
        if (answer->ends[i] > c->answer_sent && --left == 0)
            return answer->ends[i];
    return answer->length;
}

static void flush(connection *c)
{
    while (c->out_sent < c->out_length) {
        ssize_t n = send_some(c, c->out + c->out_sent, c->out_length - c->out_sent);
        if (n < 0)
            return;
        c->out_sent += (size_t)n;
        if (c->out_sent < c->out_length) {
            wait_for_room(c, 1);
            return;
        }
    }
    c->out_sent = c->out_length = 0;
    while (c->answer) {
        size_t end = write_end(c);
        ssize_t n = send_some(c, c->answer->bytes + c->answer_sent, end - c->answer_sent);
        if (n < 0)
            return;
        c->answer_sent += (size_t)n;
        if (c->answer_sent < end) {
            wait_for_room(c, 1);
            return;
        }
        if (c->answer_sent == c->answer->length)
            c->answer = NULL;
    }
    wait_for_room(c, 0);
}

static void queue(connection *c, const char *bytes, size_t length)
{
    if (c->out_length + length > c->out_size) {
        c->out_size = (c->out_length + length) * 2;
        c->out = grow(c->out, c->out_size);
    }
    memcpy(c->out + c->out_length, bytes, length);
    c->out_length += length;
}

/* --- events ------------------------------------------------------------------------------- */

static size_t chunk(char *to, const char *event, int length)
{
    int head = sprintf(to, "%x\r\n", (unsigned)length);
    memcpy(to + head, event, (size_t)length);
    memcpy(to + head + length, "\r\n", 2);
    return (size_t)(head + length + 2);
}

static int first_events(char *to, const spec *of, int which)
{
    static const char *START =
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"%s\","
        "\"id\":\"msg_01BENCHbenchBENCHbenchBE\",\"type\":\"message\",\"role\":\"assistant\","
        "\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{"
        "\"input_tokens\":1024,\"cache_creation_input_tokens\":128,"
        "\"cache_read_input_tokens\":4096,\"cache_creation\":{\"ephemeral_5m_input_tokens\":128,"
        "\"ephemeral_1h_input_tokens\":0},\"output_tokens\":1,\"service_tier\":\"standard\"}}}\n\n";
    if (which == 0)
        return sprintf(to, START, of->model);
    if (which == 1)
        return sprintf(to, "event: content_block_start\ndata: {\"type\":\"content_block_start\","
                           "\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n");
    return sprintf(to, "event: ping\ndata: {\"type\": \"ping\"}\n\n");
}

static int text_event(char *to, const spec *of, int index, uint64_t stamp_ns)
{
    char mark[32];
    int marked = stamp_ns ? sprintf(mark, "@T%016llu@", (unsigned long long)stamp_ns)
                          : sprintf(mark, "w%05d ", index % 100000);
    int rest = of->text_bytes - marked;
    return sprintf(to,
                   "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,"
                   "\"delta\":{\"type\":\"text_delta\",\"text\":\"%s%.*s\"}}\n\n",
                   mark, rest > 0 ? rest : 0, filler);
}

static int last_events(char *to, const spec *of, int which)
{
    if (which == 0)
        return sprintf(to, "event: content_block_stop\ndata: {\"type\":\"content_block_stop\","
                           "\"index\":0}\n\n");
    if (which == 1)
        return sprintf(to,
                       "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{"
                       "\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{"
                       "\"input_tokens\":1024,\"cache_creation_input_tokens\":128,"
                       "\"cache_read_input_tokens\":4096,\"output_tokens\":%d}}\n\n",
                       of->events);
    return sprintf(to, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
}

static void queue_three(connection *c, int (*event)(char *, const spec *, int))
{
    char plain[2048], framed[2100];
    for (int i = 0; i < 3; i++)
        queue(c, framed, chunk(framed, plain, event(plain, &c->of, i)));
}

static const rendered *render(const spec *of)
{
    for (int i = 0; i < cached; i++)
        if (!memcmp(&cache[i].of, of, sizeof *of))
            return &cache[i];
    if (cached == RENDERED_MAX) {
        fputs("provider: too many kinds of answers\n", stderr);
        exit(1);
    }
    static char event[EVENT_MAX];
    rendered *r = &cache[cached++];
    r->of = *of;
    r->bytes = grow(NULL, 4096 + ((size_t)of->events + 6) * ((size_t)of->text_bytes + 512));
    r->ends = grow(NULL, ((size_t)of->events + 6) * sizeof *r->ends);
    r->length = sizeof STREAM_HEAD - 1;
    memcpy(r->bytes, STREAM_HEAD, r->length);
    for (int i = 0; i < of->events + 6; i++) {
        int length = i < 3 ? first_events(event, of, i)
                     : i < of->events + 3 ? text_event(event, of, i - 3, 0)
                                          : last_events(event, of, i - of->events - 3);
        r->length += chunk(r->bytes + r->length, event, length);
        r->ends[r->count++] = r->length;
    }
    memcpy(r->bytes + r->length, "0\r\n\r\n", 5);
    r->length += 5;
    r->ends[r->count - 1] = r->length;
    return r;
}

/* --- answering ---------------------------------------------------------------------------- */

static void queue_json(connection *c, const char *document, int length)
{
    char head[1024];
    queue(c, head, (size_t)sprintf(head, JSON_HEAD, length));
    queue(c, document, (size_t)length);
    flush(c);
}

static int parameter(const char *word, char letter, int otherwise)
{
    for (const char *p = word; (p = strchr(p, '-')); p++)
        if (p[1] == letter && p[2] >= '0' && p[2] <= '9')
            return atoi(p + 2);
    return otherwise;
}

/* The first or last 4 KiB of a body: a prompt of 10 MB is not searched. */
static const char *find_near_ends(const char *body, size_t length, const char *word)
{
    size_t region = length < SELECTOR_REGION ? length : SELECTOR_REGION;
    const char *found = memmem(body + length - region, region, word, strlen(word));
    return found ? found : memmem(body, region, word, strlen(word));
}

static void copy_string(char *to, const char *from, const char *end)
{
    size_t length = 0;
    while (from + length < end && from[length] != '"' && length < MODEL_MAX - 1)
        length++;
    memcpy(to, from, length);
    to[length] = 0;
}

static spec spec_of(const char *body, size_t length)
{
    char word[MODEL_MAX] = "mock";
    spec of;
    memset(&of, 0, sizeof of); /* compared as bytes */
    const char *found = find_near_ends(body, length, "\"mock");
    if (found)
        copy_string(word, found + 1, body + length);
    const char *model = find_near_ends(body, length, "\"model\":\"");
    copy_string(of.model, model ? model + 9 : word, model ? body + length : word + strlen(word));
    of.events = parameter(word, 'n', 100);
    of.interval_ms = parameter(word, 'i', 0);
    of.text_bytes = parameter(word, 's', 24);
    of.events_per_write = parameter(word, 'w', 0);
    if (of.text_bytes > TEXT_MAX)
        of.text_bytes = TEXT_MAX;
    return of;
}

static void answer_message(connection *c, const char *body, size_t length)
{
    answers++;
    c->of = spec_of(body, length);
    if (!find_near_ends(body, length, "\"stream\":true")) {
        static char document[EVENT_MAX];
        int n = sprintf(document,
                        "{\"id\":\"msg_01BENCHbenchBENCHbenchBE\",\"type\":\"message\",\"role\":"
                        "\"assistant\",\"model\":\"%s\",\"content\":[{\"type\":\"text\",\"text\":"
                        "\"%.*s\"}],\"stop_reason\":\"end_turn\",\"stop_sequence\":null,\"usage\":{"
                        "\"input_tokens\":1024,\"cache_creation_input_tokens\":128,"
                        "\"cache_read_input_tokens\":4096,\"cache_creation\":{"
                        "\"ephemeral_5m_input_tokens\":128,\"ephemeral_1h_input_tokens\":0},"
                        "\"output_tokens\":%d,\"service_tier\":\"standard\"}}",
                        c->of.model, c->of.text_bytes, filler, c->of.events);
        queue_json(c, document, n);
        return;
    }
    if (!c->of.interval_ms) {
        c->answer = render(&c->of);
        c->answer_sent = 0;
        flush(c);
        return;
    }
    c->is_paced = 1;
    c->next_event = 0;
    queue(c, STREAM_HEAD, sizeof STREAM_HEAD - 1);
    queue_three(c, first_events);
    flush(c);
    c->due_ns = now_ns() + (uint64_t)c->of.interval_ms * 1000000ull;
    if (!c->is_closed)
        timer_set(c);
}

static void answer(connection *c, const char *head, size_t head_length, const char *body,
                   size_t length)
{
    const char *line_end = memchr(head, '\r', head_length);
    size_t line = line_end ? (size_t)(line_end - head) : head_length;
    if (!strncmp(head, "GET ", 4)) {
        char document[160];
        int n = sprintf(document, "{\"answers\":%llu,\"batches\":%llu,\"aborts\":%llu}", answers,
                        batches, aborts);
        queue_json(c, document, n);
    } else if (memmem(head, line, "/batch", 6)) {
        batches++;
        queue_json(c, "{\"status\":\"Ok\"}", 15);
    } else {
        answer_message(c, body, length);
    }
}

static void tick(void)
{
    static char plain[EVENT_MAX], framed[EVENT_MAX + 64];
    uint64_t until_ms = now_ns() / 1000000;
    while (wheel_ms < until_ms) {
        wheel_ms++;
        connection *c = wheel[wheel_ms % SLOTS], *next;
        wheel[wheel_ms % SLOTS] = NULL;
        for (; c; c = next) {
            next = c->next;
            c->is_timed = 0;
            timers--;
            if (c->due_ns / 1000000 > wheel_ms) {
                timer_set(c); /* more than one turn of the wheel away */
                continue;
            }
            int n = text_event(plain, &c->of, c->next_event, now_ns());
            queue(c, framed, chunk(framed, plain, n));
            c->next_event++;
            if (c->next_event == c->of.events) {
                queue_three(c, last_events);
                queue(c, "0\r\n\r\n", 5);
                c->is_paced = 0;
                flush(c);
            } else {
                flush(c);
                c->due_ns += (uint64_t)c->of.interval_ms * 1000000ull;
                if (!c->is_closed)
                    timer_set(c);
            }
        }
    }
}

/* --- reading ------------------------------------------------------------------------------ */

static const char *header(const char *head, size_t length, const char *name)
{
    size_t name_length = strlen(name);
    const char *end = head + length, *line = head;
    while ((line = memchr(line, '\n', (size_t)(end - line))) && ++line + name_length < end)
        if (!strncasecmp(line, name, name_length))
            return line + name_length;
    return NULL;
}

/* Length of a chunked body's framing, its bytes moved together at the front; 0: not all is here. */
static size_t unchunk(char *body, size_t length, size_t *plain_length)
{
    /* A first walk only looks, since bytes may not move before all are there. */
    for (int moves = 0; moves < 2; moves++) {
        size_t at = 0, to = 0;
        for (;;) {
            char *line_end = memchr(body + at, '\n', length - at);
            if (!line_end)
                return 0;
            size_t size = strtoul(body + at, NULL, 16);
            at = (size_t)(line_end - body) + 1;
            if (at + size + 2 > length)
                return 0;
            if (moves)
                memmove(body + to, body + at, size);
            to += size;
            at += size + 2;
            if (!size)
                break;
        }
        *plain_length = to;
        if (moves)
            return at;
    }
    return 0;
}

static void read_requests(connection *c)
{
    while (!c->is_closed && !c->is_paced && !c->answer) {
        char *head_end = memmem(c->in, c->in_length, "\r\n\r\n", 4);
        if (!head_end)
            return;
        size_t head = (size_t)(head_end - c->in) + 4, total, plain;
        const char *length = header(c->in, head, "content-length:");
        if (header(c->in, head, "transfer-encoding:")) {
            size_t framed = unchunk(c->in + head, c->in_length - head, &plain);
            if (!framed)
                return;
            total = head + framed;
        } else {
            plain = length ? strtoul(length, NULL, 10) : 0;
            total = head + plain;
            if (c->in_length < total) {
                if (c->in_size < total) {
                    c->in_size = total;
                    c->in = grow(c->in, c->in_size);
                }
                if (c->in_length == head && header(c->in, head, "expect:")) {
                    queue(c, "HTTP/1.1 100 Continue\r\n\r\n", 25);
                    flush(c);
                }
                return;
            }
        }
        answer(c, c->in, head, c->in + head, plain);
        memmove(c->in, c->in + total, c->in_length - total);
        c->in_length -= total;
    }
}

static void receive(connection *c)
{
    for (;;) {
        if (c->in_size - c->in_length < 65536) {
            c->in_size = c->in_size ? c->in_size * 2 : 131072;
            c->in = grow(c->in, c->in_size);
        }
        size_t room = c->in_size - c->in_length;
        ssize_t n = recv(c->fd, c->in + c->in_length, room, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK)) {
            close_connection(c);
            return;
        }
        if (n < 0)
            return;
        c->in_length += (size_t)n;
        read_requests(c);
        if (c->is_closed || (size_t)n < room)
            return;
    }
}

static void accept_all(int listener)
{
    int one = 1, fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        connection *c = calloc(1, sizeof *c);
        c->fd = fd;
        struct epoll_event event = {EPOLLIN, {.ptr = c}};
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
    }
}

static int listen_on_free_port(void)
{
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 16384)) {
        perror("provider: listen");
        exit(1);
    }
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

int main(void)
{
    static struct epoll_event events[512];
    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < sizeof filler; i++)
        filler[i] = i % 6 == 5 ? ' ' : 'x';
    int listener = listen_on_free_port();
    poller = epoll_create1(0);
    struct epoll_event listening = {EPOLLIN, {.ptr = NULL}};
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &listening);
    wheel_ms = now_ns() / 1000000;
    for (;;) {
        int count = epoll_wait(poller, events, 512, timers ? 1 : 1000);
        for (int i = 0; i < count; i++) {
            connection *c = events[i].data.ptr;
            if (!c) {
                accept_all(listener);
                continue;
            }
            if (!c->is_closed && (events[i].events & EPOLLOUT)) {
                flush(c);
                read_requests(c);
            }
            if (!c->is_closed && (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
                receive(c);
        }
        if (timers)
            tick();
        else
            wheel_ms = now_ns() / 1000000;
        for (int i = 0; i < closed_count; i++) {
            free(closed[i]->in);
            free(closed[i]->out);
            free(closed[i]);
        }
        closed_count = 0;
    }
}
