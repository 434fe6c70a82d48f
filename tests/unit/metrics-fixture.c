/* SPDX-License-Identifier: BSD-3-Clause */
/* The text of the metrics, for tests of it. */
#include "metrics-fixture.h"

#include <check.h>
#include <string.h>

char *write_all(const struct metrics *total, metrics_read *read, const void *userdata)
{
	char *text = NULL;
	size_t size = 0;
	FILE *file = open_memstream(&text, &size);

	ck_assert_ptr_nonnull(file);
	metrics_write(file, total, read, userdata);
	ck_assert_int_eq(fclose(file), 0);
	return text;
}

void assert_has(const char *text, const char *part)
{
	/* All of the text would be too long for Check. */
	ck_assert_msg(strstr(text, part), "no %s", part);
}
