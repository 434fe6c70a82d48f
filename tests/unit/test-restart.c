/* SPDX-License-Identifier: BSD-3-Clause */
/* The end of the process, step by step, between neighbours that are made up: they are linked in
 * place of the real ones, which are in a library.  A test is a script, of words with blanks
 * between, and what the neighbours were asked to do in it, in order.
 *
 *   TERM, INT             a signal
 *   hang                  a thread hangs
 *   restart, try-restart, stop, none, nothing-kept, unknown
 *                         systemd's answer: its job with the unit; none; FileDescriptorStoreMax=0
 *                         with a restart; no answer
 *   could, could-not      whether the next process could start
 *   requests, updates     all of them have their answer; answered: both
 *   2s                    the phase has lasted two seconds
 *   over                  the phase has lasted its time
 *   ended                 the last stream has ended
 *   full                  systemd's store has no room; broken: it fails; shard: one hangs
 *
 * What they were asked to do: ask, check, stop, refuse (subscribers), accept-rest, stop-accepting,
 * drain MS, end-bus, halt, save, store, start, exit STATUS. */
#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "acts.h"
#include "base/clock.h"
#include "base/log.h"
#include "hub/handover.h"
#include "restart/restart-internal.h"
#include "restart/stash.h"
#include "runner.h"

#define N_STREAMS 5000
#define DELAY_MS  7000
#define DRAIN_MS  3000

static struct restart *restart;
static sd_event *event;
static size_t n_streams, n_pairs;
static unsigned n_connections, n_hanging;
static int store_error;
static bool is_answered, can_ask, can_check;

static stop_reason_on_answer *on_reason;
static next_on_answer *on_next;
static void *reason_userdata, *next_userdata;

/* ---- Hub, registry and HTTP ---- */

size_t hub_streams(const struct hub *hub)
{
	(void)hub;
	return n_streams;
}

void hub_drain(struct hub *hub, int64_t over_ms)
{
	(void)hub;
	acts_add("drain %d", (int)over_ms);
}

unsigned hub_halt(struct hub *hub)
{
	(void)hub;
	acts_add("halt");
	return n_hanging;
}

int hub_save(struct hub *hub, struct handover_writer *writer)
{
	(void)hub;
	(void)writer;
	acts_add("save");
	return 0;
}

int hub_start(struct hub *hub)
{
	(void)hub;
	acts_add("start");
	return 0;
}

int registry_each(const struct registry *registry, int64_t now_us,
	int (*visit)(const struct update *update, void *userdata), void *userdata)
{
	(void)registry;
	(void)now_us;
	(void)visit;
	(void)userdata;
	return 0;
}

void http_accept_rest(struct http *http)
{
	(void)http;
	acts_add("accept-rest");
}

void http_stop_accepting(struct http *http)
{
	(void)http;
	acts_add("stop-accepting");
}

unsigned http_connections(const struct http *http)
{
	(void)http;
	return n_connections;
}

/* ---- systemd, and the next process ---- */

int stop_reason_ask(
	sd_event *from, stop_reason_on_answer *on_answer, void *userdata, struct stop_reason **ret)
{
	(void)from;
	if (!can_ask)
		return -ENOENT;
	acts_add("ask");
	on_reason = on_answer;
	reason_userdata = userdata;
	*ret = NULL;
	return 0;
}

struct stop_reason *stop_reason_free(struct stop_reason *reason)
{
	(void)reason;
	return NULL;
}

int next_check(sd_event *from, const char *addresses, next_on_answer *on_answer, void *userdata,
	struct next **ret)
{
	(void)from;
	(void)addresses;
	if (!can_check)
		return -ENOEXEC;
	acts_add("check");
	on_next = on_answer;
	next_userdata = userdata;
	*ret = NULL;
	return 0;
}

struct next *next_free(struct next *next)
{
	(void)next;
	return NULL;
}

int stash_make(const void *state, size_t size, const struct handover_item items[], size_t n_items,
	struct stash *ret)
{
	(void)state;
	(void)size;
	(void)items;
	(void)n_items;
	ret->n_pairs = n_pairs;
	return 0;
}

int stash_store(const struct stash *stash)
{
	(void)stash;
	acts_add("store");
	return store_error;
}

void stash_deinit(struct stash *stash)
{
	(void)stash;
}

/* Of notify.h; the real one tells nobody anything without systemd, and is not needed. */
void notify_status(struct notify *notify)
{
	(void)notify;
}

void notify_stopping(struct notify *notify)
{
	(void)notify;
}

void notify_extend(struct notify *notify, uint64_t usec)
{
	(void)notify;
	(void)usec;
}

/* ---- The owner ---- */

static void on_stop(void *userdata)
{
	(void)userdata;
	acts_add("stop");
}

static void on_end_subscriptions(void *userdata)
{
	(void)userdata;
	acts_add("refuse");
}

static bool has_answered(void *userdata)
{
	(void)userdata;
	return is_answered;
}

static void on_end_bus(void *userdata)
{
	(void)userdata;
	acts_add("end-bus");
}

static int64_t now_us(void *userdata)
{
	(void)userdata;
	return clock_wall_us();
}

/* ---- Words ---- */

static void answer_reason(const char *type, size_t store_max, const char *problem)
{
	struct stop_reason_answer answer = {
		.type = type, .store_max = store_max, .problem = problem};

	ck_assert(on_reason);
	on_reason(&answer, reason_userdata);
}

/* Looks how far it is; and whether that is the end. */
static void look(int64_t now_ms)
{
	static const char *const exits[] = {"exit 0", "exit 1"};
	int code;

	restart_go_on(restart, now_ms);
	if (sd_event_get_exit_code(event, &code) == 0 && !strstr(acts, "exit"))
		acts_add("%s", exits[code]);
}

static void say(const char *word)
{
	static const char *const jobs[] = {"restart", "try-restart", "stop"};

	for (size_t i = 0; i < sizeof(jobs) / sizeof(jobs[0]); i++)
		if (strcmp(word, jobs[i]) == 0) {
			answer_reason(jobs[i], 3, NULL);
			return;
		}
	if (strcmp(word, "TERM") == 0)
		restart_on_signal(restart, SIGTERM);
	else if (strcmp(word, "INT") == 0)
		restart_on_signal(restart, SIGINT);
	else if (strcmp(word, "hang") == 0)
		restart_on_hang(restart);
	else if (strcmp(word, "none") == 0)
		answer_reason("", 3, NULL);
	else if (strcmp(word, "nothing-kept") == 0)
		answer_reason("restart", 0, NULL);
	else if (strcmp(word, "unknown") == 0)
		answer_reason("", 0, "systemd does not answer");
	else if (strcmp(word, "could") == 0)
		on_next(NULL, next_userdata);
	else if (strcmp(word, "could-not") == 0)
		on_next("it could not", next_userdata);
	else if (strcmp(word, "requests") == 0)
		n_connections = 0;
	else if (strcmp(word, "updates") == 0)
		is_answered = true;
	else if (strcmp(word, "answered") == 0) {
		n_connections = 0;
		is_answered = true;
	} else if (strcmp(word, "ended") == 0)
		n_streams = 0;
	else if (strcmp(word, "full") == 0)
		n_pairs = 3;
	else if (strcmp(word, "broken") == 0)
		store_error = -EIO;
	else if (strcmp(word, "shard") == 0)
		n_hanging = 1;
	else if (strcmp(word, "2s") == 0)
		look(restart->begun_ms + 2000);
	else if (strcmp(word, "over") == 0)
		look(restart->until_ms);
	else
		ck_abort_msg("no such word: %s", word);
}

static const struct {
	const char *script, *acts;
} cases[] = {
	/* A restart. */
	{"TERM", "stop, ask"},
	{"TERM restart", "stop, ask, check"},
	{"TERM restart could", "stop, ask, check, stop-accepting"},
	{"TERM restart could answered",
		"stop, ask, check, stop-accepting, end-bus, halt, save, store, exit 0"},
	{"TERM restart could requests", "stop, ask, check, stop-accepting"},
	{"TERM restart could updates", "stop, ask, check, stop-accepting"},
	{"TERM try-restart could over",
		"stop, ask, check, stop-accepting, end-bus, halt, save, store, exit 0"},
	{"shard TERM restart could answered",
		"stop, ask, check, stop-accepting, end-bus, halt, save, store, exit 0"},

	/* It cannot be one. */
	{"TERM stop", "stop, ask"},
	{"TERM stop over", "stop, ask, drain 3000"},
	{"TERM stop over over", "stop, ask, drain 3000, refuse, stop-accepting, drain 0"},
	{"TERM stop over over ended", "stop, ask, drain 3000, refuse, stop-accepting, drain 0"},
	{"TERM stop over over ended answered",
		"stop, ask, drain 3000, refuse, stop-accepting, drain 0, exit 0"},
	{"TERM stop over over over",
		"stop, ask, drain 3000, refuse, stop-accepting, drain 0, exit 0"},
	{"TERM stop over over ended 2s",
		"stop, ask, drain 3000, refuse, stop-accepting, drain 0, exit 0"},
	{"TERM none over", "stop, ask, drain 3000"},
	{"TERM nothing-kept over", "stop, ask, drain 3000"},
	{"TERM unknown over", "stop, ask, drain 3000"},
	{"TERM restart could-not over", "stop, ask, check, drain 3000"},

	/* It fails: the streams are ours still. */
	{"full TERM restart could answered",
		"stop, ask, check, stop-accepting, end-bus, halt, save, start, drain 3000"},
	{"broken TERM restart could answered",
		"stop, ask, check, stop-accepting, end-bus, halt, save, store, start, drain 3000"},
	{"broken TERM restart could answered over",
		"stop, ask, check, stop-accepting, end-bus, halt, save, store, start, drain 3000, "
		"refuse, stop-accepting, drain 0"},

	/* Nobody is asked. */
	{"INT", "stop"},
	{"INT over", "stop, drain 3000"},
	{"ended INT over", "stop, refuse, stop-accepting, drain 0"},
	{"ended INT over answered", "stop, refuse, stop-accepting, drain 0, exit 0"},

	/* A second signal, whatever the phase.  A third changes nothing. */
	{"TERM TERM", "stop, ask, refuse, stop-accepting, drain 0"},
	{"TERM TERM restart", "stop, ask, refuse, stop-accepting, drain 0"},
	{"TERM restart TERM could", "stop, ask, check, refuse, stop-accepting, drain 0"},
	{"TERM stop INT INT", "stop, ask, refuse, stop-accepting, drain 0"},
	{"TERM stop over TERM", "stop, ask, drain 3000, refuse, stop-accepting, drain 0"},
	{"TERM TERM over", "stop, ask, refuse, stop-accepting, drain 0, exit 0"},

	/* By itself: systemd's first signal asks for what is done already. */
	{"hang", "stop, ask"},
	{"hang none could-not", "stop, ask, check"},
	{"hang none could answered",
		"stop, ask, check, stop-accepting, end-bus, halt, save, store, exit 1"},
	{"hang TERM none could answered",
		"stop, ask, check, stop-accepting, end-bus, halt, save, store, exit 1"},
	{"hang TERM TERM", "stop, ask, refuse, stop-accepting, drain 0"},
	{"hang stop over over over",
		"stop, ask, drain 3000, refuse, stop-accepting, drain 0, exit 1"},
};

static void set_up(void)
{
	static const struct restart_operations operations = {
		.stop = on_stop,
		.end_subscriptions = on_end_subscriptions,
		.has_answered = has_answered,
		.end_bus = on_end_bus,
		.now_us = now_us,
	};
	struct restart_parts parts = {0};

	log_set_level(LOG_EMERG);
	setenv("NOTIFY_SOCKET", "/nobody", 1);
	acts_clear();
	n_streams = N_STREAMS;
	n_connections = 1;
	n_pairs = 2;
	n_hanging = 0;
	store_error = 0;
	is_answered = false;
	can_ask = can_check = true;
	ck_assert_int_eq(sd_event_new(&event), 0);
	parts.event = event;
	ck_assert_int_eq(restart_new(&parts, &operations, NULL, &restart), 0);
	restart_configure(restart, DELAY_MS, DRAIN_MS);
}

static void tear_down(void)
{
	restart = restart_free(restart);
	event = sd_event_unref(event);
}

static void check_script(const char *script, const char *expected)
{
	char copy[256], *rest = copy, *word;

	snprintf(copy, sizeof(copy), "%s", script);
	while ((word = strsep(&rest, " "))) {
		say(word);
		look(clock_monotonic_ms());
	}
	acts_check(script, expected);
}

START_TEST(test_case)
{
	check_script(cases[_i].script, cases[_i].acts);
}
END_TEST

START_TEST(test_nobody_can_be_asked)
{
	can_ask = false;
	check_script("TERM over", "stop, drain 3000");
}
END_TEST

START_TEST(test_next_cannot_be_run)
{
	can_check = false;
	check_script("TERM restart over", "stop, ask, drain 3000");
}
END_TEST

/* Without systemd there is no next process. */
START_TEST(test_no_service)
{
	unsetenv("NOTIFY_SOCKET");
	check_script("TERM over", "stop, drain 3000");
}
END_TEST

/* Few streams take less time, and none no time; a delay of nothing is none. */
START_TEST(test_few_streams)
{
	n_streams = 200;
	restart_configure(restart, 0, DRAIN_MS);
	check_script("INT", "stop, drain 200");
}
END_TEST

START_TEST(test_no_drain_time)
{
	restart_configure(restart, 0, 0);
	check_script("INT", "stop, refuse, stop-accepting, drain 0");
}
END_TEST

/* Connections that wait for us are ours to accept, if the sockets are. */
START_TEST(test_own_sockets)
{
	restart->parts.addresses = "127.0.0.1:8088";
	check_script("TERM restart could", "stop, ask, check, accept-rest, stop-accepting");
}
END_TEST

START_TEST(test_what_it_says)
{
	ck_assert(!restart_has_begun(restart));
	check_script("TERM", "stop, ask");
	ck_assert(restart_has_begun(restart));
	ck_assert(!restart_hands_over(restart));
	check_script("restart", "stop, ask, check");
	ck_assert(restart_hands_over(restart));
	check_script("could", "stop, ask, check, stop-accepting");
	ck_assert(restart_hands_over(restart));
	check_script("TERM", "stop, ask, check, stop-accepting, refuse, stop-accepting, drain 0");
	ck_assert(!restart_hands_over(restart));
}
END_TEST

Suite *test_suite(void)
{
	Suite *all = suite_create("restart");
	TCase *steps = tcase_create("steps");

	tcase_add_checked_fixture(steps, set_up, tear_down);
	tcase_add_loop_test(steps, test_case, 0, sizeof(cases) / sizeof(cases[0]));
	tcase_add_test(steps, test_nobody_can_be_asked);
	tcase_add_test(steps, test_next_cannot_be_run);
	tcase_add_test(steps, test_no_service);
	tcase_add_test(steps, test_few_streams);
	tcase_add_test(steps, test_no_drain_time);
	tcase_add_test(steps, test_own_sockets);
	tcase_add_test(steps, test_what_it_says);
	suite_add_tcase(all, steps);
	return all;
}
