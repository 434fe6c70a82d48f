/* SPDX-License-Identifier: BSD-3-Clause */
/* Updates: what is news, their life, and their JSON form. */
#include <check.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "runner.h"
#include "update/timestamp.h"
#include "update/update-internal.h"
#include "update/update.h"

#define N_OF(array) ((int)(sizeof(array) / sizeof((array)[0])))
#define UNTOUCHED   INT64_C(-7)

#define S UPDATE_DOUBT_US

/* clang-format off */
static const struct follow {
	const char *what;
	struct update update; /* its time is 100 unless it is said */
	bool has_waited;
	struct update_latest latest; /* its time, told, accepted */
	int64_t time_us; /* STALE: none */
} follows[] = {
#define STALE INT64_C(-1)
	{"fresh, the latest is below it", {.time_us = 100}, false, {99, 9 * S, 9 * S}, 100},
	{"fresh, the latest is above it", {.time_us = 100}, false, {200, 9 * S, 9 * S}, 201},
	{"fresh, just below the latest", {.time_us = 100}, false, {101, 0, 0}, 102},
	{"fresh, it is the latest", {.time_us = 100}, false, {100, 0, 0}, STALE},
	{"fresh, the latest is a clock's that is years ahead", {.time_us = 100}, false,
		{TIMESTAMP_MAX_US, 0, 0}, TIMESTAMP_MAX_US + 1},

	{"waited, above, from before", {.time_us = 100, .stored_us = 5 * S}, true, {200, 4 * S, 4 * S}, 201},
	{"waited, above, from after", {.time_us = 100, .stored_us = 5 * S}, true, {200, 7 * S, 7 * S}, STALE},
	{"waited, above, in doubt", {.time_us = 100, .stored_us = 5 * S}, true, {200, 6 * S, 6 * S}, 201},
	{"waited, above, just out of doubt", {.time_us = 100, .stored_us = 5 * S}, true,
		{200, 6 * S + 1, 6 * S + 1}, STALE},
	{"waited, above, from after, but some had it before",
		{.time_us = 100, .stored_us = 5 * S}, true, {200, 4 * S, 9 * S}, 201},
	{"waited, below, from before", {.time_us = 100, .stored_us = 5 * S}, true, {99, 4 * S, 4 * S}, 100},
	{"waited, below, from after", {.time_us = 100, .stored_us = 5 * S}, true, {99, 7 * S, 7 * S}, 101},
	{"waited, below, in doubt", {.time_us = 100, .stored_us = 5 * S}, true, {99, 6 * S, 6 * S}, 100},
	{"waited, below, from after, though some had it before",
		{.time_us = 100, .stored_us = 5 * S}, true, {99, 4 * S, 9 * S}, 101},
	{"waited, it is the latest", {.time_us = 100, .stored_us = 5 * S}, true, {100, 4 * S, 4 * S}, STALE},
	{"waited, it is the latest, from after", {.time_us = 100, .stored_us = 5 * S}, true,
		{100, 9 * S, 9 * S}, STALE},

	{"raised, and so is the latest, perhaps", {.time_us = 100, .stored_us = 5 * S, .is_raised = true}, true,
		{100, 9 * S, 9 * S}, 101},
	{"raised, and so is the latest, from before",
		{.time_us = 100, .stored_us = 5 * S, .is_raised = true}, true, {100, 4 * S, 4 * S}, 101},
	{"raised, below", {.time_us = 100, .stored_us = 5 * S, .is_raised = true}, true, {99, 4 * S, 4 * S}, 100},
	{"raised, above, from after", {.time_us = 100, .stored_us = 5 * S, .is_raised = true}, true,
		{200, 9 * S, 9 * S}, STALE},
};

struct good {
	const char *body;
	int64_t us;
};

static const struct good good[] = {
	{"{\"updated_at\": \"2023-01-12T18:06:42.028060+00:00\"}", INT64_C(1673546802028060)},
	{"{\"updated_at\":\"2023-01-12T18:06:42.028060Z\"}", INT64_C(1673546802028060)},
	{"{\"updated_at\":\"2023-01-12 18:06:42\"}", INT64_C(1673546802000000)},
	{"{\"updated_at\":\"2023-01-12T18:06:42\\u005a\"}", INT64_C(1673546802000000)},
	{" \t\r\n{ \"updated_at\" : \"2023-01-12T18:06:42\" } \r\n\t", INT64_C(1673546802000000)},
	{"{\"updated\\u005fat\":1673546802}", INT64_C(1673546802000000)},
	{"{\"updated_at\":1673546802}", INT64_C(1673546802000000)},
	{"{\"updated_at\": 1673546928.028060}", INT64_C(1673546928028060)},
	{"{\"updated_at\": 1673546802028.06}", INT64_C(1673546802028060)},
	{"{\"updated_at\": 1673546928.028060 }", INT64_C(1673546928028060)},
	{"{\"updated_at\": \"2023-01-12T18:06:42\\u005a\"}", INT64_C(1673546802000000)},
	{"{\"updated_at\": \"now\", \"updated_at\": \"2023-01-12T18:06:42Z\"}",
		INT64_C(1673546802000000)},
	{"{\"updated_at\":1673546802028}", INT64_C(1673546802028000)},
	{"{\"updated_at\":1673546802028.06}", INT64_C(1673546802028060)},
	{"{\"updated_at\":1.673546802e9}", INT64_C(1673546802000000)},
	{"{\"updated_at\":1.67354680202806E+9}", INT64_C(1673546802028060)},
	{"{\"updated_at\":16735468020e-1}", INT64_C(1673546802000000)},
	{"{\"updated_at\":946684800}", TIMESTAMP_MIN_US},
	{"{\"updated_at\":1,\"updated_at\":1673546802}", INT64_C(1673546802000000)},
	{"{\"a\":null,\"updated_at\":1673546802,\"b\":[1,{\"c\":true}]}",
		INT64_C(1673546802000000)},
	{"{\"a\":\"N'I.\\\"'\",\"updated_at\":1673546802}", INT64_C(1673546802000000)},
	{"{\"a\":\"\\\\\",\"updated_at\":1673546802}", INT64_C(1673546802000000)},
	{"{\"a\":[true,false,1.5e+3],\"updated_at\":1673546802}", INT64_C(1673546802000000)},
	{"{\"a\":\"\xc3\xa4\",\"updated_at\":1673546802}", INT64_C(1673546802000000)},
};

/* A double has not bits enough for these. */
static const struct good precise[] = {
	{"{\"updated_at\":19999999999.999999}", INT64_C(19999999999999999)},
	{"{\"updated_at\":32503679999999.999}", TIMESTAMP_MAX_US},
	{"{\"updated_at\":32503679999999.998}", TIMESTAMP_MAX_US - 1},
};

#define BODY "the body"
#define TIME "updated_at is not a time"
#define YEAR "updated_at is not between"
/* Anything: json-c 0.18 refuses such numbers by itself, older ones give the nearest that they have. */
#define TOO_LARGE ""
#define NONE "updated_at is missing"

struct bad {
	const char *body;
	const char *problem;
};

static const struct bad bad[] = {
	{"", "the body is empty"},
	{" ", BODY},
	{"x", BODY},
	{"updated_at=1673546802", BODY},
	{"null", BODY},
	{"1673546802", BODY},
	{"\"2023-01-12T18:06:42Z\"", BODY},
	{"[]", "the body is not a JSON object"},
	{"[{\"updated_at\":1673546802}]", "the body is not a JSON object"},
	{"true", BODY},
	{"{", BODY},
	{"{\"updated_at\":1673546802", BODY},
	{"{\"updated_at\":1673546802}}", BODY},
	{"{\"updated_at\":1673546802}x", BODY},
	{"{\"updated_at\":1673546802} {}", BODY},
	{"{\"updated_at\":1673546802,}", BODY},
	{"{'updated_at':1673546802}", BODY},
	{"{updated_at:1673546802}", BODY},
	{"{\"updated_at\":01673546802}", BODY},
	{"{\"updated_at\":+1673546802}", BODY},
	{"{\"updated_at\":0x63c04bf2}", BODY},
	{"{\"updated_at\":1673546802e}", BODY},
	{"{\"updated_at\":.5}", BODY},
	{"{\"updated_at\":nan}", BODY},
	{"{\"updated_at\":1673546802.}", BODY},
	{"{\"updated_at\":1673546802.e0}", BODY},
	{"{\"updated_at\":1673546802,\"a\":NaN}", BODY},
	{"{\"updated_at\":1673546802,\"a\":\"\n\"}", BODY},
	{"{\"updated_at\":1673546802,\"a\":\"\\\"}", BODY},
	{"{\"updated_at\":1673546802,\"a\":'\"'}", BODY},
	{"{\"updated_at\":undefined}", BODY},
	{"{\"updated_at\": 1673546802.}", BODY},
	{"{\"updated_at\": 1673546802.5.5}", BODY},
	{"{\"updated_at\": \"}", BODY},
	{"{\"updated_at\": }", BODY},
	{"{\"updated_at\": \"\"}", TIME},
	{"{\"updated_at\": \"2023-02-29T18:06:42Z\"}", TIME},
	{"{\"updated_at\": 1.5}", YEAR},
	{"{\"updated_at\": \"1999-12-31T23:59:59Z\"}", YEAR},
	{"{\"updated_at\": 999999999999999999999999999999999999999999999999999999999.5}", YEAR},
	{"{/**/\"updated_at\":1673546802}", BODY},
	{"\xef\xbb\xbf{\"updated_at\":1673546802}", BODY},
	{"{\"updated_at\":1673546802,\"a\":\"\xff\"}", BODY},
	{"{\"updated_at\":1673546802,\"a\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", BODY},
	{"{}", NONE},
	{"{\"Updated_at\":1673546802}", NONE},
	{"{\"updated_at \":1673546802}", NONE},
	{"{\"a\":{\"updated_at\":1673546802}}", NONE},
	{"{\"updated_at\":NaN}", BODY},
	{"{\"updated_at\":Infinity}", BODY},
	{"{\"updated_at\":-Infinity}", BODY},
	{"{\"updated_at\":null}", TIME},
	{"{\"updated_at\":true}", TIME},
	{"{\"updated_at\":[]}", TIME},
	{"{\"updated_at\":{}}", TIME},
	{"{\"updated_at\":[1673546802]}", TIME},
	{"{\"updated_at\":\"\"}", TIME},
	{"{\"updated_at\":\"now\"}", TIME},
	{"{\"updated_at\":\"1673546802\"}", TIME},
	{"{\"updated_at\":\"2023-01-12T18:06:42Z\\u0000\"}", TIME},
	{"{\"updated_at\":\"2023-02-29T18:06:42Z\"}", TIME},
	{"{\"updated_at\":\"1999-12-31T23:59:59Z\"}", YEAR},
	{"{\"updated_at\":\"3000-01-01T00:00:00Z\"}", YEAR},
	{"{\"updated_at\":0}", YEAR},
	{"{\"updated_at\":-1673546802}", YEAR},
	{"{\"updated_at\":946684799}", YEAR},
	{"{\"updated_at\":20000000001}", YEAR},
	{"{\"updated_at\":1673546802028060}", YEAR},
	{"{\"updated_at\":9223372036854775807}", YEAR},
	{"{\"updated_at\":-9223372036854775808}", YEAR},
	{"{\"updated_at\":99999999999999999999999999999}", TOO_LARGE},
	{"{\"updated_at\":-99999999999999999999999999999}", TOO_LARGE},
	{"{\"updated_at\":1e400}", YEAR},
	{"{\"updated_at\":1e-400}", YEAR},
};

/* Beyond a long double. */
static const struct bad huge[] = {
	{"{\"updated_at\":1e400000}", TIME},
	{"{\"updated_at\":-1e400000}", TIME},
};
/* clang-format on */

/* From memory of exactly that length, so that a sanitizer sees whoever reads beyond it. */
static int parse(const char *body, size_t length, int64_t *ret_us, const char **ret_problem)
{
	char *copy = malloc(length > 0 ? length : 1);
	int r;

	ck_assert_ptr_nonnull(copy);
	memcpy(copy, body, length);
	*ret_us = UNTOUCHED;
	*ret_problem = NULL;
	r = update_parse_payload(copy, length, ret_us, ret_problem);
	free(copy);
	if (r < 0) {
		ck_assert_int_eq(r, -EBADMSG);
		ck_assert_int_eq(*ret_us, UNTOUCHED);
		ck_assert_ptr_nonnull(*ret_problem);
	}
	return r;
}

START_TEST(test_follow)
{
	const struct follow *follow = &follows[_i];
	int64_t time_us = STALE;
	bool is_news =
		update_follow(&follow->update, follow->has_waited, &follow->latest, &time_us);

	ck_assert_msg(is_news == (follow->time_us != STALE), "%s", follow->what);
	if (is_news)
		ck_assert_msg(
			time_us == follow->time_us, "%s: %lld", follow->what, (long long)time_us);
}
END_TEST

START_TEST(test_raise)
{
	struct update update = {.time_us = 100};

	ck_assert(update_raise(&update, 99));
	ck_assert_int_eq(update.time_us, 100);
	ck_assert(!update.is_raised);
	ck_assert(!update_raise(&update, 100));
	ck_assert(update_raise(&update, 150));
	ck_assert_int_eq(update.time_us, 151);
	ck_assert(update.is_raised);
	ck_assert_msg(update_raise(&update, 151), "another one may have been raised to that, too");
	ck_assert_int_eq(update.time_us, 152);
}
END_TEST

/* What a node writes over the last time that is accepted is read by all. */
START_TEST(test_above_the_last_time)
{
	char body[UPDATE_PAYLOAD_SIZE];
	size_t length = update_format_payload(TIMESTAMP_MAX_US + 1, body);
	const char *problem;
	int64_t us;

	ck_assert_int_eq(update_parse_message(body, length, &us, &problem), 0);
	ck_assert_int_eq(us, TIMESTAMP_MAX_US + 1);
	ck_assert_int_eq(update_parse_payload(body, length, &us, &problem), -EBADMSG);
	length = update_format_payload(TIMESTAMP_LIMIT_US + 1, body);
	ck_assert_int_eq(update_parse_message(body, length, &us, &problem), -EBADMSG);
}
END_TEST

START_TEST(test_expired)
{
	struct update update = {.time_us = 5, .stored_us = 1000};

	ck_assert(!update_is_expired(&update, 1000));
	ck_assert(!update_is_expired(&update, 0));
	ck_assert(!update_is_expired(&update, 1000 + UPDATE_LIFETIME_US - 1));
	ck_assert(update_is_expired(&update, 1000 + UPDATE_LIFETIME_US));
}
END_TEST

static void check_good(const struct good *body)
{
	const char *problem;
	int64_t us;
	int r = parse(body->body, strlen(body->body), &us, &problem);

	ck_assert_msg(r == 0, "%s: %s", body->body, problem);
	ck_assert_msg(us == body->us, "%s is %lld", body->body, (long long)us);
}

START_TEST(test_good)
{
	check_good(&good[_i]);
}
END_TEST

START_TEST(test_precise)
{
	check_good(&precise[_i]);
}
END_TEST

static void check_bad(const struct bad *body)
{
	const char *problem;
	int64_t us;

	ck_assert_msg(parse(body->body, strlen(body->body), &us, &problem) < 0, "%s", body->body);
	ck_assert_msg(strncmp(problem, body->problem, strlen(body->problem)) == 0, "%s: %s",
		body->body, problem);
}

START_TEST(test_bad)
{
	check_bad(&bad[_i]);
}
END_TEST

START_TEST(test_huge)
{
	check_bad(&huge[_i]);
}
END_TEST

START_TEST(test_nul)
{
	static const char after[] = "{\"updated_at\":1673546802}";
	static const char within[] = "{\"updated_at\":1673546802,\"a\":\"b\0c\"}";
	static const char escaped[] = "{\"updated_at\":1673546802,\"a\":\"\\\0\"}";
	static const char number[] = "{\"updated_at\": 1673546802.5\0}";
	static const char text[] = "{\"updated_at\": \"2023-01-12T18:06:42\0\"}";
	const char *problem;
	int64_t us;

	ck_assert_int_lt(parse(number, sizeof(number) - 1, &us, &problem), 0);
	ck_assert_int_lt(parse(text, sizeof(text) - 1, &us, &problem), 0);
	ck_assert_int_lt(parse(escaped, sizeof(escaped) - 1, &us, &problem), 0);
	ck_assert_int_lt(parse(after, sizeof(after), &us, &problem), 0);
	ck_assert_int_lt(parse(within, sizeof(within) - 1, &us, &problem), 0);
}
END_TEST

START_TEST(test_truncated)
{
	const char *body = good[0].body, *problem;
	int64_t us;

	for (size_t n = 0; n < strlen(body); n++)
		ck_assert_int_lt(parse(body, n, &us, &problem), 0);
}
END_TEST

/* Each microsecond that we write as a number is read as the same one. */
START_TEST(test_round_trip)
{
	char payload[UPDATE_PAYLOAD_SIZE];
	const char *problem;
	size_t n;

	n = update_format_payload(INT64_C(1673546928028060), payload);
	ck_assert_str_eq(payload, "{\"updated_at\": 1673546928.028060}");
	ck_assert_uint_eq(n, strlen(payload));

	for (int i = 0; i < 20000; i++) {
		int64_t in = TIMESTAMP_MIN_US + i * INT64_C(1577800050007), out = 0;

		n = update_format_payload(in, payload);
		ck_assert_int_eq(update_parse_message(payload, n, &out, &problem), 0);
		ck_assert_int_eq(out, in);
	}
}
END_TEST

/* What is milliseconds over HTTP, and so too early, is seconds on the bus; all else is alike. */
START_TEST(test_message)
{
	const char *seconds = "{\"updated_at\": 25000000000}", *problem;
	const char *milliseconds = "{\"updated_at\": 1673546928028}";
	int64_t us;

	ck_assert_int_lt(parse(seconds, strlen(seconds), &us, &problem), 0);
	ck_assert_int_eq(update_parse_message(seconds, strlen(seconds), &us, &problem), 0);
	ck_assert_int_eq(us, INT64_C(25000000000000000));
	ck_assert_int_eq(
		update_parse_message(milliseconds, strlen(milliseconds), &us, &problem), 0);
	ck_assert_int_eq(us, INT64_C(1673546928028000));
}
END_TEST

START_TEST(test_extremes)
{
	char payload[UPDATE_PAYLOAD_SIZE];

	update_format_payload(INT64_MIN, payload);
	ck_assert_str_eq(payload, "{\"updated_at\": -9223372036854.775808}");
}
END_TEST

/* ---- Plainly, and by json-c ---- */

/* What the bodies are made of. */
static const char *const usual[] = {
	"{\"updated_at\": \"2023-01-12T18:06:42.028060+00:00\"}",
	"{\"updated_at\": \"2024-02-29T23:59:60.999999Z\"}",
	"{\"updated_at\": \"2023-01-12T18:06:42-05:30\"}",
	"{\"updated_at\": \"2999-12-31 23:59:59,5\"}",
	"{\"updated_at\": 1673546928.028060}",
	"{\"updated_at\": 1673546928028.060}",
	"{\"updated_at\": 32503679999.999999}",
	"{\"updated_at\": 946684800.0}",
};

static const char alphabet[] = "0123456789999-+.:,TtZz eE\"\"{}[]\\/'nu_aN\t\n\x7f\x80\xc3\xff";

struct body {
	char text[128];
	size_t length;
};

static size_t below(size_t n)
{
	return (size_t)random() % n;
}

static char any_character(void)
{
	return alphabet[below(sizeof(alphabet))]; /* its NUL, too */
}

/* One character is replaced, taken out, put in, or copied from elsewhere; or the rest is cut off.
 */
static void mutate(struct body *body)
{
	size_t at = below(body->length), rest = body->length - at - 1;

	switch (below(5)) {
	case 0:
		body->text[at] = any_character();
		break;
	case 1:
		memmove(body->text + at, body->text + at + 1, rest);
		body->length--;
		break;
	case 2:
		memmove(body->text + at + 1, body->text + at, rest + 1);
		body->text[at] = any_character();
		body->length++;
		break;
	case 3:
		body->text[at] = body->text[below(body->length)];
		break;
	default:
		if (below(8) == 0)
			body->length = at;
	}
}

/* Other digits in the same form; then, at times, some mutations. */
static void make_body(struct body *ret)
{
	const char *text = usual[below(N_OF(usual))];

	ret->length = strlen(text);
	memcpy(ret->text, text, ret->length);
	for (size_t i = 0; i < ret->length; i++)
		if (text[i] >= '0' && text[i] <= '9' && below(4) == 0)
			ret->text[i] = (char)('0' + below(10));
	for (size_t n = below(5); n > 0 && ret->length > 0; n--)
		mutate(ret);
}

/* Returns whether it was read plainly. */
static bool compare(const char *body, size_t length, update_read_number *from_number)
{
	int64_t plain = UNTOUCHED, json = UNTOUCHED;
	const char *problem = NULL;
	char *copy = malloc(length > 0 ? length : 1);
	bool is_plain;
	int r;

	ck_assert_ptr_nonnull(copy);
	memcpy(copy, body, length);
	is_plain = update_parse_plain(copy, length, from_number, &plain);
	r = is_plain ? update_parse_json(copy, length, from_number, &json, &problem) : 0;
	ck_assert_msg(r == 0 && plain == json, "%.*s: read as %lld without json-c, by it %d, %lld",
		(int)length, body, (long long)plain, r, (long long)json);
	free(copy);
	return is_plain;
}

/* Whatever is read without json-c is what json-c reads. */
START_TEST(test_plain_is_json)
{
	int n_plain = 0;

	srandom(1);
	for (int i = 0; i < 300000; i++) {
		struct body body;

		make_body(&body);
		n_plain += compare(body.text, body.length, update_number_of_payload);
		n_plain += compare(body.text, body.length, update_number_of_message);
	}
	/* Both kinds were tried. */
	ck_assert_int_gt(n_plain, 60000);
	ck_assert_int_lt(n_plain, 540000);
	for (int i = 0; i < N_OF(good); i++)
		compare(good[i].body, strlen(good[i].body), update_number_of_payload);
	for (int i = 0; i < N_OF(bad); i++)
		ck_assert(!compare(bad[i].body, strlen(bad[i].body), update_number_of_payload));
}
END_TEST

/* And what Flagsmith and the bus send is read that way. */
START_TEST(test_usual_is_plain)
{
	const char *body = usual[_i];

	ck_assert(compare(body, strlen(body), update_number_of_message));
}
END_TEST

/* When an update counts as stored, at 1,000 s. */
static const struct {
	const char *what;
	int64_t time_s, stored_s, settled_s;
} futures[] = {
	{"stored before", 900, 950, 950},
	{"stored now", 900, 1000, 1000},
	{"within the doubt", 900, 1001, 1001},
	{"ahead, the publisher was right", 970, 1002, 970},
	{"ahead, published now", 1000, 4600, 1000},
	{"ahead, published long ago", 100, 4600, 940},
	{"both ahead", 1001, 4600, 940},
	{"a year ahead", 31537000, 31537000, 940},
	{"a publisher that is ahead", 31537000, 990, 990},
};

START_TEST(test_settle)
{
	const int64_t now_us = 1000 * US_PER_S;
	struct update update = {.time_us = futures[_i].time_s * US_PER_S,
		.stored_us = futures[_i].stored_s * US_PER_S};
	bool changed = update_settle(&update, now_us);

	ck_assert_msg(update.stored_us == futures[_i].settled_s * US_PER_S, "%s: %lld",
		futures[_i].what, (long long)update.stored_us);
	ck_assert_msg(
		changed == (futures[_i].settled_s != futures[_i].stored_s), "%s", futures[_i].what);
}
END_TEST

/* What waits was accepted now at the latest. */
START_TEST(test_settle_waiting)
{
	struct update update = {.time_us = 5000, .stored_us = 4000};

	update_settle_waiting(&update, 4000);
	ck_assert_int_eq(update.stored_us, 4000);
	update_settle_waiting(&update, 3999);
	ck_assert_int_eq(update.stored_us, 3999);
}
END_TEST

Suite *test_suite(void)
{
	Suite *all = suite_create("update");
	TCase *cases = tcase_create("update");

	tcase_add_loop_test(cases, test_follow, 0, N_OF(follows));
	tcase_add_test(cases, test_raise);
	tcase_add_test(cases, test_expired);
	tcase_add_loop_test(cases, test_settle, 0, N_OF(futures));
	tcase_add_test(cases, test_settle_waiting);
	tcase_add_loop_test(cases, test_good, 0, N_OF(good));
	tcase_add_loop_test(cases, test_bad, 0, N_OF(bad));
	tcase_add_test(cases, test_nul);
	tcase_add_test(cases, test_truncated);
	tcase_add_test(cases, test_message);
	tcase_add_test(cases, test_extremes);
	tcase_add_loop_test(cases, test_usual_is_plain, 0, N_OF(usual));
	suite_add_tcase(all, cases);

	cases = tcase_create("precise");
	/* It computes long doubles with the 53 bits of a double. */
	tcase_set_tags(cases, "not-in-valgrind");
	tcase_add_loop_test(cases, test_precise, 0, N_OF(precise));
	tcase_add_loop_test(cases, test_huge, 0, N_OF(huge));
	tcase_add_test(cases, test_above_the_last_time);
	tcase_add_test(cases, test_round_trip);
	tcase_add_test(cases, test_plain_is_json);
	suite_add_tcase(all, cases);
	return all;
}
