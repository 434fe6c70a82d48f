/* SPDX-License-Identifier: BSD-3-Clause */
/* What comes out of the descriptor store, good or damaged, is taken up or ended cleanly; nothing of
 * it crashes, and no descriptor is left over. */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/log.h"
#include "client-fixture.h"
#include "hub/handover-layout.h"
#include "hub/shard.h"
#include "restart/take-up.h"
#include "runner.h"
#include "shard-fixture.h"

enum {
	N_STREAMS = 12,
	N_ENVIRONMENTS = 3,
	N_UPDATES = 4,
	N_DAMAGED = 10000,
};

/* A state, its descriptors, and their clients. */
struct sample {
	char *state;
	size_t size;
	struct handover_item items[N_STREAMS + 1]; /* one more than belong to it */
	int clients[N_STREAMS + 1];
};

static struct key env_key(unsigned n)
{
	char text[16];

	snprintf(text, sizeof(text), "env-%u", n);
	return make_key(text);
}

/* Of each kind one at least. */
static struct handover_stream make_stream(unsigned i)
{
	struct handover_stream stream = {
		.environment = i % N_ENVIRONMENTS,
		.chunked = i % 2 == 0,
		.close_after_update = i == 3,
		.behind = i % N_ENVIRONMENTS == 1,
		.last_ms = clock_monotonic_ms() - 100 * (int64_t)i,
		.end_ms = i % 4 == 0 ? 0 : clock_monotonic_ms() + 60000,
	};

	if (i == 4)
		stream.rest = (struct span){"the rest of a frame\n\n\r\n", 23};
	if (i == 5) {
		stream.phase = HANDOVER_ENDING;
		stream.rest = (struct span){"last", 4};
	}
	if (i == 6) {
		stream.phase = HANDOVER_LINGERING;
		stream.environment = HANDOVER_NO_ENVIRONMENT;
	}
	if (stream.phase != HANDOVER_OPEN) {
		stream.behind = false;
		stream.end_ms = 0;
	}
	return stream;
}

static void write_state(struct sample *sample)
{
	_cleanup_(handover_writer_freep) struct handover_writer *writer = NULL;
	const struct handover_item *items;
	uint32_t index;
	void *state;
	size_t n;

	ck_assert_int_eq(handover_writer_new(&writer), 0);
	for (unsigned i = 0; i < N_UPDATES; i++) {
		struct update update = {
			.key = env_key(i), .time_us = T0 + i, .stored_us = clock_wall_us()};

		ck_assert_int_eq(handover_add_update(writer, &update), 0);
	}
	/* As two shards add them. */
	for (unsigned i = 0; i < 2 * N_ENVIRONMENTS; i++) {
		struct handover_environment environment = {.key = env_key(i % N_ENVIRONMENTS)};

		if (i >= N_ENVIRONMENTS && i % N_ENVIRONMENTS == 1)
			environment.latest_us = T0 + 1;
		ck_assert_int_eq(handover_add_environment(writer, &environment, &index), 0);
		ck_assert_uint_eq(index, i % N_ENVIRONMENTS);
	}
	ck_assert_uint_eq(handover_environments(writer), N_ENVIRONMENTS);
	for (unsigned i = 0; i < N_STREAMS; i++) {
		struct handover_stream stream = make_stream(i);

		ck_assert_int_eq(handover_add_stream(writer, &stream, sample->items[i].fd), 0);
	}
	items = handover_items(writer, &n);
	ck_assert_uint_eq(n, N_STREAMS);
	memcpy(sample->items, items, n * sizeof(items[0]));
	ck_assert_int_eq(handover_finish(writer, clock_monotonic_ms(), &state, &sample->size), 0);
	sample->state = state;
}

static void sample_init(struct sample *sample)
{
	for (unsigned i = 0; i <= N_STREAMS; i++) {
		int pair[2];

		ck_assert_int_eq(
			socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair),
			0);
		sample->items[i] = (struct handover_item){.fd = pair[0]};
		sample->clients[i] = pair[1];
	}
	write_state(sample);
}

/* The former process is gone. */
static void close_items(struct sample *sample)
{
	for (unsigned i = 0; i <= N_STREAMS; i++)
		if (sample->items[i].fd >= 0)
			close(TAKE_FD(sample->items[i].fd));
}

static void sample_deinit(struct sample *sample)
{
	close_items(sample);
	for (unsigned i = 0; i <= N_STREAMS; i++)
		close(sample->clients[i]);
	free(sample->state);
}

struct parts {
	struct hub *hub;
	struct registry *registry;
};

static void parts_init(struct parts *parts, unsigned shards)
{
	struct hub_settings settings = {.shards = shards, .keepalive_ms = 15000};

	ck_assert_int_eq(hub_new(&settings, &parts->hub), 0);
	ck_assert_int_eq(registry_new(&parts->registry), 0);
}

static void parts_deinit(struct parts *parts)
{
	hub_free(parts->hub);
	registry_free(parts->registry);
}

static size_t count_descriptors(void)
{
	DIR *directory = opendir("/proc/self/fd");
	size_t n = 0;

	ck_assert_ptr_nonnull(directory);
	while (readdir(directory))
		n++;
	closedir(directory);
	return n;
}

static void check_received(int fd, const char *expected)
{
	ck_assert_str_eq(receive_expected(fd, expected), expected);
}

static const char *event_of(const struct handover_stream *stream, int64_t time_us)
{
	return event_text(time_us, stream->chunked ? ENCODING_CHUNKED : ENCODING_IDENTITY);
}

static void start(void)
{
	unsetenv("NOTIFY_SOCKET");
	srandom(1);
	log_set_level(LOG_CRIT);
}

/* What a client has to get from the stream that make_stream() makes; NULL: only silence. */
static const char *expected_of(unsigned i)
{
	static char text[512];
	struct handover_stream stream = make_stream(i);

	snprintf(text, sizeof(text), "%.*s%s%s", (int)stream.rest.length, stream.rest.data,
		stream.behind ? event_of(&stream, T0 + 1) : "",
		stream.phase == HANDOVER_ENDING ? "EOF" : "");
	return text;
}

START_TEST(takes_up_what_was_handed_over)
{
	size_t descriptors = count_descriptors();
	struct update latest;
	struct key key = env_key(2);
	struct sample sample = {0};
	struct stash stash;
	struct parts parts;

	sample_init(&sample);
	parts_init(&parts, (unsigned)_i);
	ck_assert_int_eq(stash_make(sample.state, sample.size, sample.items, N_STREAMS, &stash), 0);
	close_items(&sample);
	takeup(&stash, parts.hub, parts.registry, 1000);
	ck_assert_uint_eq(hub_streams(parts.hub), N_STREAMS);
	ck_assert_uint_eq(registry_size(parts.registry), N_UPDATES);
	ck_assert(registry_latest(parts.registry, &key, clock_wall_us(), &latest, NULL));
	ck_assert_int_eq(latest.time_us, T0 + 2);
	ck_assert_uint_eq(latest.sequence, 0);
	ck_assert_int_eq(hub_start(parts.hub), 0);
	for (unsigned i = 0; i < N_STREAMS; i++)
		check_received(sample.clients[i], expected_of(i));
	parts_deinit(&parts);
	sample_deinit(&sample);
	ck_assert_uint_eq(count_descriptors(), descriptors);
}
END_TEST

/* The bytes that every client gets if the state is of no use. */
static void check_clean_ends(const struct sample *sample)
{
	for (unsigned i = 0; i < N_STREAMS; i++) {
		struct handover_stream stream = make_stream(i);
		bool whole = stream.rest.length == 0 && stream.phase == HANDOVER_OPEN;

		check_received(sample->clients[i], stream.phase == HANDOVER_LINGERING ? ""
						   : whole && stream.chunked ? "0\r\n\r\nEOF"
									     : "EOF");
	}
}

static void fix_checksum(char *state, size_t size)
{
	uint64_t sum = handover_checksum(state, size);

	memcpy(state + offsetof(struct handover_header, checksum), &sum, sizeof(sum));
}

START_TEST(ends_all_cleanly_without_a_usable_state)
{
	struct sample sample = {0};
	struct handover_header header;
	struct stash stash;
	struct parts parts;
	size_t n = N_STREAMS;

	sample_init(&sample);
	parts_init(&parts, 2);
	memcpy(&header, sample.state, sizeof(header));
	if (_i == 0)
		sample.state[sample.size - 1] ^= 1;
	else if (_i == 1)
		header.version = HANDOVER_VERSION + 1;
	else if (_i == 2)
		header.version = HANDOVER_OLDEST - 1;
	else if (_i == 3)
		sample.size--;
	else if (_i == 4)
		n++;
	if (_i == 1 || _i == 2) {
		memcpy(sample.state, &header, sizeof(header));
		fix_checksum(sample.state, sample.size);
	}
	ck_assert_int_eq(stash_make(sample.state, sample.size, sample.items, n, &stash), 0);
	close_items(&sample);
	if (_i == 5)
		close(TAKE_FD(stash.state));
	takeup(&stash, parts.hub, parts.registry, 1000);
	ck_assert_uint_eq(hub_streams(parts.hub), n);
	ck_assert_uint_eq(registry_size(parts.registry), 0);
	ck_assert_int_eq(hub_start(parts.hub), 0);
	check_clean_ends(&sample);
	parts_deinit(&parts);
	sample_deinit(&sample);
}
END_TEST

START_TEST(descriptors_that_come_twice_are_not_lost)
{
	struct sample sample = {0};
	struct stash stash, other;
	struct parts parts;
	size_t descriptors;

	sample_init(&sample);
	descriptors = count_descriptors();
	parts_init(&parts, 2);
	ck_assert_int_eq(stash_make(sample.state, sample.size, sample.items, N_STREAMS, &stash), 0);
	ck_assert_int_eq(stash_make(sample.state, sample.size, sample.items, N_STREAMS, &other), 0);
	ck_assert_int_eq(stash_add(&stash, TAKE_FD(other.pairs[0]), "flagsse-streams"), 1);
	other.n_pairs = 0;
	stash_deinit(&other);
	takeup(&stash, parts.hub, parts.registry, 1000);
	ck_assert_uint_eq(hub_streams(parts.hub), 2 * N_STREAMS);
	ck_assert_uint_eq(registry_size(parts.registry), 0);
	parts_deinit(&parts);
	ck_assert_uint_eq(count_descriptors(), descriptors);
	sample_deinit(&sample);
}
END_TEST

START_TEST(more_than_are_allowed_now_end_cleanly)
{
	struct sample sample = {0};
	struct stash stash;
	struct parts parts;
	size_t n_ended = 0;

	sample_init(&sample);
	parts_init(&parts, 3);
	ck_assert_int_eq(stash_make(sample.state, sample.size, sample.items, N_STREAMS, &stash), 0);
	close_items(&sample);
	takeup(&stash, parts.hub, parts.registry, 3);
	ck_assert_int_eq(hub_start(parts.hub), 0);
	/* All but three, and but the one that had sent its end already. */
	for (int tries = 0; tries < 100 && n_ended != N_STREAMS - 3 - 1; tries++) {
		n_ended = 0;
		for (unsigned i = 0; i < N_STREAMS; i++)
			n_ended += strstr(receive_expected(sample.clients[i], ""), "EOF") != NULL;
	}
	ck_assert_uint_eq(n_ended, N_STREAMS - 3 - 1);
	parts_deinit(&parts);
	sample_deinit(&sample);
}
END_TEST

START_TEST(a_lower_limit_of_open_files_ends_the_surplus)
{
	enum {
		LIMIT = 400,
		N = 300
	};
	struct rlimit limit, low;
	struct stash_content content;
	struct handover_item items[N];
	int clients[N];
	struct stash stash;

	/* 1024 is what many have by default: too few for the numbers below. */
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = limit.rlim_max;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	for (unsigned i = 0; i < N; i++) {
		int pair[2];

		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
		items[i] = (struct handover_item){.fd = pair[0], .kind = HANDOVER_CHUNKED};
		/* Out of the way: they are not the stash's. */
		clients[i] = fcntl(pair[1], F_DUPFD_CLOEXEC, 2 * LIMIT);
		ck_assert_int_ge(clients[i], 0);
		close(pair[1]);
	}
	ck_assert_int_eq(stash_make("x", 1, items, N, &stash), 0);
	for (unsigned i = 0; i < N; i++)
		close(items[i].fd);
	low = (struct rlimit){.rlim_cur = LIMIT, .rlim_max = limit.rlim_max};
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &low), 0);
	ck_assert_int_eq(stash_read(&stash, &content), 0);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	ck_assert_uint_eq(content.n_items, N);
	ck_assert_uint_gt(content.n_cut_short, N / 2);
	ck_assert_uint_lt(content.n_cut_short, N);
	for (unsigned i = 0; i < N; i++) {
		bool ended = content.items[i].fd < 0;

		ck_assert_uint_eq(ended, i >= N - content.n_cut_short);
		if (ended)
			check_received(clients[i], "0\r\n\r\nEOF");
		close(clients[i]);
	}
	stash_content_deinit(&content);
	stash_deinit(&stash);
}
END_TEST

START_TEST(many_descriptors_need_several_pairs)
{
	enum {
		N = 200000
	};
	static struct handover_item items[N];
	struct stash_content content;
	struct stash stash;
	struct rlimit limit;
	int fds[2];

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	ck_assert_int_eq(pipe(fds), 0);
	for (unsigned i = 0; i < N; i++)
		items[i] = (struct handover_item){.fd = fds[i % 2], .kind = (uint8_t)(i % 2)};
	ck_assert_int_eq(stash_make("x", 1, items, N, &stash), 0);
	ck_assert_uint_gt(stash.n_pairs, N / 100000);
	/* They may lie in systemd's store in any order. */
	for (size_t i = 0; i < stash.n_pairs / 2; i++) {
		int first = stash.pairs[i];

		stash.pairs[i] = stash.pairs[stash.n_pairs - 1 - i];
		stash.pairs[stash.n_pairs - 1 - i] = first;
	}
	ck_assert_int_eq(stash_read(&stash, &content), 0);
	ck_assert_ptr_null(content.problem);
	ck_assert_uint_eq(content.n_items, N);
	for (unsigned i = 0; i < N; i++)
		ck_assert_uint_eq(content.items[i].kind, i % 2);
	stash_content_deinit(&content);
	stash_deinit(&stash);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

/* ---- Versions ---- */

/* The sample in the layout of version 1, whose streams have no end_ms, and its header no time. */
static void make_older(struct sample *sample)
{
	struct handover_header header;
	size_t from = sizeof(header), to = HANDOVER_SHORT_HEADER;
	const size_t older = offsetof(struct stream_record, end_ms);

	memcpy(&header, sample->state, sizeof(header));
	for (int i = 0; i < N_SECTIONS; i++) {
		struct handover_section *section = &header.sections[i];
		size_t size = i == SECTION_STREAMS ? older : section->record_size;

		for (uint32_t k = 0; k < section->count; k++) {
			memmove(sample->state + to, sample->state + from, size);
			from += section->record_size;
			to += size;
		}
		section->record_size = (uint32_t)size;
	}
	header.version = 1;
	header.header_size = HANDOVER_SHORT_HEADER;
	sample->size = to;
	memcpy(sample->state, &header, HANDOVER_SHORT_HEADER);
	fix_checksum(sample->state, sample->size);
}

START_TEST(reads_the_version_before)
{
	struct sample sample = {0};
	struct handover_stream stream;
	const char *problem = "";
	struct handover state;

	sample_init(&sample);
	ck_assert_int_eq(
		handover_read(sample.state, sample.size, clock_monotonic_ms(), &state, &problem),
		0);
	handover_get_stream(&state, 1, &stream);
	ck_assert_int_gt(stream.end_ms, 0);
	make_older(&sample);
	ck_assert_msg(handover_read(sample.state, sample.size, clock_monotonic_ms(), &state,
			      &problem) == 0,
		"%s", problem);
	ck_assert_uint_eq(state.n_streams, N_STREAMS);
	for (unsigned i = 0; i < N_STREAMS; i++) {
		struct handover_stream made = make_stream(i);

		handover_get_stream(&state, i, &stream);
		ck_assert_int_eq(stream.end_ms, 0);
		ck_assert_uint_eq(stream.environment, made.environment);
		ck_assert_uint_eq(stream.behind, made.behind);
		ck_assert_uint_eq(stream.rest.length, made.rest.length);
		ck_assert_int_eq(memcmp(stream.rest.data, made.rest.data ? made.rest.data : "",
					 made.rest.length),
			0);
	}
	sample_deinit(&sample);
}
END_TEST

START_TEST(refuses_a_newer_version)
{
	struct sample sample = {0};
	struct handover_header header;
	const char *problem = NULL;
	struct handover state;

	sample_init(&sample);
	memcpy(&header, sample.state, sizeof(header));
	header.version++;
	memcpy(sample.state, &header, sizeof(header));
	fix_checksum(sample.state, sample.size);
	ck_assert_int_eq(
		handover_read(sample.state, sample.size, clock_monotonic_ms(), &state, &problem),
		-EBADMSG);
	ck_assert_ptr_nonnull(strstr(problem, "newer"));
	sample_deinit(&sample);
}
END_TEST

/* ---- What does not fit ---- */

#define OF_STREAM(member)      SECTION_STREAMS, offsetof(struct stream_record, member)
#define OF_ENVIRONMENT(member) SECTION_ENVIRONMENTS, offsetof(struct environment_record, member)
#define OF_UPDATE(member)      SECTION_UPDATES, offsetof(struct update_record, member)

/* A value in a record of the sample that makes the whole state invalid. */
static const struct {
	const char *what;
	unsigned section;
	size_t at;
	unsigned record; /* which one */
	unsigned size;   /* of the value */
	int64_t value;
} misfits[] = {
	{"a stream of no environment", OF_STREAM(environment), 0, 4, N_ENVIRONMENTS},
	{"an open stream without one", OF_STREAM(environment), 0, 4, HANDOVER_NO_ENVIRONMENT},
	{"an ending one of no environment", OF_STREAM(environment), 5, 4, N_ENVIRONMENTS},
	{"no such phase", OF_STREAM(phase), 0, 1, HANDOVER_LINGERING + 1},
	{"nothing lingers with a rest", OF_STREAM(phase), 4, 1, HANDOVER_LINGERING},
	{"an unknown flag", OF_STREAM(flags), 0, 1, STREAM_FLAGS + 1},
	{"behind nothing", OF_STREAM(flags), 0, 1, STREAM_FLAG_BEHIND},
	{"behind, and ending", OF_STREAM(flags), 5, 1, STREAM_FLAG_BEHIND},
	{"something where nothing is", OF_STREAM(unused), 0, 4, 1},
	{"a rest behind the end", OF_STREAM(rest_at), 0, 4, 1000},
	{"a rest that goes on behind the end", OF_STREAM(rest_length), 5, 2, 5},
	{"a rest that is too long", OF_STREAM(rest_length), 0, 2, HANDOVER_REST_MAX + 1},
	{"a write to come", OF_STREAM(last_ms), 0, 8, INT64_MAX},
	{"a write before the beginning", OF_STREAM(last_ms), 0, 8, -1},
	{"an end before the beginning", OF_STREAM(end_ms), 0, 8, -1},
	{"an end that is too far away", OF_STREAM(end_ms), 0, 8, INT64_MAX},
	{"an environment without a name", OF_ENVIRONMENT(key.length), 0, 1, 0},
	{"a name that is too long", OF_ENVIRONMENT(key.length), 0, 1, KEY_MAX_LENGTH + 1},
	{"a name that is longer than its room", OF_ENVIRONMENT(key.length), 0, 1, 255},
	{"a name that is none", OF_ENVIRONMENT(key.text), 0, 1, '.'},
	{"a latest that is none", OF_ENVIRONMENT(latest_us), 0, 8, 1},
	{"an update without a name", OF_UPDATE(key.length), 1, 1, 0},
	{"an update of no time", OF_UPDATE(time_us), 1, 8, 0},
	{"an update stored at no time", OF_UPDATE(stored_us), 1, 8, -1},
};

START_TEST(refuses_what_does_not_fit)
{
	size_t at = sizeof(struct handover_header) + misfits[_i].at;
	struct handover_header header;
	struct sample sample = {0};
	const char *problem = NULL;
	struct handover state;

	sample_init(&sample);
	memcpy(&header, sample.state, sizeof(header));
	for (unsigned i = 0; i < misfits[_i].section; i++)
		at += (size_t)header.sections[i].record_size * header.sections[i].count;
	at += misfits[_i].record * header.sections[misfits[_i].section].record_size;
	memcpy(sample.state + at, &misfits[_i].value, misfits[_i].size);
	fix_checksum(sample.state, sample.size);
	ck_assert_msg(handover_read(sample.state, sample.size, clock_monotonic_ms(), &state,
			      &problem) == -EBADMSG,
		"%s", misfits[_i].what);
	ck_assert_ptr_nonnull(strstr(problem, "none"));
	sample_deinit(&sample);
}
END_TEST

/* ---- Damage ---- */

static size_t random_below(size_t n)
{
	return (size_t)random() % n;
}

static void flip_bytes(char *state, size_t from, size_t to)
{
	for (size_t i = random_below(4) + 1; i > 0 && to > from; i--)
		state[from + random_below(to - from)] ^= (char)(1 << random_below(8));
}

/* Values that are interesting to whoever adds them up, in a place of four bytes. */
static void set_word(char *state, size_t from, size_t to)
{
	static const uint32_t words[] = {0, 1, 2, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff,
		N_STREAMS - 1, N_STREAMS, N_STREAMS + 1, N_ENVIRONMENTS, 4096, 65536};
	size_t at = from + random_below((to - from) / 4) * 4;

	memcpy(state + at, &words[random_below(sizeof(words) / sizeof(words[0]))], 4);
}

/* A damaged copy of the sample's state.  The sum is mended, but for some. */
static char *damage(const struct sample *sample, size_t *ret_size, size_t *n_items)
{
	size_t size = sample->size, header = sizeof(struct handover_header);
	char *state = calloc(1, 2 * size);
	bool mend = random_below(8) != 0;

	memcpy(state, sample->state, size);
	switch (random_below(8)) {
	case 0:
		flip_bytes(state, 0, size);
		break;
	case 1:
	case 2:
		flip_bytes(state, header, size);
		break;
	case 3:
		set_word(state, offsetof(struct handover_header, version), header);
		break;
	case 4:
		set_word(state, header, size);
		break;
	case 5:
		size = random_below(size);
		break;
	case 6:
		size += random_below(size);
		break;
	case 7:
		*n_items = random_below(N_STREAMS + 2);
		break;
	}
	if (mend && size >= header)
		fix_checksum(state, size);
	*ret_size = size;
	return state;
}

/* What else may lie in the store under our names. */
static void add_strangers(struct stash *stash)
{
	int strange = -1, r;

	switch (random_below(40)) {
	case 0:
		strange = open("/dev/null", O_RDWR | O_CLOEXEC);
		break;
	case 1:
		strange = memfd_create("test", MFD_CLOEXEC);
		break;
	case 2:
		strange = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
		break;
	default:
		return;
	}
	r = stash_add(stash, strange, random_below(2) ? "flagsse-streams" : "flagsse-state");
	ck_assert_int_eq(r, 1);
}

START_TEST(no_damage_does_harm)
{
	struct sample sample = {0};
	size_t descriptors, n_good = 0;

	sample_init(&sample);
	descriptors = count_descriptors();
	for (unsigned i = 0; i < N_DAMAGED; i++) {
		size_t size, n_items = N_STREAMS;
		char *state = damage(&sample, &size, &n_items);
		struct stash stash;
		struct parts parts;

		parts_init(&parts, 1 + (unsigned)random_below(3));
		ck_assert_int_eq(stash_make(state, size, sample.items, n_items, &stash), 0);
		free(state);
		add_strangers(&stash);
		takeup(&stash, parts.hub, parts.registry, 1 + random_below(20));
		n_good += registry_size(parts.registry) > 0;
		/* They go on, or end, as if nothing were wrong with them.  Threads take time. */
		hub_drain(parts.hub, 0);
		if (i % 10 == 0)
			ck_assert_int_eq(hub_start(parts.hub), 0);
		parts_deinit(&parts);
		for (unsigned k = 0; k < N_STREAMS; k++) {
			char text[4096];

			(void)!recv(sample.clients[k], text, sizeof(text), MSG_DONTWAIT);
		}
	}
	ck_assert_uint_eq(count_descriptors(), descriptors);
	/* Not all of it shows: flags, times and keys may become others that are valid. */
	ck_assert_uint_gt(n_good, N_DAMAGED / 100);
	ck_assert_uint_lt(n_good, N_DAMAGED / 2);
	sample_deinit(&sample);
}
END_TEST

/* ---- Before it is taken up ---- */

/* As if it had been made so long ago. */
static void set_age(struct sample *sample, int64_t age_ms)
{
	struct handover_header header;

	memcpy(&header, sample->state, sizeof(header));
	header.made_ms = clock_monotonic_ms() - age_ms;
	memcpy(sample->state, &header, sizeof(header));
	fix_checksum(sample->state, sample->size);
}

/* All of what a client has coming, without waiting for more. */
static void check_silent(const struct sample *sample)
{
	char text[16];

	for (unsigned i = 0; i < N_STREAMS; i++)
		ck_assert(recv(sample->clients[i], text, sizeof(text), MSG_DONTWAIT) < 0 &&
			  errno == EAGAIN);
}

START_TEST(the_head_says_how_many_and_how_old)
{
	struct handover_head head = {0};
	struct sample sample = {0};
	const char *problem = NULL;
	struct handover state;
	int64_t read_ms;

	sample_init(&sample);
	set_age(&sample, 1234);
	read_ms = clock_monotonic_ms();
	ck_assert_int_eq(handover_read_head(sample.state, HANDOVER_HEAD_MAX, &head), 0);
	ck_assert_uint_eq(head.n_streams, N_STREAMS);
	ck_assert_int_le(head.made_ms, read_ms - 1234);
	ck_assert_int_gt(head.made_ms, read_ms - 1234 - 10000);
	ck_assert_int_eq(
		handover_read_head(sample.state, sizeof(struct handover_header) - 1, &head),
		-EBADMSG);
	ck_assert_int_eq(handover_read_head(sample.state, 0, &head), -EBADMSG);
	set_age(&sample, -60000);
	ck_assert_int_eq(
		handover_read(sample.state, sample.size, read_ms, &state, &problem), -EBADMSG);
	ck_assert_ptr_nonnull(strstr(problem, "has not come"));
	make_older(&sample);
	ck_assert_int_eq(handover_read_head(sample.state, HANDOVER_HEAD_MAX, &head), 0);
	ck_assert_uint_eq(head.n_streams, N_STREAMS);
	ck_assert_int_eq(head.made_ms, 0);
	sample_deinit(&sample);
}
END_TEST

/* A process that could not start has looked at it, and the next one takes it up. */
START_TEST(young_ones_are_left_where_they_are)
{
	struct sample sample = {0};
	struct stash stash;
	struct parts parts;

	sample_init(&sample);
	parts_init(&parts, 2);
	set_age(&sample, _i == 0 ? 0 : 50000);
	if (_i == 2)
		make_older(&sample); /* which says no time */
	ck_assert_int_eq(stash_make(sample.state, sample.size, sample.items, N_STREAMS, &stash), 0);
	close_items(&sample);
	takeup_end_if_late(&stash);
	takeup_postpone(&stash);
	ck_assert_int_ge(stash.state, 0);
	ck_assert_uint_eq(stash.n_pairs, 1);
	check_silent(&sample);
	takeup(&stash, parts.hub, parts.registry, 1000);
	ck_assert_uint_eq(hub_streams(parts.hub), N_STREAMS);
	ck_assert_uint_eq(registry_size(parts.registry), N_UPDATES);
	parts_deinit(&parts);
	sample_deinit(&sample);
}
END_TEST

START_TEST(late_ones_are_ended_cleanly)
{
	size_t descriptors = count_descriptors();
	struct sample sample = {0};
	struct stash stash;

	sample_init(&sample);
	set_age(&sample, 60001);
	ck_assert_int_eq(stash_make(sample.state, sample.size, sample.items, N_STREAMS, &stash), 0);
	close_items(&sample);
	takeup_end_if_late(&stash);
	ck_assert_int_lt(stash.state, 0);
	ck_assert_uint_eq(stash.n_pairs, 0);
	/* What is half written, and the update that is due, before the last chunk. */
	for (unsigned i = 0; i < N_STREAMS; i++) {
		struct handover_stream stream = make_stream(i);
		char text[512];

		snprintf(text, sizeof(text), "%s", expected_of(i));
		if (stream.phase == HANDOVER_OPEN)
			strcat(text, stream.chunked ? "0\r\n\r\nEOF" : "EOF");
		check_received(
			sample.clients[i], stream.phase == HANDOVER_LINGERING ? "EOF" : text);
	}
	takeup_postpone(&stash);
	sample_deinit(&sample);
	ck_assert_uint_eq(count_descriptors(), descriptors);
}
END_TEST

START_TEST(unreadable_ones_do_not_wait)
{
	struct sample sample = {0};
	struct stash stash;

	sample_init(&sample);
	sample.state[0] ^= 1;
	ck_assert_int_eq(stash_make(sample.state, sample.size, sample.items, N_STREAMS, &stash), 0);
	close_items(&sample);
	if (_i == 1)
		close(TAKE_FD(stash.state));
	takeup_end_if_late(&stash);
	check_silent(&sample);
	takeup_postpone(&stash);
	ck_assert_uint_eq(stash.n_pairs, 0);
	for (unsigned i = 0; i < N_STREAMS; i++) {
		struct handover_stream stream = make_stream(i);
		bool whole = stream.rest.length == 0 && stream.phase == HANDOVER_OPEN;

		check_received(sample.clients[i], whole && stream.chunked ? "0\r\n\r\nEOF" : "EOF");
	}
	sample_deinit(&sample);
}
END_TEST

START_TEST(waits_no_longer_than_it_is_told)
{
	int64_t begun_ms = clock_monotonic_ms();
	struct sample sample = {0};
	struct stash stash;
	struct parts parts;

	sample_init(&sample);
	parts_init(&parts, 3);
	ck_assert_int_eq(stash_make(sample.state, sample.size, sample.items, N_STREAMS, &stash), 0);
	close_items(&sample);
	takeup(&stash, parts.hub, parts.registry, 1000);
	/* No client closes. */
	ck_assert_uint_eq(hub_end_all(parts.hub, 100), N_STREAMS);
	ck_assert_int_ge(clock_monotonic_ms() - begun_ms, 100);
	ck_assert_int_lt(clock_monotonic_ms() - begun_ms, SHARD_LINGER_MS);
	for (unsigned i = 0; i < N_STREAMS; i++)
		if (i != 6) /* had sent its end before */
			ck_assert_ptr_nonnull(
				strstr(receive_expected(sample.clients[i], ""), "EOF"));
	parts_deinit(&parts);
	sample_deinit(&sample);
}
END_TEST

/* ---- */

/* The registry's latest is not the one that the streams have had. */
START_TEST(streams_get_what_they_have_missed)
{
	struct handover_header header;
	struct sample sample = {0};
	const int64_t missed_us = T0 + 7;
	struct stash stash;
	struct parts parts;

	sample_init(&sample);
	parts_init(&parts, 2);
	memcpy(&header, sample.state, sizeof(header));
	memcpy(sample.state + header.header_size + header.sections[SECTION_UPDATES].record_size,
		&missed_us, sizeof(missed_us));
	fix_checksum(sample.state, sample.size);
	ck_assert_int_eq(stash_make(sample.state, sample.size, sample.items, N_STREAMS, &stash), 0);
	close_items(&sample);
	takeup(&stash, parts.hub, parts.registry, 1000);
	ck_assert_int_eq(hub_start(parts.hub), 0);
	for (unsigned i = 0; i < N_STREAMS; i++) {
		struct handover_stream stream = make_stream(i);
		char text[512];

		snprintf(text, sizeof(text), "%s", expected_of(i));
		if (stream.behind)
			strcat(text, event_of(&stream, missed_us));
		check_received(sample.clients[i], text);
	}
	parts_deinit(&parts);
	sample_deinit(&sample);
}
END_TEST

START_TEST(nothing_handed_over_is_nothing)
{
	struct stash stash = {.state = -1};
	struct parts parts;

	takeup_end_if_late(&stash);
	takeup_postpone(&stash);
	parts_init(&parts, 1);
	takeup(&stash, parts.hub, parts.registry, 10);
	ck_assert_uint_eq(hub_streams(parts.hub), 0);
	ck_assert_int_eq(stash_add(&stash, 0, "flagsse.socket"), 0);
	parts_deinit(&parts);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("takeup");
	TCase *tests = tcase_create("takeup");

	tcase_set_timeout(tests, 120);
	tcase_add_checked_fixture(tests, start, NULL);
	tcase_add_loop_test(tests, takes_up_what_was_handed_over, 1, 4);
	tcase_add_loop_test(tests, ends_all_cleanly_without_a_usable_state, 0, 6);
	tcase_add_test(tests, descriptors_that_come_twice_are_not_lost);
	tcase_add_test(tests, more_than_are_allowed_now_end_cleanly);
	tcase_add_test(tests, a_lower_limit_of_open_files_ends_the_surplus);
	tcase_add_test(tests, many_descriptors_need_several_pairs);
	tcase_add_test(tests, reads_the_version_before);
	tcase_add_test(tests, refuses_a_newer_version);
	tcase_add_loop_test(
		tests, refuses_what_does_not_fit, 0, (int)(sizeof(misfits) / sizeof(misfits[0])));
	tcase_add_test(tests, no_damage_does_harm);
	tcase_add_test(tests, the_head_says_how_many_and_how_old);
	tcase_add_loop_test(tests, young_ones_are_left_where_they_are, 0, 3);
	tcase_add_test(tests, late_ones_are_ended_cleanly);
	tcase_add_loop_test(tests, unreadable_ones_do_not_wait, 0, 2);
	tcase_add_test(tests, waits_no_longer_than_it_is_told);
	tcase_add_test(tests, streams_get_what_they_have_missed);
	tcase_add_test(tests, nothing_handed_over_is_nothing);
	suite_add_tcase(suite, tests);
	return suite;
}
