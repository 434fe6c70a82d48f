/* SPDX-License-Identifier: BSD-3-Clause */
/* Text from outside: what is made of control characters and of what is no UTF-8. */
#include <check.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "runner.h"

static const struct {
	const char *text, *clean;
} cleaned[] = {
	/* What stays as it is. */
	{"", ""},
	{"plain ASCII, ~!\"'\\{}", "plain ASCII, ~!\"'\\{}"},
	{"\303\244 \342\202\254 \360\237\230\200", "\303\244 \342\202\254 \360\237\230\200"},
	{"\302\240", "\302\240"},                                 /* U+00A0, behind C1 */
	{"\337\277\340\240\200", "\337\277\340\240\200"},         /* U+07FF, U+0800 */
	{"\355\237\277\356\200\200", "\355\237\277\356\200\200"}, /* around the surrogates */
	{"\357\277\277\360\220\200\200", "\357\277\277\360\220\200\200"}, /* U+FFFF, U+10000 */
	{"\364\217\277\277", "\364\217\277\277"},                         /* U+10FFFF */

	/* C0, DEL. */
	{"a\nWATCHDOG=trigger", "a?WATCHDOG=trigger"},
	{"\001\002\003\004\005\006\007\b\t\n\v\f\r\016\017", "???????????????"},
	{"\020\021\022\023\024\025\026\027\030\031\032\033\034\035\036\037", "????????????????"},
	{"\033[2J\177", "?[2J?"},

	/* C1, and what is near it. */
	{"\302\200 \302\205 \302\237", "?? ?? ??"},
	{"\301\277 \303\200", "?? \303\200"},

	/* Bytes that begin nothing, and characters that do not end. */
	{"\200 \277 \300 \301 \365 \376 \377", "? ? ? ? ? ? ?"},
	{"\303", "?"},
	{"\342\202", "??"},
	{"\342\202x", "??x"},
	{"\360\237\230", "???"},
	{"\360\237\230\n", "????"},
	{"\303\303\244", "?\303\244"},
	{"\303\n", "??"},

	/* Overlong: '/', '\n', U+0085, U+07FF, U+FFFF. */
	{"\300\257", "??"},
	{"\300\212 \340\200\212 \360\200\200\212", "?? ??? ????"},
	{"\340\202\205", "???"},
	{"\340\237\277 \360\217\277\277", "??? ????"},

	/* Surrogates, above U+10FFFF, forms of five and six bytes. */
	{"\355\240\200 \355\277\277", "??? ???"},
	{"\364\220\200\200 \367\277\277\277", "???? ????"},
	{"\370\210\200\200\200 \374\204\200\200\200\200", "????? ??????"},
};

START_TEST(test_clean)
{
	char text[64];

	ck_assert_uint_lt(strlen(cleaned[_i].text), sizeof(text));
	strcpy(text, cleaned[_i].text);
	text_clean(text);
	ck_assert_str_eq(text, cleaned[_i].clean);
	text_clean(text);
	ck_assert_str_eq(text, cleaned[_i].clean);
}
END_TEST

START_TEST(test_clean_copy)
{
	_cleanup_(freep) char *copy = text_clean_copy(cleaned[_i].text);

	ck_assert_ptr_nonnull(copy);
	ck_assert_str_eq(copy, cleaned[_i].clean);
}
END_TEST

/* The last bytes of memory: no look beyond the NUL, whatever the first byte of a character says. */
START_TEST(test_ends_at_the_end)
{
	for (int first = 1; first < 256; first++) {
		_cleanup_(freep) char *text = malloc(2);

		ck_assert_ptr_nonnull(text);
		text[0] = (char)first;
		text[1] = '\0';
		text_clean(text);
		ck_assert_int_eq(text[0], first >= 0x20 && first < 0x7f ? first : '?');
	}
}
END_TEST

static const struct {
	const char *text;
	bool is_list;
} lists[] = {
	{"", true},
	{"Content-Type", true},
	{"content-type, x-a,\tx_b , Last-Event-ID", true},
	{"!#$%&'*+-.^_`|~09azAZ", true},
	{"a\rb", false},
	{"a\nb", false},
	{"a\177b", false},
	{"a\001b", false},
	{"a:b", false},
	{"a\"b", false},
	{"a;b", false},
	{"\303\244", false},
	{"\302\205", false},
	{"\377", false},
};

START_TEST(test_token_list)
{
	ck_assert_int_eq(
		text_is_token_list(lists[_i].text, strlen(lists[_i].text)), lists[_i].is_list);
}
END_TEST

START_TEST(test_token_list_with_nul)
{
	ck_assert(!text_is_token_list("a\0b", 3));
	ck_assert(text_is_token_list("ab\n", 2));
}
END_TEST

#define N_OF(table) ((int)(sizeof(table) / sizeof((table)[0])))

Suite *test_suite(void)
{
	Suite *all = suite_create("text");
	TCase *cases = tcase_create("text");

	tcase_add_loop_test(cases, test_clean, 0, N_OF(cleaned));
	tcase_add_loop_test(cases, test_clean_copy, 0, N_OF(cleaned));
	tcase_add_test(cases, test_ends_at_the_end);
	tcase_add_loop_test(cases, test_token_list, 0, N_OF(lists));
	tcase_add_test(cases, test_token_list_with_nul);
	suite_add_tcase(all, cases);
	return all;
}
