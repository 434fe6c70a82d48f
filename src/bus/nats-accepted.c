/* SPDX-License-Identifier: BSD-3-Clause */
/* The header that says when the node that wrote a message had accepted it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bus/nats-internal.h"

#define LINE_BEGIN "\r\n" NATS_ACCEPTED_HEADER ":"

#define LONG_AGO_US 1

/* Digits up to the end, or that of the line.  0: it is something else. */
static int64_t read_number(const char *text)
{
	char *end;
	long long number;

	if (*text < '0' || *text > '9')
		return 0; /* strtoll() takes blanks and signs */
	errno = 0;
	number = strtoll(text, &end, 10);
	return errno == 0 && (*end == '\0' || *end == '\r') ? number : 0;
}

int64_t nats_accepted_of(natsMsg *message)
{
	const char *value = NULL;
	natsStatus status = natsMsgHeader_Get(message, NATS_ACCEPTED_HEADER, &value);

	if (status == NATS_NO_MEMORY)
		return LONG_AGO_US;
	return status == NATS_OK && value ? read_number(value) : 0;
}

int64_t nats_accepted_parse(const char *headers, size_t length)
{
	const char *found = memmem(headers, length, LINE_BEGIN, strlen(LINE_BEGIN));
	char number[24]; /* more than an int64_t has */
	size_t n;

	if (!found)
		return 0;
	found += strlen(LINE_BEGIN);
	n = (size_t)(headers + length - found);
	while (n > 0 && *found == ' ') {
		found++;
		n--;
	}
	if (n > sizeof(number) - 1)
		n = sizeof(number) - 1;
	memcpy(number, found, n);
	number[n] = '\0';
	return read_number(number);
}
