/* SPDX-License-Identifier: BSD-3-Clause */
/* Points in time, as text and as numbers. */
#include <errno.h>

#include "fuzz.h"
#include "update/timestamp.h"

static void require_time(int64_t us)
{
	char text[TIMESTAMP_TEXT_SIZE];
	size_t length = timestamp_format(us, text);
	int64_t again;

	FUZZ_REQUIRE(us >= TIMESTAMP_MIN_US && us <= TIMESTAMP_MAX_US);
	FUZZ_REQUIRE(strlen(text) == length && length > 7 && text[length - 7] == '.');
	FUZZ_REQUIRE(strspn(text, ".0123456789") == length);
	/* Above it, a number of seconds would be taken for milliseconds. */
	if (strtold(text, NULL) > TIMESTAMP_SECONDS_MAX)
		return;
	FUZZ_REQUIRE(timestamp_from_number(strtold(text, NULL), &again) == 0);
	FUZZ_REQUIRE(again == us);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(freep) char *text = fuzz_text(data, size);
	int64_t us = -1;
	int r;

	r = timestamp_parse_iso8601((const char *)data, size, &us);
	if (r == 0)
		require_time(us);
	else
		FUZZ_REQUIRE((r == -EINVAL || r == -ERANGE) && us == -1);
	us = -1;
	r = timestamp_from_number(strtold(text, NULL), &us);
	if (r == 0)
		require_time(us);
	else
		FUZZ_REQUIRE((r == -EINVAL || r == -ERANGE) && us == -1);
	return 0;
}
