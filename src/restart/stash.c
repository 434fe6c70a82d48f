/* SPDX-License-Identifier: BSD-3-Clause */
/* Descriptors and their state, packed for systemd's store. */
#include "restart/stash.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>

#include "base/clock.h"
#include "base/memfd.h"

#define NAME_STATE   "flagsse-state"
#define NAME_STREAMS "flagsse-streams"

/* The kernel's limit of descriptors in a message (SCM_MAX_FD). */
#define FDS_PER_MESSAGE 253

/* How many go into a pair, at most; with the default buffers, EAGAIN comes before that. */
#define FDS_PER_PAIR 100000

/* Descriptors that stay free when a message is read. */
#define FREE_FDS 64

/* How long to wait for systemd. */
#define BARRIER_TIMEOUT_US (5 * US_PER_S)

/* With the descriptors of a message: where they belong, and a byte for each. */
struct message {
	uint64_t first; /* index of the first one's stream */
	uint8_t kinds[FDS_PER_MESSAGE];
};

union control {
	char buffer[CMSG_SPACE(FDS_PER_MESSAGE * sizeof(int))];
	struct cmsghdr align;
};

static size_t message_size(size_t n)
{
	return offsetof(struct message, kinds) + n;
}

void stash_deinit(struct stash *stash)
{
	if (stash->state >= 0)
		close(TAKE_FD(stash->state));
	for (size_t i = 0; i < stash->n_pairs; i++)
		close(stash->pairs[i]);
	free(TAKE_PTR(stash->pairs));
	stash->n_pairs = 0;
}

/* ---- Making one ---- */

/* The descriptor is consumed. */
static int add_pair(struct stash *stash, int fd)
{
	int *pairs = realloc(stash->pairs, (stash->n_pairs + 1) * sizeof(pairs[0]));

	if (!pairs) {
		close(fd);
		return -ENOMEM;
	}
	stash->pairs = pairs;
	pairs[stash->n_pairs++] = fd;
	return 0;
}

/* 0 or -errno; -EAGAIN: the pair is full. */
static int send_items(int fd, const struct handover_item items[], size_t first, size_t n)
{
	struct message message = {.first = first};
	union control control = {0};
	struct iovec iov = {.iov_base = &message, .iov_len = message_size(n)};
	struct msghdr header = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.buffer,
		.msg_controllen = CMSG_SPACE(n * sizeof(int)),
	};
	struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
	int fds[FDS_PER_MESSAGE];
	ssize_t sent;

	for (size_t i = 0; i < n; i++) {
		fds[i] = items[first + i].fd;
		message.kinds[i] = items[first + i].kind;
	}
	rights->cmsg_level = SOL_SOCKET;
	rights->cmsg_type = SCM_RIGHTS;
	rights->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(rights), fds, n * sizeof(int));
	do
		sent = sendmsg(fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	return sent < 0 ? -errno : 0;
}

/* Fills a new pair.  Returns how many are in it, or -errno. */
static ssize_t fill_pair(
	struct stash *stash, const struct handover_item items[], size_t first, size_t n_items)
{
	_cleanup_(closep) int in = -1;
	int ends[2];
	size_t at = first;
	int r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	in = ends[1];
	r = add_pair(stash, ends[0]);
	if (r < 0)
		return r;
	while (at < n_items && at - first < FDS_PER_PAIR) {
		size_t n = n_items - at < FDS_PER_MESSAGE ? n_items - at : FDS_PER_MESSAGE;

		r = send_items(in, items, at, n);
		if (r == -EAGAIN && at > first)
			break;
		if (r < 0)
			return r;
		at += n;
	}
	return (ssize_t)(at - first);
}

int stash_make(const void *state, size_t size, const struct handover_item items[], size_t n_items,
	struct stash *ret)
{
	_cleanup_(stash_deinit) struct stash stash = {.state = -1};
	int r;

	r = memfd_make(NAME_STATE, state, size, &stash.state);
	if (r < 0)
		return r;
	for (size_t at = 0; at < n_items;) {
		ssize_t n = fill_pair(&stash, items, at, n_items);

		if (n < 0)
			return (int)n;
		at += (size_t)n;
	}
	*ret = stash;
	stash = (struct stash){.state = -1};
	return 0;
}

/* ---- systemd's store ---- */

static int store_one(const char *name, int fd)
{
	char text[128];
	int r;

	/* systemd would throw away a pair whose other end is closed, if it polled it. */
	snprintf(text, sizeof(text), "FDSTORE=1\nFDPOLL=0\nFDNAME=%s", name);
	r = sd_pid_notify_with_fds(0, 0, text, &fd, 1);
	if (r < 0)
		return r;
	return r > 0 ? 0 : -ENOTCONN;
}

static int wait_for_systemd(void)
{
	int r = sd_notify_barrier(0, BARRIER_TIMEOUT_US);

	if (r < 0)
		return r;
	return r > 0 ? 0 : -ENOTCONN;
}

int stash_store(const struct stash *stash)
{
	int r = store_one(NAME_STATE, stash->state);

	for (size_t i = 0; i < stash->n_pairs && r >= 0; i++)
		r = store_one(NAME_STREAMS, stash->pairs[i]);
	return r < 0 ? r : wait_for_systemd();
}

int stash_add(struct stash *stash, int fd, const char *name)
{
	int r;

	if (strcmp(name, NAME_STREAMS) == 0) {
		r = add_pair(stash, fd);
		return r < 0 ? r : 1;
	}
	if (strcmp(name, NAME_STATE) != 0)
		return 0;
	/* Of several the last; as the pairs then do not fit it, all streams end. */
	if (stash->state >= 0)
		close(stash->state);
	stash->state = fd;
	return 1;
}

int stash_forget(void)
{
	int r = sd_notify(0, "FDSTOREREMOVE=1\nFDNAME=" NAME_STATE);

	if (r >= 0)
		r = sd_notify(0, "FDSTOREREMOVE=1\nFDNAME=" NAME_STREAMS);
	return r < 0 ? r : wait_for_systemd();
}

/* ---- Reading one ---- */

void stash_content_deinit(struct stash_content *content)
{
	for (size_t i = 0; i < content->n_items; i++)
		if (content->items[i].fd >= 0)
			close(content->items[i].fd);
	free(TAKE_PTR(content->items));
	content->n_items = 0;
}

struct received {
	struct handover_item item;
	uint64_t index; /* of its stream, as its message says */
};

/* What is being read. */
struct reader {
	struct received *received;
	size_t n, size;
	size_t n_cut_short;
	size_t fds_max; /* so many can be open at a time */
	bool starved;   /* there is no memory: what comes is ended on the spot */
	const char *problem;
};

static int reader_reserve(struct reader *reader, size_t n)
{
	size_t size = 2 * reader->size + n;
	struct received *larger;

	if (reader->size - reader->n >= n)
		return 0;
	larger = realloc(reader->received, size * sizeof(larger[0]));
	if (!larger)
		return -ENOMEM;
	reader->received = larger;
	reader->size = size;
	return 0;
}

/* The limit of open files is reached: it cannot wait for its client's end, but is ended as cleanly
 * as can be without. */
static void end_on_the_spot(int fd, uint8_t kind)
{
	struct span last =
		frame_last(kind & HANDOVER_CHUNKED ? ENCODING_CHUNKED : ENCODING_IDENTITY);
	char input[4096];

	if (!(kind & (HANDOVER_CUT | HANDOVER_OVER)))
		(void)send(fd, last.data, last.length, MSG_DONTWAIT | MSG_NOSIGNAL);
	(void)shutdown(fd, SHUT_WR);
	while (recv(fd, input, sizeof(input), MSG_DONTWAIT) > 0)
		;
	close(fd);
}

static void reader_add(struct reader *reader, int fd, uint8_t kind, uint64_t index)
{
	if (reader->n - reader->n_cut_short >= reader->fds_max) {
		end_on_the_spot(fd, kind);
		reader->n_cut_short++;
		fd = -1;
	}
	reader->received[reader->n++] =
		(struct received){.item = {.fd = fd, .kind = kind}, .index = index};
}

/* Takes the descriptors out of a message.  Returns how many; what is beyond the first 253, or in
 * other parts, is closed. */
static size_t take_fds(struct msghdr *header, int ret_fds[static FDS_PER_MESSAGE])
{
	size_t n = 0;

	for (struct cmsghdr *part = CMSG_FIRSTHDR(header); part; part = CMSG_NXTHDR(header, part)) {
		if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t at = 0; at + sizeof(int) <= part->cmsg_len - CMSG_LEN(0);
			at += sizeof(int)) {
			int fd;

			memcpy(&fd, CMSG_DATA(part) + at, sizeof(int));
			if (n < FDS_PER_MESSAGE)
				ret_fds[n++] = fd;
			else
				close(fd);
		}
	}
	return n;
}

/* 1: a message was read.  0: there are no more.  -errno. */
static int read_message(struct reader *reader, int pair)
{
	struct message message;
	union control control;
	struct iovec iov = {.iov_base = &message, .iov_len = sizeof(message)};
	struct msghdr header = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.buffer,
		.msg_controllen = sizeof(control.buffer),
	};
	int fds[FDS_PER_MESSAGE];
	ssize_t length;
	size_t n;

	if (reader_reserve(reader, FDS_PER_MESSAGE) < 0)
		reader->starved = true;
	do
		length = recvmsg(pair, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (length < 0 && errno == EINTR);
	if (length < 0)
		return errno == EAGAIN ? 0 : -errno;
	n = take_fds(&header, fds);
	if (length == 0 && n == 0)
		return 0;
	if (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC) || (size_t)length != message_size(n))
		reader->problem = "a message of it is damaged";
	for (size_t i = 0; i < n; i++) {
		/* Of one whose kind is not known, nothing may be said any more. */
		bool known = message_size(i) < (size_t)length;
		uint8_t kind = known ? message.kinds[i] : HANDOVER_CUT;

		if (reader->starved)
			end_on_the_spot(fds[i], kind);
		else
			reader_add(reader, fds[i], kind, known ? message.first + i : UINT64_MAX);
	}
	return 1;
}

/* Whether each index up to their number is there once. */
static bool are_numbered(const struct reader *reader, bool seen[])
{
	for (size_t i = 0; i < reader->n; i++) {
		uint64_t index = reader->received[i].index;

		if (index >= reader->n || seen[index])
			return false;
		seen[index] = true;
	}
	return true;
}

/* Puts the items into the order of their indices, if that is known. */
static int sort_items(struct reader *reader, struct stash_content *ret)
{
	_cleanup_(freep) bool *seen = calloc(reader->n + 1, sizeof(seen[0]));

	ret->items = calloc(reader->n + 1, sizeof(ret->items[0]));
	if (!seen || !ret->items)
		return -ENOMEM;
	if (!reader->problem && !are_numbered(reader, seen))
		reader->problem = "its descriptors are not numbered as they should be";
	for (size_t i = 0; i < reader->n; i++)
		ret->items[reader->problem ? i : reader->received[i].index] =
			reader->received[i].item;
	ret->n_items = reader->n;
	ret->n_cut_short = reader->n_cut_short;
	ret->problem = reader->problem;
	return 0;
}

/* Ends the streams: there is no memory for what was to be done with them. */
static void end_all_on_the_spot(struct reader *reader)
{
	for (size_t i = 0; i < reader->n; i++)
		if (reader->received[i].item.fd >= 0)
			end_on_the_spot(reader->received[i].item.fd, reader->received[i].item.kind);
}

static size_t fds_to_have(const struct stash *stash)
{
	struct rlimit limit;
	size_t others = FREE_FDS + FDS_PER_MESSAGE + stash->n_pairs;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 0;
	return limit.rlim_cur > others ? limit.rlim_cur - others : 0;
}

int stash_read(const struct stash *stash, struct stash_content *ret)
{
	struct reader reader = {.fds_max = fds_to_have(stash)};
	struct stash_content content = {0};
	int r = 0;

	for (size_t i = 0; i < stash->n_pairs; i++) {
		do
			r = read_message(&reader, stash->pairs[i]);
		while (r > 0);
		if (r < 0)
			reader.problem = "a descriptor of it is no socket of ours";
	}
	r = reader.starved ? -ENOMEM : sort_items(&reader, &content);
	if (r < 0) {
		end_all_on_the_spot(&reader);
		free(content.items);
	} else
		*ret = content;
	free(reader.received);
	return r;
}

int stash_read_head(const struct stash *stash, struct handover_head *ret)
{
	char start[HANDOVER_HEAD_MAX];
	ssize_t n;

	if (stash->state < 0)
		return -ENOENT;
	n = pread(stash->state, start, sizeof(start), 0);
	return n < 0 ? -EBADMSG : handover_read_head(start, (size_t)n, ret);
}

int stash_map(const struct stash *stash, const void **ret_state, size_t *ret_size)
{
	struct stat status;
	int seals;
	void *state;

	if (stash->state < 0)
		return -ENOENT;
	/* What is not sealed could change, or shrink, while we read. */
	seals = fcntl(stash->state, F_GET_SEALS);
	if (seals < 0)
		return -errno;
	if ((seals & MEMFD_SEALS) != MEMFD_SEALS)
		return -EPERM;
	if (fstat(stash->state, &status) < 0)
		return -errno;
	if (status.st_size <= 0)
		return -ENODATA;
	state = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, stash->state, 0);
	if (state == MAP_FAILED)
		return -errno;
	*ret_state = state;
	*ret_size = (size_t)status.st_size;
	return 0;
}
