// uring compares two ways to receive queued netlink messages: recvmmsg, and io_uring with one
// multishot receive into provided buffers (Linux >= 6.0), whose work is deferred until requested
// (Linux >= 6.1).
//
//	usage: uring [ROUNDS]
//
// Each round sends 64 messages between two NETLINK_USERSOCK sockets, then receives all of them and
// reads the last byte of each. Both parts are timed, since io_uring moves work from one to the
// other. It prints the minimum of the rounds, in ns per message.
//
// Structures and numbers: linux/io_uring.h of Linux 6.1.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/io_uring.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64, ENTRIES = 256, ROOM = 1 << 14, GROUP = 1 };

static int sender, receiver;
static struct sockaddr_nl to = { .nl_family = AF_NETLINK };

static void die(const char *what)
{
	fprintf(stderr, "uring: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

static int open_socket(void)
{
	struct sockaddr_nl any = { .nl_family = AF_NETLINK };
	int size = 4 << 20, fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_USERSOCK);

	if (fd < 0 || bind(fd, (void *)&any, sizeof any) < 0)
		die("socket");
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) < 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
	return fd;
}

static void send_all(size_t size)
{
	static char data[ROOM];
	struct nlmsghdr *h = (void *)data;

	h->nlmsg_len = size;
	for (int i = 0; i < BATCH; i++) {
		data[size - 1] = i;
		if (sendto(sender, data, size, 0, (void *)&to, sizeof to) < 0)
			die("sendto");
	}
}

// recvmmsg.

static struct mmsghdr msgs[BATCH];
static struct iovec iovs[BATCH];
static char input[BATCH][ROOM];

static unsigned take_recvmmsg(void)
{
	unsigned sum = 0;
	int n = recvmmsg(receiver, msgs, BATCH, MSG_DONTWAIT, NULL);

	if (n != BATCH)
		die("recvmmsg");
	for (int i = 0; i < n; i++)
		sum += input[i][msgs[i].msg_len - 1];
	return sum;
}

// io_uring.

static int ring;
static char *sq, *cq;
static struct io_uring_sqe *sqes;
static struct io_uring_params params;
static struct io_uring_buf_ring *provided;
static char *buffers;

#define FIELD(base, off) ((unsigned *)((base) + (off)))

static void give(unsigned short id, unsigned *tail)
{
	struct io_uring_buf *b = &provided->bufs[*tail & (ENTRIES - 1)];

	b->addr = (unsigned long)(buffers + (size_t)id * ROOM);
	b->len = ROOM;
	b->bid = id;
	(*tail)++;
}

static void arm(void)
{
	unsigned tail = *FIELD(sq, params.sq_off.tail), i = tail & *FIELD(sq, params.sq_off.ring_mask);
	struct io_uring_sqe *e = &sqes[i];

	memset(e, 0, sizeof *e);
	e->opcode = IORING_OP_RECV;
	e->fd = receiver;
	e->ioprio = IORING_RECV_MULTISHOT;
	e->flags = IOSQE_BUFFER_SELECT;
	e->buf_group = GROUP;
	FIELD(sq, params.sq_off.array)[i] = i;
	__atomic_store_n(FIELD(sq, params.sq_off.tail), tail + 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, ring, 1, 0, 0, NULL, 0) != 1)
		die("io_uring_enter");
}

static void open_ring(void)
{
	struct io_uring_buf_reg reg = { .ring_entries = ENTRIES, .bgid = GROUP };
	unsigned tail = 0;

	params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
	ring = syscall(SYS_io_uring_setup, ENTRIES, &params);
	if (ring < 0)
		die("io_uring_setup");
	sq = mmap(NULL, params.sq_off.array + params.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQ_RING);
	cq = mmap(NULL, params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe), PROT_READ | PROT_WRITE,
		  MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_CQ_RING);
	sqes = mmap(NULL, params.sq_entries * sizeof *sqes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQES);
	provided = mmap(NULL, ENTRIES * sizeof(struct io_uring_buf), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	buffers = mmap(NULL, (size_t)ENTRIES * ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (sq == MAP_FAILED || cq == MAP_FAILED || sqes == MAP_FAILED || provided == MAP_FAILED || buffers == MAP_FAILED)
		die("mmap");
	reg.ring_addr = (unsigned long)provided;
	if (syscall(SYS_io_uring_register, ring, IORING_REGISTER_PBUF_RING, &reg, 1) < 0)
		die("io_uring_register");
	for (int i = 0; i < ENTRIES; i++)
		give(i, &tail);
	__atomic_store_n(&provided->tail, tail, __ATOMIC_RELEASE);
	arm();
}

static unsigned take_uring(void)
{
	unsigned sum = 0, got = 0, head = *FIELD(cq, params.cq_off.head), back = provided->tail;
	struct io_uring_cqe *cqes = (void *)(cq + params.cq_off.cqes);
	int armed = 1;

	while (got < BATCH) {
		unsigned tail = __atomic_load_n(FIELD(cq, params.cq_off.tail), __ATOMIC_ACQUIRE);

		if (head == tail) {
			if (!armed) {
				__atomic_store_n(&provided->tail, back, __ATOMIC_RELEASE);
				arm();
				armed = 1;
			} else if (syscall(SYS_io_uring_enter, ring, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0) {
				die("io_uring_enter");
			}
			continue;
		}
		for (; head != tail; head++) {
			struct io_uring_cqe *c = &cqes[head & *FIELD(cq, params.cq_off.ring_mask)];

			if (!(c->flags & IORING_CQE_F_MORE))
				armed = 0;
			if (c->res < 0 && c->res != -ENOBUFS) {
				errno = -c->res;
				die("receive");
			}
			if (c->res > 0) {
				unsigned short id = c->flags >> IORING_CQE_BUFFER_SHIFT;

				sum += buffers[(size_t)id * ROOM + c->res - 1];
				give(id, &back);
				got++;
			}
		}
		__atomic_store_n(FIELD(cq, params.cq_off.head), head, __ATOMIC_RELEASE);
	}
	__atomic_store_n(&provided->tail, back, __ATOMIC_RELEASE);
	if (!armed)
		arm();
	return sum;
}

static void measure(const char *name, unsigned (*take)(void), size_t size, int rounds)
{
	double sending = 1e18, taking = 1e18, both = 1e18;

	for (int i = 0; i < rounds; i++) {
		double start = now(), sent, end;

		send_all(size);
		sent = now();
		if (take() != BATCH * (BATCH - 1) / 2) {
			fprintf(stderr, "uring: %s: messages are missing or changed\n", name);
			exit(1);
		}
		end = now();
		sending = sent - start < sending ? sent - start : sending;
		taking = end - sent < taking ? end - sent : taking;
		both = end - start < both ? end - start : both;
	}
	printf("%-9s %6zu bytes: sending %5.0f, taking %5.0f, both %5.0f ns a message\n", name, size,
	       sending / BATCH, taking / BATCH, both / BATCH);
}

int main(int argc, char **argv)
{
	static const size_t sizes[] = { 200, 1600, 15000 };
	int rounds = argc > 1 ? atoi(argv[1]) : 3000;
	socklen_t len = sizeof to;

	sender = open_socket();
	for (int i = 0; i < BATCH; i++) {
		iovs[i] = (struct iovec){ input[i], ROOM };
		msgs[i].msg_hdr.msg_iov = &iovs[i];
		msgs[i].msg_hdr.msg_iovlen = 1;
	}
	for (int way = 0; way < 2; way++) {
		receiver = open_socket();
		if (getsockname(receiver, (void *)&to, &len) < 0)
			die("getsockname");
		if (way)
			open_ring();
		for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
			measure(way ? "io_uring" : "recvmmsg", way ? take_uring : take_recvmmsg, sizes[i], rounds);
		if (!way)
			close(receiver);
	}
}
