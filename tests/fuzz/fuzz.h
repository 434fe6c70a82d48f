/* SPDX-License-Identifier: BSD-3-Clause */
/* What the fuzz functions share.  libFuzzer calls one with whatever it thinks up (`./dev fuzz`);
 * driver.c, in `make check`, with each file of its corpus. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What must hold for any input. */
#define FUZZ_REQUIRE(condition)                                                                    \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);    \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/* A copy as a string.  To be freed. */
static inline char *fuzz_text(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	FUZZ_REQUIRE(text);
	if (size > 0)
		memcpy(text, data, size);
	text[size] = '\0';
	return text;
}
