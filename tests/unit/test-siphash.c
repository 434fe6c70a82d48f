/* SPDX-License-Identifier: BSD-3-Clause */
/* SipHash gives what it should, and its key is drawn whatever the kernel says. */
#include <check.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/siphash.h"
#include "runner.h"

/* Instead of the C library's: fails on demand.  A sanitizer may call it, too. */
static bool no_random;
static unsigned flags_seen;

ssize_t getrandom(void *buffer, size_t length, unsigned flags)
{
	flags_seen = flags;
	if (no_random) {
		errno = EAGAIN;
		return -1;
	}
	memset(buffer, 0x5a, length);
	return (ssize_t)length;
}

/* Of the inputs 00 01 02 ..., by their length, with the key 00 01 ... 0f.  That of 15 bytes is in
 * the paper (appendix A); all are as OpenSSL has them: openssl mac -macopt size:8 ... SIPHASH. */
static const uint64_t vectors[] = {
	0x726fdb47dd0e0e31,
	0x74f839c593dc67fd,
	0x0d6c8009d9a94f5a,
	0x85676696d7fb7e2d,
	0xcf2794e0277187b7,
	0x18765564cd99a68d,
	0xcbc9466e58fee3ce,
	0xab0200f58b01d137,
	0x93f5f5799a932462,
	0x9e0082df0ba9e4b0,
	0x7a5dbbc594ddb9f3,
	0xf4b32f46226bada7,
	0x751e8fbc860ee5fb,
	0x14ea5627c0843d90,
	0xf723ca908e7af2ee,
	0xa129ca6149be45e5,
	0x3f2acc7f57c29bdb,
	0x699ae9f52cbe4794,
	0x4bc1b3f0968dd39c,
	0xbb6dc91da77961bd,
	0xbed65cf21aa2ee98,
	0xd0f2cbb02e3b67c7,
	0x93536795e3a33e88,
	0xa80c038ccd5ccec8,
	0xb8ad50c6f649af94,
	0xbce192de8a85b8ea,
	0x17d835b85bbb15f3,
	0x2f2e6163076bcfad,
	0xde4daaaca71dc9a5,
	0xa6a2506687956571,
	0xad87a3535c49ef28,
	0x32d892fad841c342,
	0x7127512f72f27cce,
	0xa7f32346f95978e3,
	0x12e0b01abb051238,
	0x15e034d40fa197ae,
	0x314dffbe0815a3b4,
	0x027990f029623981,
	0xcadcd4e59ef40c4d,
	0x9abfd8766a33735c,
	0x0e3ea96b5304a7d0,
	0xad0c42d6fc585992,
	0x187306c89bc215a9,
	0xd4a60abcf3792b95,
	0xf935451de4f21df2,
	0xa9538f0419755787,
	0xdb9acddff56ca510,
	0xd06c98cd5c0975eb,
	0xe612a3cb9ecba951,
	0xc766e62cfcadaf96,
	0xee64435a9752fe72,
	0xa192d576b245165a,
	0x0a8787bf8ecb74b2,
	0x81b3e73d20b49b6f,
	0x7fa8220ba3b2ecea,
	0x245731c13ca42499,
	0xb78dbfaf3a8d83bd,
	0xea1ad565322a1a0b,
	0x60e61c23a3795013,
	0x6606d7e446282b93,
	0x6ca4ecb15c5f91e1,
	0x9f626da15c9625f3,
	0xe51b38608ef25f57,
	0x958a324ceb064572,
};

START_TEST(hashes_as_the_paper_says)
{
	struct siphash_key key;
	uint8_t input[sizeof(vectors) / sizeof(vectors[0])];

	for (unsigned i = 0; i < sizeof(key.bytes); i++)
		key.bytes[i] = (uint8_t)i;
	for (unsigned i = 0; i < sizeof(input); i++) {
		ck_assert_uint_eq(siphash(&key, input, i), vectors[i]);
		input[i] = (uint8_t)i;
	}
}
END_TEST

START_TEST(depends_on_the_key)
{
	struct siphash_key key = {{0}};
	uint64_t first = siphash(&key, "env", 3);

	for (size_t i = 0; i < 8 * sizeof(key.bytes); i++) {
		struct siphash_key other = key;

		other.bytes[i / 8] ^= (uint8_t)(1 << i % 8);
		ck_assert_uint_ne(siphash(&other, "env", 3), first);
	}
}
END_TEST

START_TEST(draws_a_key)
{
	struct siphash_key key = {{0}};

	siphash_draw_key(&key);
	ck_assert_uint_eq(flags_seen, GRND_NONBLOCK); /* it must not wait */
	for (size_t i = 0; i < sizeof(key.bytes); i++)
		ck_assert_uint_eq(key.bytes[i], 0x5a);
}
END_TEST

START_TEST(draws_a_key_without_random_numbers)
{
	struct siphash_key key = {{0}}, next = {{0}}, none = {{0}};

	no_random = true;
	siphash_draw_key(&key);
	usleep(1);
	siphash_draw_key(&next);
	no_random = false;
	ck_assert_mem_ne(key.bytes, none.bytes, 8);
	ck_assert_mem_ne(key.bytes + 8, none.bytes, 8);
	ck_assert_mem_ne(key.bytes, next.bytes, 8);
	ck_assert_mem_ne(key.bytes + 8, next.bytes + 8, 8);
}
END_TEST

Suite *test_suite(void)
{
	Suite *suite = suite_create("siphash");
	TCase *tests = tcase_create("siphash");

	tcase_add_test(tests, hashes_as_the_paper_says);
	tcase_add_test(tests, depends_on_the_key);
	tcase_add_test(tests, draws_a_key);
	tcase_add_test(tests, draws_a_key_without_random_numbers);
	suite_add_tcase(suite, tests);
	return suite;
}
