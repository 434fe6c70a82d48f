/* SPDX-License-Identifier: BSD-3-Clause */
/* Timestamps: all forms that are read, many that are not, numbers, and what is written. */
#include <check.h>
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "runner.h"
#include "update/timestamp.h"

#define UNTOUCHED   INT64_C(-7)
#define N_OF(array) ((int)(sizeof(array) / sizeof((array)[0])))

/* clang-format off */
/* The values are Python's. */
static const struct {
	const char *text;
	int64_t us;
} good[] = {
	{"2023-01-12T18:06:42.028060+00:00", INT64_C(1673546802028060)},
	{"2023-01-12T18:06:42.028060Z", INT64_C(1673546802028060)},
	{"2023-01-12T18:06:42.028060z", INT64_C(1673546802028060)},
	{"2023-01-12t18:06:42.028060Z", INT64_C(1673546802028060)},
	{"2023-01-12 18:06:42.028060", INT64_C(1673546802028060)},
	{"2023-01-12 18:06:42.028060+00:00", INT64_C(1673546802028060)},
	{"2023-01-12T18:06:42.028060", INT64_C(1673546802028060)},
	{"2023-01-12T18:06:42,028060Z", INT64_C(1673546802028060)},
	{"2023-01-12T18:06:42", INT64_C(1673546802000000)},
	{"2023-01-12T18:06:42Z", INT64_C(1673546802000000)},
	{"2023-01-12T18:06:42.0Z", INT64_C(1673546802000000)},
	{"2023-01-12T18:06:42.1Z", INT64_C(1673546802100000)},
	{"2023-01-12T18:06:42.12Z", INT64_C(1673546802120000)},
	{"2023-01-12T18:06:42.123Z", INT64_C(1673546802123000)},
	{"2023-01-12T18:06:42.1234Z", INT64_C(1673546802123400)},
	{"2023-01-12T18:06:42.12345Z", INT64_C(1673546802123450)},
	{"2023-01-12T18:06:42.123456Z", INT64_C(1673546802123456)},
	{"2023-01-12T18:06:42.1234567Z", INT64_C(1673546802123457)},
	{"2023-01-12T18:06:42.12345678Z", INT64_C(1673546802123457)},
	{"2023-01-12T18:06:42.123456789Z", INT64_C(1673546802123457)},
	{"2023-01-12T18:06:42.1234564Z", INT64_C(1673546802123456)},
	{"2023-01-12T18:06:42.1234565Z", INT64_C(1673546802123457)},
	{"2023-01-12T18:06:42.123456499Z", INT64_C(1673546802123456)},
	{"2023-01-12T18:06:42.123456500Z", INT64_C(1673546802123457)},
	{"2023-01-12T18:06:42.9999995Z", INT64_C(1673546803000000)},
	{"2023-01-12T18:06:42.9999994Z", INT64_C(1673546802999999)},
	{"2023-12-31T23:59:59.999999999Z", INT64_C(1704067200000000)},
	{"2023-01-12T18:06:42.000000001Z", INT64_C(1673546802000000)},
	{"2023-01-12T18:06:42.000001Z", INT64_C(1673546802000001)},
	{"2023-01-12T18:06:42.123+05:30", INT64_C(1673527002123000)},
	{"2023-01-12T18:06:42.123+0530", INT64_C(1673527002123000)},
	{"2023-01-12T18:06:42.123+05", INT64_C(1673528802123000)},
	{"2023-01-12T18:06:42.123-05:30", INT64_C(1673566602123000)},
	{"2023-01-12T18:06:42.123-0530", INT64_C(1673566602123000)},
	{"2023-01-12T18:06:42.123-05", INT64_C(1673564802123000)},
	{"2023-01-12T18:06:42-00:00", INT64_C(1673546802000000)},
	{"2023-01-12T18:06:42+23:59", INT64_C(1673460462000000)},
	{"2023-01-12T18:06:42-23:59", INT64_C(1673633142000000)},
	{"2023-01-12T18:06:42+14:00", INT64_C(1673496402000000)},
	{"2023-01-01T00:00:00+00:01", INT64_C(1672531140000000)},
	{"2022-12-31T23:59:59-00:01", INT64_C(1672531259000000)},
	{"2023-03-01T00:00:00+01:00", INT64_C(1677625200000000)},
	{"2024-03-01T00:00:00+01:00", INT64_C(1709247600000000)},
	{"2024-02-29T12:00:00Z", INT64_C(1709208000000000)},
	{"2000-02-29T12:00:00Z", INT64_C(951825600000000)},
	{"2400-02-29T12:00:00Z", INT64_C(13574606400000000)},
	{"2023-02-28T23:59:59Z", INT64_C(1677628799000000)},
	{"2023-04-30T00:00:00Z", INT64_C(1682812800000000)},
	{"2023-12-31T00:00:00Z", INT64_C(1703980800000000)},
	{"2023-01-31T00:00:00Z", INT64_C(1675123200000000)},
	{"2000-01-01T00:00:00Z", INT64_C(946684800000000)},
	{"2000-01-01T00:00:00.000000Z", INT64_C(946684800000000)},
	{"1999-12-31T23:00:00-01:00", INT64_C(946684800000000)},
	{"1999-12-31T23:59:59.9999995Z", INT64_C(946684800000000)},
	{"2999-12-31T23:59:59Z", INT64_C(32503679999000000)},
	{"2999-12-31T23:59:59.999999Z", INT64_C(32503679999999999)},
	{"2999-12-31T23:59:59.9999994Z", INT64_C(32503679999999999)},
	{"3000-01-01T00:59:59+01:00", INT64_C(32503679999000000)},
	{"2016-12-31T23:59:60Z", INT64_C(1483228800000000)},
	{"2016-12-31T23:59:60.5Z", INT64_C(1483228800500000)},
	{"2017-01-01T00:59:60+01:00", INT64_C(1483228800000000)},
	{"2023-06-15T12:34:60Z", INT64_C(1686832500000000)},
	{"2038-01-19T03:14:07Z", INT64_C(2147483647000000)},
	{"2038-01-19T03:14:08Z", INT64_C(2147483648000000)},
	{"2106-02-07T06:28:16Z", INT64_C(4294967296000000)},
	{"2603-10-11T11:33:21Z", INT64_C(20000000001000000)},
	{"2100-02-28T23:59:59Z", INT64_C(4107542399000000)},
	{"2100-03-01T00:00:00Z", INT64_C(4107542400000000)},
};

static const char *const bad[] = {
	"",
	"2023-01-12",
	"2023-01-12T",
	"2023-01-12T18",
	"2023-01-12T18:06",
	"2023-01-12T18:06Z",
	"2023-01-12T18:06:4",
	"2023-1-12T18:06:42Z",
	"2023-01-1T18:06:42Z",
	"23-01-12T18:06:42Z",
	"02023-01-12T18:06:42Z",
	"+2023-01-12T18:06:42Z",
	"-2023-01-12T18:06:42Z",
	"20230112T180642Z",
	"2023-01-12T180642Z",
	"2023-W02-4T18:06:42Z",
	"2023-012T18:06:42Z",
	"2023/01/12T18:06:42Z",
	"2023-01-12_18:06:42Z",
	"2023-01-12T18.06.42Z",
	"2023-01-12  18:06:42Z",
	" 2023-01-12T18:06:42Z",
	"2023-01-12T18:06:42Z ",
	"2023-01-12T18:06:42 Z",
	"2023-01-12T18:06:42 +00:00",
	"2023-01-12T18:06:42.Z",
	"2023-01-12T18:06:42.",
	"2023-01-12T18:06:42.+00:00",
	"2023-01-12T18:06:42.1234567890Z",
	"2023-01-12T18:06:42.12.3Z",
	"2023-01-12T18:06:42.-1Z",
	"2023-01-12T18:06:42.1e3Z",
	"2023-01-12T18:06:42+",
	"2023-01-12T18:06:42+0",
	"2023-01-12T18:06:42+000",
	"2023-01-12T18:06:42+00:",
	"2023-01-12T18:06:42+00:0",
	"2023-01-12T18:06:42+00:000",
	"2023-01-12T18:06:42+00000",
	"2023-01-12T18:06:42+00:00:00",
	"2023-01-12T18:06:42+24:00",
	"2023-01-12T18:06:42-24:00",
	"2023-01-12T18:06:42+00:60",
	"2023-01-12T18:06:42+-1:00",
	"2023-01-12T18:06:42Z+00:00",
	"2023-01-12T18:06:42ZZ",
	"2023-01-12T18:06:42UTC",
	"2023-01-12T18:06:42 UTC",
	"2023-01-12T18:06:42GMT",
	"2023-00-12T18:06:42Z",
	"2023-13-12T18:06:42Z",
	"2023-01-00T18:06:42Z",
	"2023-01-32T18:06:42Z",
	"2023-02-29T18:06:42Z",
	"2024-02-30T18:06:42Z",
	"2100-02-29T18:06:42Z",
	"2200-02-29T18:06:42Z",
	"2023-04-31T18:06:42Z",
	"2023-06-31T18:06:42Z",
	"2023-09-31T18:06:42Z",
	"2023-11-31T18:06:42Z",
	"2023-01-12T24:00:00Z",
	"2023-01-12T25:06:42Z",
	"2023-01-12T18:60:42Z",
	"2023-01-12T18:06:61Z",
	"2023-01-12T18:06:99Z",
	"2023-01-12T-1:06:42Z",
	"2023-01-12T18:06:0x2Z",
	"now",
	"1673546928",
	"1673546928.028060",
	"null",
	"Thu, 12 Jan 2023 18:06:42 GMT",
};

static const char *const out_of_range[] = {
	"0000-01-01T00:00:00Z",
	"0001-01-01T00:00:00Z",
	"1969-12-31T23:59:59Z",
	"1970-01-01T00:00:00Z",
	"1999-12-31T23:59:59Z",
	"1999-12-31T23:59:59.999999Z",
	"1999-12-31T23:59:59.9999994Z",
	"2000-01-01T00:00:00+00:01",
	"2000-01-01T23:58:59+23:59",
	"2999-12-31T23:59:59.9999995Z",
	"2999-12-31T23:59:60Z",
	"2999-12-31T23:59:59-00:01",
	"3000-01-01T00:00:00Z",
	"9999-12-31T23:59:59.999999999-23:59",
};

static const struct {
	long double number;
	int result;
	int64_t us;
} numbers[] = {
	{1673546802.0L, 0, INT64_C(1673546802000000)},
	{1673546802.02806L, 0, INT64_C(1673546802028060)},
	{1673546802.0280604L, 0, INT64_C(1673546802028060)},
	{1673546802.0280606L, 0, INT64_C(1673546802028061)},
	{1673546802028.0L, 0, INT64_C(1673546802028000)},
	{1673546802028.06L, 0, INT64_C(1673546802028060)},
	{946684800.0L, 0, TIMESTAMP_MIN_US},
	{946684799.9999996L, 0, TIMESTAMP_MIN_US},
	{946684799.999999L, -ERANGE, UNTOUCHED},
	{946684800000.0L, 0, TIMESTAMP_MIN_US},
	{946684799999.0L, -ERANGE, UNTOUCHED},
	{32503679999999.999L, 0, TIMESTAMP_MAX_US},
	{32503680000000.0L, -ERANGE, UNTOUCHED},
	{TIMESTAMP_SECONDS_MAX, 0, INT64_C(20000000000000000)},
	{TIMESTAMP_SECONDS_MAX + 1, -ERANGE, UNTOUCHED},
	{0.0L, -ERANGE, UNTOUCHED},
	{-0.0L, -ERANGE, UNTOUCHED},
	{-1673546802.0L, -ERANGE, UNTOUCHED},
	{1673546802028060.0L, -ERANGE, UNTOUCHED}, /* microseconds */
	{9.3e18L, -ERANGE, UNTOUCHED},
	{-9.3e18L, -ERANGE, UNTOUCHED},
	{1e300L, -ERANGE, UNTOUCHED},
	{-1e300L, -ERANGE, UNTOUCHED},
	{1e-300L, -ERANGE, UNTOUCHED},
	{HUGE_VALL, -EINVAL, UNTOUCHED},
	{-HUGE_VALL, -EINVAL, UNTOUCHED},
	{NAN, -EINVAL, UNTOUCHED},
};

static const struct {
	int64_t us;
	const char *text;
} written[] = {
	{INT64_C(1673546928028060), "1673546928.028060"},
	{INT64_C(1673546928000000), "1673546928.000000"},
	{INT64_C(1673546928000001), "1673546928.000001"},
	{INT64_C(1673546928999999), "1673546928.999999"},
	{TIMESTAMP_MIN_US, "946684800.000000"},
	{TIMESTAMP_MAX_US, "32503679999.999999"},
	{0, "0.000000"},
	{-1, "-0.000001"},
	{-1500000, "-1.500000"},
	{INT64_MAX, "9223372036854.775807"},
	{INT64_MIN, "-9223372036854.775808"},
};
/* clang-format on */

/* From memory of exactly that length, so that a sanitizer sees whoever reads beyond it. */
static int parse(const char *text, size_t length, int64_t *ret_us)
{
	char *copy = malloc(length > 0 ? length : 1);
	int r;

	ck_assert_ptr_nonnull(copy);
	memcpy(copy, text, length);
	*ret_us = UNTOUCHED;
	r = timestamp_parse_iso8601(copy, length, ret_us);
	free(copy);
	if (r < 0)
		ck_assert_int_eq(*ret_us, UNTOUCHED);
	return r;
}

START_TEST(test_good)
{
	int64_t us;

	ck_assert_msg(parse(good[_i].text, strlen(good[_i].text), &us) == 0, "%s", good[_i].text);
	ck_assert_msg(us == good[_i].us, "%s is %lld", good[_i].text, (long long)us);
}
END_TEST

START_TEST(test_bad)
{
	int64_t us;
	int r = parse(bad[_i], strlen(bad[_i]), &us);

	ck_assert_msg(r == -EINVAL, "\"%s\": %d", bad[_i], r);
}
END_TEST

START_TEST(test_out_of_range)
{
	int64_t us;
	int r = parse(out_of_range[_i], strlen(out_of_range[_i]), &us);

	ck_assert_msg(r == -ERANGE, "\"%s\": %d", out_of_range[_i], r);
}
END_TEST

/* Where a text may end. */
START_TEST(test_truncated)
{
	static const char text[] = "2023-01-12T18:06:42.028060+00:00";
	static const size_t whole[] = {19, 21, 22, 23, 24, 25, 26, 29, 32};
	size_t w = 0;
	int64_t us;

	for (size_t n = 0; n <= strlen(text); n++) {
		bool is_whole = w < sizeof(whole) / sizeof(whole[0]) && whole[w] == n;

		w += is_whole;
		ck_assert_msg(
			parse(text, n, &us) == (is_whole ? 0 : -EINVAL), "%.*s", (int)n, text);
	}
}
END_TEST

/* Each byte value in each place: only what belongs there is taken. */
START_TEST(test_wrong_characters)
{
	static const char text[] = "2023-01-12T18:06:42.028060+00:00";
	int64_t us;

	for (size_t at = 0; at < strlen(text); at++)
		for (int c = 0; c < 256; c++) {
			char changed[sizeof(text)];
			bool fits;

			memcpy(changed, text, sizeof(text));
			changed[at] = (char)c;
			if (text[at] >= '0' && text[at] <= '9')
				fits = c >= '0' && c <= '9';
			else if (text[at] == 'T')
				fits = c != '\0' && strchr("Tt ", c);
			else if (text[at] == '.')
				fits = c == '.' || c == ',';
			else if (text[at] == '+')
				/* A digit makes the fraction longer, and the rest wrong. */
				fits = c == '+' || c == '-';
			else
				fits = c == text[at];
			if (!fits)
				ck_assert_msg(parse(changed, strlen(text), &us) == -EINVAL,
					"byte %d at %zu", c, at);
			else if (text[at] != changed[at] && (text[at] < '0' || text[at] > '9'))
				ck_assert_int_eq(parse(changed, strlen(text), &us), 0);
		}
}
END_TEST

/* Every day of the range, against the C library. */
START_TEST(test_days)
{
	time_t end = TIMESTAMP_MAX_US / US_PER_S;

	for (time_t day = TIMESTAMP_MIN_US / US_PER_S; day < end; day += 86400) {
		time_t moment = day + (day / 86400 * 7919) % 86400;
		char text[128];
		struct tm tm;
		int64_t us;

		ck_assert_ptr_nonnull(gmtime_r(&moment, &tm));
		/* Not strftime(), which looks for the local time zone each time. */
		snprintf(text, sizeof(text), "%04d-%02d-%02dT%02d:%02d:%02dZ", tm.tm_year + 1900,
			tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
		if (timestamp_parse_iso8601(text, strlen(text), &us) < 0 || us != moment * US_PER_S)
			ck_abort_msg("%s", text);
	}
}
END_TEST

START_TEST(test_numbers)
{
	int64_t us = UNTOUCHED;
	int r = timestamp_from_number(numbers[_i].number, &us);

	ck_assert_msg(r == numbers[_i].result, "%Lf: %d", numbers[_i].number, r);
	ck_assert_msg(us == numbers[_i].us, "%Lf is %lld", numbers[_i].number, (long long)us);
}
END_TEST

START_TEST(test_written)
{
	char text[TIMESTAMP_TEXT_SIZE];
	size_t n = timestamp_format(written[_i].us, text);

	ck_assert_str_eq(text, written[_i].text);
	ck_assert_uint_eq(n, strlen(text));
}
END_TEST

Suite *test_suite(void)
{
	Suite *all = suite_create("timestamp");
	TCase *cases = tcase_create("timestamp");

	tcase_add_loop_test(cases, test_good, 0, N_OF(good));
	tcase_add_loop_test(cases, test_bad, 0, N_OF(bad));
	tcase_add_loop_test(cases, test_out_of_range, 0, N_OF(out_of_range));
	tcase_add_test(cases, test_truncated);
	tcase_add_test(cases, test_wrong_characters);
	tcase_add_loop_test(cases, test_written, 0, N_OF(written));
	suite_add_tcase(all, cases);

	cases = tcase_create("numbers");
	/* It computes long doubles with the 53 bits of a double; and the days take it minutes. */
	tcase_set_tags(cases, "not-in-valgrind");
	tcase_add_test(cases, test_days);
	tcase_add_loop_test(cases, test_numbers, 0, N_OF(numbers));
	suite_add_tcase(all, cases);
	return all;
}
