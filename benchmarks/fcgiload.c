/*
 * Copyright (c) the twisted_fastcgi authors.
 * See LICENSE for details.
 *
 * Loads a FastCGI application, or an HTTP server with the same requests, over
 * any number of connections, checks every response, and prints what it took as
 * one line of JSON.
 *
 * The first thing that is wrong with a response ends it: figures of a server
 * that fails mean nothing.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* FastCGI 1.0, section 8 */
enum { VERSION = 1, RESPONDER = 1, KEEP_CONN = 1, REQUEST_ID = 1 };
enum { BEGIN_REQUEST = 1, END_REQUEST = 3, PARAMS, STDIN, STDOUT, STDERR };

enum {
    RECORD_HEADER = 8,
    MAX_HEAD = 16384,      /* bytes of a response's header block */
    MAX_PIDS = 64,
    MAX_PARTS = 3,
    WHOLE_BODY = 1 << 20,  /* up to here, a body is sent with its request */
    BLOCK = 256 << 10,     /* larger ones are sent in such pieces */
    SLOWEST = 5000000,     /* microseconds */
    PATIENCE = 20,         /* seconds without any response */
};

static const double NANO = 1e-9;

static struct {
    const char *address;
    const char *path;
    const char *script;   /* SCRIPT_FILENAME */
    const char *text;     /* what every response's body must be */
    int64_t length;       /* how long it must be; -1: any length */
    uint64_t upload;      /* bytes of each request's body */
    uint64_t requests;    /* stop after so many; 0: look at the time */
    double seconds;
    double warmup;
    unsigned connections;
    unsigned pipeline;    /* requests sent at a time on a connection */
    size_t recordSize;    /* the most content of a PARAMS or STDIN record */
    size_t sendSize;      /* the most bytes at a time; 0: no limit */
    size_t extraParams;   /* bytes of further params */
    size_t paramSize;     /* bytes of each of those */
    pid_t pids[MAX_PIDS]; /* whose CPU time to tell */
    unsigned pidCount;
    bool http;
    bool oneShot;
    bool spin;
} opt = {
    .path = "/",
    .script = "/var/www/html/index.html",
    .length = -1,
    .seconds = 2,
    .warmup = 0.5,
    .connections = 8,
    .pipeline = 1,
    .recordSize = 65528,
    .paramSize = 1000,
};

static _Noreturn void fail(const char *format, ...)
    __attribute__((format(printf, 1, 2)));

static void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("fcgiload: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

static size_t smaller(uint64_t a, uint64_t b)
{
    return (size_t)(a < b ? a : b);
}

static double seconds(clockid_t clock)
{
    struct timespec now;
    if (clock_gettime(clock, &now) < 0)
        fail("a process whose CPU time was asked for is gone");
    return (double)now.tv_sec + NANO * (double)now.tv_nsec;
}

/* Making the request */

struct buffer {
    char *data;
    size_t size, room;
};

static void add(struct buffer *buffer, const void *data, size_t size)
{
    if (buffer->size + size > buffer->room) {
        buffer->room = 2 * (buffer->size + size);
        buffer->data = realloc(buffer->data, buffer->room);
        if (!buffer->data)
            fail("out of memory");
    }
    if (size)
        memcpy(buffer->data + buffer->size, data, size);
    buffer->size += size;
}

static void addText(struct buffer *buffer, const char *text)
{
    add(buffer, text, strlen(text));
}

static void addLength(struct buffer *buffer, size_t length)
{
    const unsigned char bytes[4] = {
        (unsigned char)(0x80 | length >> 24), (unsigned char)(length >> 16),
        (unsigned char)(length >> 8), (unsigned char)length,
    };
    if (length < 0x80)
        add(buffer, bytes + 3, 1);
    else
        add(buffer, bytes, 4);
}

static void addPair(struct buffer *buffer, const char *name, const char *value)
{
    addLength(buffer, strlen(name));
    addLength(buffer, strlen(value));
    addText(buffer, name);
    addText(buffer, value);
}

static void addRecord(
    struct buffer *buffer, int type, const void *content, size_t size)
{
    const unsigned char padding = (unsigned char)(-size & 7);
    const unsigned char header[RECORD_HEADER] = {
        VERSION, (unsigned char)type, 0, REQUEST_ID,
        (unsigned char)(size >> 8), (unsigned char)size,
        opt.recordSize < 8 ? 0 : padding, 0,
    };
    add(buffer, header, sizeof header);
    add(buffer, content, size);
    add(buffer, "\0\0\0\0\0\0\0", header[6]);
}

static void addStream(
    struct buffer *buffer, int type, const char *content, size_t size)
{
    while (size) {
        size_t piece = smaller(size, opt.recordSize);
        addRecord(buffer, type, content, piece);
        content += piece;
        size -= piece;
    }
}

/* What a browser sends, by the names that it has in FastCGI and in HTTP. */
static const struct field {
    const char *variable, *name, *value;
} fields[] = {
    {"HTTP_HOST", "Host", "www.example.com"},
    {"HTTP_USER_AGENT", "User-Agent",
     "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"},
    {"HTTP_ACCEPT", "Accept",
     "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"},
    {"HTTP_ACCEPT_LANGUAGE", "Accept-Language", "en-US,en;q=0.5"},
    {"HTTP_ACCEPT_ENCODING", "Accept-Encoding", "gzip, deflate, br, zstd"},
    {"HTTP_COOKIE", "Cookie",
     "session=3d4c1f0a9be7448c8b1d7d0f6a52e9c1; theme=dark"},
    {"HTTP_UPGRADE_INSECURE_REQUESTS", "Upgrade-Insecure-Requests", "1"},
    {"HTTP_SEC_FETCH_DEST", "Sec-Fetch-Dest", "document"},
    {"HTTP_SEC_FETCH_MODE", "Sec-Fetch-Mode", "navigate"},
};

enum { FIELDS = sizeof fields / sizeof *fields };

static const char *method(void)
{
    return opt.upload ? "POST" : "GET";
}

static const char *contentLength(void)
{
    static char digits[24];
    snprintf(digits, sizeof digits, "%" PRIu64, opt.upload);
    return digits;
}

static void addExtraParams(struct buffer *params)
{
    char name[16], *value = malloc(opt.paramSize + 1);
    if (!value)
        fail("out of memory");
    for (size_t done = 0; done < opt.extraParams; done += opt.paramSize) {
        size_t size = smaller(opt.paramSize, opt.extraParams - done);
        snprintf(name, sizeof name, "X%06zu", done / opt.paramSize % 1000000);
        size_t used = strlen(name) + (size < 0x80 ? 2 : 5);
        memset(value, 'v', size);
        value[size > used ? size - used : 0] = 0;
        addPair(params, name, value);
    }
    free(value);
}

/* The variables in nginx's fastcgi_params, and SCRIPT_FILENAME for PHP. */
static void addParams(struct buffer *params)
{
    const char *const variables[][2] = {
        {"QUERY_STRING", ""},
        {"REQUEST_METHOD", method()},
        {"CONTENT_TYPE", opt.upload ? "application/octet-stream" : ""},
        {"CONTENT_LENGTH", opt.upload ? contentLength() : ""},
        {"SCRIPT_FILENAME", opt.script},
        {"SCRIPT_NAME", opt.path},
        {"REQUEST_URI", opt.path},
        {"DOCUMENT_URI", opt.path},
        {"DOCUMENT_ROOT", "/var/www/html"},
        {"SERVER_PROTOCOL", "HTTP/1.1"},
        {"REQUEST_SCHEME", "http"},
        {"GATEWAY_INTERFACE", "CGI/1.1"},
        {"SERVER_SOFTWARE", "nginx/1.22.1"},
        {"REMOTE_ADDR", "192.0.2.77"},
        {"REMOTE_PORT", "53124"},
        {"SERVER_ADDR", "192.0.2.10"},
        {"SERVER_PORT", "80"},
        {"SERVER_NAME", "www.example.com"},
        {"REDIRECT_STATUS", "200"},
    };
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++)
        addPair(params, variables[i][0], variables[i][1]);
    for (size_t i = 0; i < FIELDS; i++)
        addPair(params, fields[i].variable, fields[i].value);
    addExtraParams(params);
}

static void addFastCGIHead(struct buffer *head)
{
    const unsigned char begin[8] = {0, RESPONDER, opt.oneShot ? 0 : KEEP_CONN};
    struct buffer params = {0};
    addParams(&params);
    addRecord(head, BEGIN_REQUEST, begin, sizeof begin);
    addStream(head, PARAMS, params.data, params.size);
    addRecord(head, PARAMS, NULL, 0);
    free(params.data);
}

static void addHTTPHead(struct buffer *head)
{
    addText(head, method());
    addText(head, " ");
    addText(head, opt.path);
    addText(head, " HTTP/1.1\r\n");
    for (size_t i = 0; i < FIELDS; i++) {
        addText(head, fields[i].name);
        addText(head, ": ");
        addText(head, fields[i].value);
        addText(head, "\r\n");
    }
    if (opt.upload) {
        addText(head, "Content-Type: application/octet-stream\r\nContent-Length: ");
        addText(head, contentLength());
        addText(head, "\r\n");
    }
    addText(head, opt.oneShot ? "Connection: close\r\n\r\n" : "\r\n");
}

static void addBody(struct buffer *buffer, const char *body, size_t size)
{
    if (opt.http)
        add(buffer, body, size);
    else
        addStream(buffer, STDIN, body, size);
}

/* What is sent for each request: pieces, each of them so many times. */
static struct part {
    struct buffer bytes;
    uint64_t times;
} parts[MAX_PARTS];

static void makeRequest(void)
{
    struct buffer *head = &parts[0].bytes, *last = head;
    char *body = calloc(1, WHOLE_BODY);
    if (!body)
        fail("out of memory");
    (opt.http ? addHTTPHead : addFastCGIHead)(head);
    if (opt.upload <= WHOLE_BODY) {
        addBody(head, body, opt.upload);
    } else {
        last = &parts[2].bytes;
        addBody(&parts[1].bytes, body, BLOCK);
        addBody(last, body, opt.upload % BLOCK);
    }
    if (!opt.http)
        addRecord(last, STDIN, NULL, 0);
    const size_t size = head->size;
    for (unsigned i = 1; i < opt.pipeline; i++) {
        struct buffer copy = {0};
        add(&copy, head->data, size);
        add(head, copy.data, size);
        free(copy.data);
    }
    parts[0].times = 1;
    parts[1].times = parts[1].bytes.size ? opt.upload / BLOCK : 0;
    parts[2].times = parts[2].bytes.size ? 1 : 0;
    free(body);
}

/* What is measured */

static unsigned *latencies; /* how many responses took so many microseconds */
static uint64_t responses, bodyBytes;
static double lastResponse;
static bool stopping;

static void note(double took, uint64_t bytes)
{
    double microseconds = took * 1e6;
    latencies[microseconds < SLOWEST ? (size_t)microseconds : SLOWEST]++;
    responses++;
    bodyBytes += bytes + opt.upload;
}

static unsigned percentile(double part)
{
    double wanted = part * (double)responses, seen = 0;
    for (unsigned i = 0; i <= SLOWEST; i++)
        if ((seen += latencies[i]) >= wanted && seen > 0)
            return i;
    return 0;
}

static double cpuTime(void)
{
    double sum = 0;
    for (unsigned i = 0; i < opt.pidCount; i++) {
        clockid_t clock;
        if (clock_getcpuclockid(opt.pids[i], &clock))
            fail("there is no process %d", (int)opt.pids[i]);
        sum += seconds(clock);
    }
    return sum;
}

/* Connections */

struct connection {
    int fd;
    uint32_t watched;
    unsigned waiting;     /* responses that have yet to come */
    unsigned part;        /* where sending is */
    uint64_t turn;
    size_t sent;
    double started;
    bool answered;        /* one-shot: all is here but the end */
    unsigned char record[RECORD_HEADER], ending[8];
    size_t recordSize, content, padding, endingSize;
    bool headDone;
    size_t headSize;
    int64_t declared;     /* the length that the header tells, or -1 */
    uint64_t received;    /* bytes of the body */
    char head[MAX_HEAD + 1];
};

static int poller;
static unsigned inHand; /* connections with a request */
static struct sockaddr_storage target;
static socklen_t targetSize;

static void findTarget(void)
{
    struct sockaddr_un *local = (struct sockaddr_un *)&target;
    if (!strncmp(opt.address, "unix:", 5)) {
        if (strlen(opt.address + 5) >= sizeof local->sun_path)
            fail("the path of the socket is too long");
        local->sun_family = AF_UNIX;
        strcpy(local->sun_path, opt.address + 5);
        targetSize = sizeof *local;
        return;
    }
    struct sockaddr_in *remote = (struct sockaddr_in *)&target;
    remote->sin_family = AF_INET;
    remote->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (strncmp(opt.address, "tcp:", 4) || atoi(opt.address + 4) <= 0)
        fail("%s is neither unix:PATH nor tcp:PORT", opt.address);
    remote->sin_port = htons((uint16_t)atoi(opt.address + 4));
    targetSize = sizeof *remote;
}

static void watch(struct connection *c, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = c};
    int change = c->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (events == c->watched)
        return;
    if (epoll_ctl(poller, change, c->fd, &event) < 0)
        fail("epoll_ctl: %s", strerror(errno));
    c->watched = events;
}

/* Connecting waits: a full backlog is no error, and no busy loop. */
static void makeConnection(struct connection *c)
{
    const int yes = 1;
    c->fd = socket(target.ss_family, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&target, targetSize) < 0)
        fail("%s: %s", opt.address, strerror(errno));
    if (target.ss_family == AF_INET)
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    c->watched = 0;
    watch(c, EPOLLIN);
}

static void sendMore(struct connection *c)
{
    while (c->part < MAX_PARTS) {
        const struct part *part = &parts[c->part];
        if (c->turn == part->times) {
            c->part++;
            c->turn = 0;
            continue;
        }
        size_t size = part->bytes.size - c->sent;
        if (opt.sendSize)
            size = smaller(size, opt.sendSize);
        ssize_t sent = send(
            c->fd, part->bytes.data + c->sent, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0) {
            if (errno != EAGAIN)
                fail("the server closed the connection: %s", strerror(errno));
            watch(c, EPOLLIN | EPOLLOUT);
            return;
        }
        c->sent += (size_t)sent;
        if (c->sent == part->bytes.size) {
            c->sent = 0;
            c->turn++;
        }
        if (opt.sendSize) {
            /* The next piece in another turn: the server may read this one. */
            watch(c, EPOLLIN | EPOLLOUT);
            return;
        }
    }
    watch(c, EPOLLIN);
}

static void begin(struct connection *c, double now)
{
    if (stopping)
        return;
    if (c->fd < 0)
        makeConnection(c);
    inHand++;
    c->waiting = opt.pipeline;
    c->started = now;
    c->part = 0;
    c->turn = 0;
    sendMore(c);
}

static void finish(struct connection *c)
{
    double now = seconds(CLOCK_MONOTONIC);
    lastResponse = now;
    note(now - c->started, c->received);
    c->headDone = c->answered = false;
    c->headSize = c->received = c->endingSize = 0;
    if (opt.requests && responses >= opt.requests)
        stopping = true;
    if (--c->waiting == 0) {
        inHand--;
        begin(c, now);
    }
}

static void answered(struct connection *c)
{
    uint64_t wanted = opt.text ? strlen(opt.text) : (uint64_t)opt.length;
    if (!c->headDone)
        fail("the response has no header");
    if (c->declared >= 0 && c->received != (uint64_t)c->declared)
        fail("the body has %" PRIu64 " bytes, its Content-Length says %" PRId64,
             c->received, c->declared);
    if ((opt.text || opt.length >= 0) && c->received != wanted)
        fail("the body has %" PRIu64 " bytes instead of %" PRIu64,
             c->received, wanted);
    if (opt.oneShot)
        c->answered = true;
    else
        finish(c);
}

static void ended(struct connection *c)
{
    if (!c->answered)
        fail("the server closed the connection %s",
             c->waiting ? "before the response was complete" : "that it was to keep");
    close(c->fd);
    c->fd = -1;
    finish(c);
}

/* Understanding the response */

static const char *findField(const char *head, const char *name)
{
    size_t length = strlen(name);
    for (const char *line = head; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (!strncasecmp(line, name, length) && line[length] == ':')
            return line + length + 1;
    }
    return NULL;
}

static void readHead(struct connection *c)
{
    const char *status = opt.http ? strchr(c->head, ' ') : findField(c->head, "Status");
    const char *length = findField(c->head, "Content-Length");
    if (opt.http && (!status || strncmp(c->head, "HTTP/1.", 7)))
        fail("not a response of HTTP/1: %.80s", c->head);
    if (status && atoi(status) != 200)
        fail("the response is not 200:\n%s", c->head);
    if (opt.http && !length)
        fail("the response has no Content-Length:\n%s", c->head);
    c->declared = length ? atoll(length) : -1;
    c->headDone = true;
}

/* Gathers the header block; tells how many bytes are part of it. */
static size_t feedHead(struct connection *c, const char *data, size_t size)
{
    size_t before = c->headSize, piece = smaller(size, MAX_HEAD - before);
    size_t from = before > 3 ? before - 3 : 0;
    memcpy(c->head + before, data, piece);
    c->headSize += piece;
    const char *end = memmem(c->head + from, c->headSize - from, "\r\n\r\n", 4);
    size_t mark = 4;
    if (!end && !opt.http) {
        end = memmem(c->head + from, c->headSize - from, "\n\n", 2);
        mark = 2;
    }
    if (!end) {
        if (c->headSize == MAX_HEAD)
            fail("the header is too large");
        return piece;
    }
    c->headSize = (size_t)(end - c->head) + mark;
    c->head[c->headSize] = 0;
    readHead(c);
    return c->headSize - before;
}

/* Takes a piece of the response; tells how many bytes belong to it. */
static size_t feedResponse(struct connection *c, const char *data, size_t size)
{
    size_t used = c->headDone ? 0 : feedHead(c, data, size);
    size_t piece = size - used;
    if (!c->headDone)
        return size;
    if (c->declared >= 0)
        piece = smaller(piece, (uint64_t)c->declared - c->received);
    if (opt.text) {
        size_t length = strlen(opt.text);
        if (c->received + piece > length
            || memcmp(opt.text + c->received, data + used, piece) != 0)
            fail("the body is not \"%s\"", opt.text);
    }
    c->received += piece;
    return used + piece;
}

static void feedHTTP(struct connection *c, const char *data, size_t size)
{
    while (size) {
        if (!c->waiting || c->answered)
            fail("more came than the response");
        size_t used = feedResponse(c, data, size);
        data += used;
        size -= used;
        if (c->headDone && c->received == (uint64_t)c->declared)
            answered(c);
    }
}

static void feedContent(struct connection *c, const char *data, size_t size)
{
    switch (c->record[1]) {
    case STDOUT:
        if (feedResponse(c, data, size) != size)
            fail("more came than the Content-Length says");
        break;
    case STDERR:
        fail("the application complains: %.*s", (int)size, data);
    case END_REQUEST:
        if (c->endingSize + size > sizeof c->ending)
            fail("END_REQUEST is too long");
        memcpy(c->ending + c->endingSize, data, size);
        c->endingSize += size;
        break;
    default:
        fail("a record of type %d came", c->record[1]);
    }
}

static void beginRecord(struct connection *c)
{
    const unsigned char *header = c->record;
    if (header[0] != VERSION || header[2] || header[3] != REQUEST_ID)
        fail("a record of version %d and request %d came",
             header[0], header[2] << 8 | header[3]);
    if (!c->waiting || c->answered)
        fail("a record came after END_REQUEST");
    c->content = (size_t)header[4] << 8 | header[5];
    c->padding = header[6];
}

static void endRecord(struct connection *c)
{
    static const unsigned char good[5]; /* appStatus 0, FCGI_REQUEST_COMPLETE */
    c->recordSize = 0;
    if (c->record[1] != END_REQUEST)
        return;
    if (c->endingSize != sizeof c->ending || memcmp(c->ending, good, sizeof good))
        fail("END_REQUEST says that the request failed");
    answered(c);
}

static void feedRecords(struct connection *c, const char *data, size_t size)
{
    while (size) {
        size_t piece;
        if (c->recordSize < RECORD_HEADER) {
            piece = smaller(size, RECORD_HEADER - c->recordSize);
            memcpy(c->record + c->recordSize, data, piece);
            c->recordSize += piece;
            if (c->recordSize == RECORD_HEADER)
                beginRecord(c);
        } else if (c->content) {
            piece = smaller(size, c->content);
            c->content -= piece;
            feedContent(c, data, piece);
        } else {
            piece = smaller(size, c->padding);
            c->padding -= piece;
        }
        data += piece;
        size -= piece;
        if (c->recordSize == RECORD_HEADER && !c->content && !c->padding)
            endRecord(c);
    }
}

static void receiveMore(struct connection *c)
{
    static char inbox[BLOCK];
    ssize_t size = recv(c->fd, inbox, sizeof inbox, MSG_DONTWAIT);
    if (size > 0)
        (opt.http ? feedHTTP : feedRecords)(c, inbox, (size_t)size);
    else if (size == 0)
        ended(c);
    else if (errno != EAGAIN)
        fail("the server closed the connection: %s", strerror(errno));
}

/* The run */

static void turn(void)
{
    struct epoll_event events[256];
    int count = epoll_wait(poller, events, 256, opt.spin ? 0 : 100);
    for (int i = 0; i < count; i++) {
        struct connection *c = events[i].data.ptr;
        if (events[i].events & EPOLLOUT)
            sendMore(c);
        if (events[i].events & ~(uint32_t)EPOLLOUT)
            receiveMore(c);
    }
    if (seconds(CLOCK_MONOTONIC) - lastResponse > PATIENCE)
        fail("no response within %d seconds", PATIENCE);
}

static void report(double took, double cpu, double ownCPU)
{
    printf("{\"requests\": %" PRIu64 ", \"seconds\": %.6f, \"rate\": %.2f, "
           "\"p50\": %u, \"p99\": %u, \"megabytes\": %.3f, "
           "\"server_cpu\": %.6f, \"client_cpu\": %.6f}\n",
           responses, took, (double)responses / took,
           percentile(0.5), percentile(0.99), (double)bodyBytes / took / 1e6,
           cpu, ownCPU);
}

static void run(void)
{
    struct connection *all = calloc(opt.connections, sizeof *all);
    latencies = calloc(SLOWEST + 1, sizeof *latencies);
    poller = epoll_create1(0);
    if (!all || !latencies || poller < 0)
        fail("out of memory");
    for (unsigned i = 0; i < opt.connections; i++)
        makeConnection(&all[i]);
    double start = lastResponse = seconds(CLOCK_MONOTONIC);
    for (unsigned i = 0; i < opt.connections; i++)
        begin(&all[i], start);
    if (!opt.requests) {
        while (seconds(CLOCK_MONOTONIC) < start + opt.warmup)
            turn();
        memset(latencies, 0, (SLOWEST + 1) * sizeof *latencies);
        responses = bodyBytes = 0;
        start = seconds(CLOCK_MONOTONIC);
    }
    double cpu = cpuTime(), ownCPU = seconds(CLOCK_PROCESS_CPUTIME_ID);
    while (opt.requests ? !stopping : seconds(CLOCK_MONOTONIC) < start + opt.seconds)
        turn();
    report(seconds(CLOCK_MONOTONIC) - start, cpuTime() - cpu,
           seconds(CLOCK_PROCESS_CPUTIME_ID) - ownCPU);
    stopping = true;
    while (inHand)
        turn();
}

static const char usage[] =
    "usage: fcgiload [options] unix:PATH|tcp:PORT\n"
    "  --http                HTTP/1.1 instead of FastCGI\n"
    "  --one-shot            a connection for each request\n"
    "  --spin                never sleep\n"
    "  --path PATH           what to ask for\n"
    "  --script FILE         the value of SCRIPT_FILENAME, FastCGI only\n"
    "  --connections N       at a time (8)\n"
    "  --pipeline N          requests sent together on a connection (1)\n"
    "  --seconds S           how long to measure (2)\n"
    "  --warmup S            how long to run before that (0.5)\n"
    "  --requests N          measure so many, without warm-up, instead\n"
    "  --upload BYTES        send a body of zeros with each request\n"
    "  --text TEXT           what the body of each response must be\n"
    "  --length BYTES        how long it must be\n"
    "  --extra-params BYTES  send more params, FastCGI only\n"
    "  --param-size BYTES    how long each of those is (1000)\n"
    "  --record-size BYTES   the most content of a record sent (65528)\n"
    "  --send-size BYTES     the most bytes sent at a time\n"
    "  --pid PID             tell this process's CPU time (repeatable)\n";

static double number(const char *text, double from, double to)
{
    char *end;
    double value = strtod(text, &end);
    if (*end || !(value >= from && value <= to))
        fail("%s is no number from %.0f to %.0f", text, from, to);
    return value;
}

static void readOptions(int count, char **words)
{
    static const struct option names[] = {
        {"http", no_argument, 0, 'h'},
        {"one-shot", no_argument, 0, 'o'},
        {"spin", no_argument, 0, 's'},
        {"path", required_argument, 0, 'p'},
        {"script", required_argument, 0, 'f'},
        {"connections", required_argument, 0, 'c'},
        {"pipeline", required_argument, 0, 'l'},
        {"seconds", required_argument, 0, 'd'},
        {"warmup", required_argument, 0, 'w'},
        {"requests", required_argument, 0, 'n'},
        {"upload", required_argument, 0, 'u'},
        {"text", required_argument, 0, 't'},
        {"length", required_argument, 0, 'L'},
        {"extra-params", required_argument, 0, 'x'},
        {"param-size", required_argument, 0, 'X'},
        {"record-size", required_argument, 0, 'r'},
        {"send-size", required_argument, 0, 'S'},
        {"pid", required_argument, 0, 'P'},
        {0, 0, 0, 0},
    };
    for (int name; (name = getopt_long(count, words, "", names, NULL)) != -1;) {
        const char *value = optarg;
        switch (name) {
        case 'h': opt.http = true; break;
        case 'o': opt.oneShot = true; break;
        case 's': opt.spin = true; break;
        case 'p': opt.path = value; break;
        case 'f': opt.script = value; break;
        case 'c': opt.connections = (unsigned)number(value, 1, 100000); break;
        case 'l': opt.pipeline = (unsigned)number(value, 1, 100000); break;
        case 'd': opt.seconds = number(value, 0, 86400); break;
        case 'w': opt.warmup = number(value, 0, 86400); break;
        case 'n': opt.requests = (uint64_t)number(value, 1, 1e15); break;
        case 'u': opt.upload = (uint64_t)number(value, 0, 1e15); break;
        case 't': opt.text = value; break;
        case 'L': opt.length = (int64_t)number(value, 0, 1e15); break;
        case 'x': opt.extraParams = (size_t)number(value, 0, 1e9); break;
        case 'X': opt.paramSize = (size_t)number(value, 16, 1e9); break;
        case 'r': opt.recordSize = (size_t)number(value, 1, 65535); break;
        case 'S': opt.sendSize = (size_t)number(value, 1, 1e9); break;
        case 'P':
            if (opt.pidCount == MAX_PIDS)
                fail("too many processes");
            opt.pids[opt.pidCount++] = (pid_t)number(value, 1, 1e9);
            break;
        default: fputs(usage, stderr); exit(2);
        }
    }
    if (optind != count - 1) {
        fputs(usage, stderr);
        exit(2);
    }
    opt.address = words[optind];
    if (opt.pipeline > 1 && (opt.oneShot || opt.upload > WHOLE_BODY))
        fail("only kept connections and small bodies can be pipelined");
}

int main(int count, char **words)
{
    readOptions(count, words);
    findTarget();
    makeRequest();
    run();
    return 0;
}
