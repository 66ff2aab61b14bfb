// floor answers the upcalls of a datapath with the least possible work: its cost is the kernel's
// share, a lower bound for any other program.
//
//	usage: floor [-f] [-m receive|execute|put] DATAPATH PORT PORT...
//
// It has one thread and one upcall socket for all ports: recvmmsg of up to 64 upcalls, a FLOW_NEW
// and a PACKET_EXECUTE for each, one sendmsg for all of them. There is no policy: packets are
// output to the last port, those of the last port to the first; with -f, to all other ports. It
// prints "ready" and runs until it is killed.
//
// -m leaves out a part, so that the difference of two runs is the cost of that part: "execute" puts
// no flows, "receive" also drops the packets. Packets of the last port are always answered in full,
// so that a load can start.
//
// Flows match in-port and MAC addresses. Attribute numbers: linux/openvswitch.h
// of Linux 6.1.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <linux/openvswitch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BATCH = 64, ROOM = 1 << 17, REQUEST = 4096, QUEUE = 4 << 20 };
// Each OUTPUT needs 8 bytes in both requests, which must fit into REQUEST.
enum { MAX_FLOOD = 128 };

enum mode { RECEIVE, EXECUTE, PUT };

struct message {
	char *data;
	size_t len;
};

static __u32 sequence;
static char input[BATCH][ROOM], output[BATCH][REQUEST];

static void die(const char *what)
{
	fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void append(struct message *m, const void *data, size_t len)
{
	memcpy(m->data + m->len, data, len);
	memset(m->data + m->len + len, 0, NLA_ALIGN(len) - len);
	m->len += NLA_ALIGN(len);
}

static void attribute(struct message *m, int type, const void *data, size_t len)
{
	struct nlattr a = { .nla_type = type, .nla_len = NLA_HDRLEN + len };

	append(m, &a, sizeof a);
	append(m, data, len);
}

static struct nlattr *nest(struct message *m, int type)
{
	struct nlattr *a = (struct nlattr *)(m->data + m->len);

	attribute(m, type | NLA_F_NESTED, NULL, 0);
	return a;
}

static void nest_end(struct message *m, struct nlattr *a)
{
	a->nla_len = m->data + m->len - (char *)a;
}

static struct nlmsghdr *begin(struct message *m, int family, int flags, int cmd, int version)
{
	struct nlmsghdr *h = (struct nlmsghdr *)(m->data + m->len);
	struct nlmsghdr n = { .nlmsg_type = family, .nlmsg_flags = NLM_F_REQUEST | flags, .nlmsg_seq = ++sequence };
	struct genlmsghdr g = { .cmd = cmd, .version = version };

	append(m, &n, sizeof n);
	append(m, &g, sizeof g);
	return h;
}

static const struct nlattr *find(const char *p, size_t len, int type)
{
	while (len >= sizeof(struct nlattr)) {
		const struct nlattr *a = (const void *)p;
		size_t step = NLA_ALIGN(a->nla_len);

		if (a->nla_len < sizeof *a || a->nla_len > len)
			break;
		if ((a->nla_type & NLA_TYPE_MASK) == type)
			return a;
		if (step >= len)
			break;
		p += step;
		len -= step;
	}
	return NULL;
}

static const char *payload(const struct nlattr *a) { return (const char *)a + NLA_HDRLEN; }
static size_t length(const struct nlattr *a) { return a->nla_len - NLA_HDRLEN; }

// transact sends the request in m and leaves the reply's payload, after skip bytes of headers, in
// m. It exits on an error reply.
static void transact(int fd, struct message *m, size_t skip, const char *what)
{
	struct nlmsghdr *h = (struct nlmsghdr *)m->data;
	ssize_t n;

	h->nlmsg_len = m->len;
	if (send(fd, m->data, m->len, 0) < 0)
		die(what);
	n = recv(fd, m->data, REQUEST, 0);
	if (n < (ssize_t)sizeof *h)
		die(what);
	if (h->nlmsg_type == NLMSG_ERROR) {
		errno = -*(int *)NLMSG_DATA(h);
		die(what);
	}
	m->data += NLMSG_HDRLEN + skip;
	m->len = n - NLMSG_HDRLEN - skip;
}

static int family(int fd, const char *name)
{
	static char room[REQUEST];
	struct message m = { room, 0 };
	const struct nlattr *id;

	begin(&m, GENL_ID_CTRL, 0, CTRL_CMD_GETFAMILY, 1);
	attribute(&m, CTRL_ATTR_FAMILY_NAME, name, strlen(name) + 1);
	transact(fd, &m, GENL_HDRLEN, name);
	// No acknowledgement is requested, so the reply is the only message.
	id = find(m.data, m.len, CTRL_ATTR_FAMILY_ID);
	if (!id)
		die(name);
	return *(__u16 *)payload(id);
}

static int open_socket(void)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC), queue = QUEUE;
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };

	if (fd < 0 || connect(fd, (void *)&kernel, sizeof kernel) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &queue, sizeof queue) ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &queue, sizeof queue))
		die("socket");
	return fd;
}

static __u32 port_id(int fd)
{
	struct sockaddr_nl a;
	socklen_t len = sizeof a;

	if (getsockname(fd, (void *)&a, &len))
		die("getsockname");
	return a.nl_pid;
}

// create_datapath returns the datapath's index.
static int create_datapath(int fd, int fam, const char *name)
{
	static char room[REQUEST];
	struct message m = { room, 0 };
	int index = 0;
	__u32 none = 0;

	begin(&m, fam, NLM_F_ECHO, OVS_DP_CMD_NEW, OVS_DATAPATH_VERSION);
	append(&m, &index, sizeof index);
	attribute(&m, OVS_DP_ATTR_NAME, name, strlen(name) + 1);
	attribute(&m, OVS_DP_ATTR_UPCALL_PID, &none, sizeof none);
	transact(fd, &m, GENL_HDRLEN, name);
	return *(int *)m.data; // struct ovs_header
}

// create_vport creates vport number no, whose upcalls go to pid.
static void create_vport(int fd, int fam, int dp, const char *name, __u32 no, __u32 pid)
{
	static char room[REQUEST];
	struct message m = { room, 0 };
	__u32 type = OVS_VPORT_TYPE_NETDEV;

	begin(&m, fam, NLM_F_ECHO, OVS_VPORT_CMD_NEW, OVS_VPORT_VERSION);
	append(&m, &dp, sizeof dp);
	attribute(&m, OVS_VPORT_ATTR_NAME, name, strlen(name) + 1);
	attribute(&m, OVS_VPORT_ATTR_TYPE, &type, sizeof type);
	attribute(&m, OVS_VPORT_ATTR_PORT_NO, &no, sizeof no);
	attribute(&m, OVS_VPORT_ATTR_UPCALL_PID, &pid, sizeof pid);
	transact(fd, &m, GENL_HDRLEN, name);
}

// actions outputs to the ports from to until, except in.
static void actions(struct message *m, int type, __u32 in, __u32 from, __u32 until)
{
	struct nlattr *a = nest(m, type);

	for (__u32 port = from; port <= until; port++)
		if (port != in)
			attribute(m, OVS_ACTION_ATTR_OUTPUT, &port, sizeof port);
	nest_end(m, a);
}

// datapath holds the parameters of answers.
struct datapath {
	int index, flows, packets; // datapath index, family ids
	__u32 last;		   // port number
	enum mode mode;
	int flood;
};

// answer appends the requests for one upcall to iov and returns the number of entries used: the
// requests up to the packet, the packet, its padding.
static int answer(char *in, size_t len, char *out, const struct datapath *dp, struct iovec *iov)
{
	static const __u32 all = ~0u;
	static const char mac_mask[12] = { -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1 };
	static const char padding[NLA_ALIGNTO];
	const size_t headers = NLMSG_HDRLEN + GENL_HDRLEN + sizeof(struct ovs_header);
	const struct nlattr *packet, *key, *in_port;
	struct message m = { out, 0 };
	struct nlmsghdr *h;
	struct nlattr *a;
	size_t pad;
	__u32 port, from, until;
	enum mode mode;

	if (len < headers)
		return 0;
	packet = find(in + headers, len - headers, OVS_PACKET_ATTR_PACKET);
	key = find(in + headers, len - headers, OVS_PACKET_ATTR_KEY);
	if (!packet || !key || length(key) > REQUEST / 8)
		return 0;
	in_port = find(payload(key), length(key), OVS_KEY_ATTR_IN_PORT);
	if (!in_port)
		return 0;
	port = *(__u32 *)payload(in_port);
	mode = port == dp->last ? PUT : dp->mode;
	if (mode == RECEIVE)
		return 0;
	from = until = port == dp->last ? 1 : dp->last;
	if (dp->flood) {
		from = 1;
		until = dp->last;
	}

	if (mode == PUT) {
		h = begin(&m, dp->flows, NLM_F_CREATE, OVS_FLOW_CMD_NEW, OVS_FLOW_VERSION);
		append(&m, &dp->index, sizeof dp->index);
		attribute(&m, OVS_FLOW_ATTR_KEY | NLA_F_NESTED, payload(key), length(key));
		a = nest(&m, OVS_FLOW_ATTR_MASK);
		attribute(&m, OVS_KEY_ATTR_IN_PORT, &all, sizeof all);
		attribute(&m, OVS_KEY_ATTR_ETHERNET, mac_mask, sizeof mac_mask);
		nest_end(&m, a);
		actions(&m, OVS_FLOW_ATTR_ACTIONS, port, from, until);
		h->nlmsg_len = m.data + m.len - (char *)h;
	}

	h = begin(&m, dp->packets, 0, OVS_PACKET_CMD_EXECUTE, OVS_PACKET_VERSION);
	append(&m, &dp->index, sizeof dp->index);
	attribute(&m, OVS_PACKET_ATTR_KEY | NLA_F_NESTED, payload(key), length(key));
	actions(&m, OVS_PACKET_ATTR_ACTIONS, port, from, until);
	pad = NLA_ALIGN(packet->nla_len) - packet->nla_len;
	h->nlmsg_len = m.data + m.len - (char *)h + packet->nla_len + pad;

	iov[0] = (struct iovec){ out, m.len };
	iov[1] = (struct iovec){ (void *)packet, packet->nla_len };
	iov[2] = (struct iovec){ (void *)padding, pad };
	return 3;
}

static int usage(void)
{
	fprintf(stderr, "usage: floor [-f] [-m receive|execute|put] DATAPATH PORT PORT...\n");
	return 2;
}

// parse_mode returns the mode with that name, -1 if there is none.
static int parse_mode(const char *name)
{
	static const char *const names[] = { [RECEIVE] = "receive", [EXECUTE] = "execute", [PUT] = "put" };

	for (int i = 0; i <= PUT; i++)
		if (!strcmp(name, names[i]))
			return i;
	return -1;
}

int main(int argc, char **argv)
{
	static struct mmsghdr msgs[BATCH];
	static struct iovec in[BATCH], out[3 * BATCH];
	struct datapath dp = { .mode = PUT };
	int upcalls, requests, vports, option, mode;

	while ((option = getopt(argc, argv, "fm:")) != -1) {
		if (option == 'f')
			dp.flood = 1;
		else if (option == 'm' && (mode = parse_mode(optarg)) >= 0)
			dp.mode = mode;
		else
			return usage();
	}
	argv += optind;
	dp.last = argc - optind - 1;
	if (argc - optind < 3 || (dp.flood && dp.last > MAX_FLOOD))
		return usage();
	upcalls = open_socket();
	requests = open_socket();
	dp.flows = family(requests, OVS_FLOW_FAMILY);
	dp.packets = family(requests, OVS_PACKET_FAMILY);
	vports = family(requests, OVS_VPORT_FAMILY);
	dp.index = create_datapath(requests, family(requests, OVS_DATAPATH_FAMILY), argv[0]);
	for (__u32 no = 1; no <= dp.last; no++)
		create_vport(requests, vports, dp.index, argv[no], no, port_id(upcalls));
	for (int i = 0; i < BATCH; i++) {
		in[i] = (struct iovec){ input[i], ROOM };
		msgs[i].msg_hdr.msg_iov = &in[i];
		msgs[i].msg_hdr.msg_iovlen = 1;
	}
	// Huge pages would make memory resident that no upcall uses.
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	puts("ready");
	fflush(stdout);
	for (;;) {
		int n = recvmmsg(upcalls, msgs, BATCH, MSG_WAITFORONE, NULL);
		struct msghdr batch = { .msg_iov = out };

		if (n < 0) {
			// After an overflow the next call returns what is queued.
			if (errno == EINTR || errno == ENOBUFS)
				continue;
			die("recvmmsg");
		}
		for (int i = 0; i < n; i++)
			batch.msg_iovlen += answer(input[i], msgs[i].msg_len, output[i], &dp,
						   out + batch.msg_iovlen);
		if (batch.msg_iovlen && sendmsg(requests, &batch, 0) < 0)
			die("sendmsg");
	}
}
