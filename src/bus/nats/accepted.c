/* SPDX-License-Identifier: BSD-3-Clause */
/* The header that says when the node that wrote a message had accepted its update. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bus/nats/parse.h"

#define LINE_BEGIN "\r\n" NATS_ACCEPTED_HEADER ":"

void nats_accepted_format(
	int64_t first_us, int64_t last_us, char ret_text[static NATS_ACCEPTED_SIZE])
{
	int n = snprintf(ret_text, NATS_ACCEPTED_SIZE, "%" PRId64, first_us);

	if (last_us > first_us)
		snprintf(ret_text + n, (size_t)(NATS_ACCEPTED_SIZE - n), " %" PRId64, last_us);
}

/* Digits, and what follows them.  0: it is something else. */
static int64_t read_number(const char **text)
{
	long long number;
	char *end;

	if (**text < '0' || **text > '9')
		return 0; /* strtoll() takes blanks and signs */
	errno = 0;
	number = strtoll(*text, &end, 10);
	*text = end;
	return errno == 0 ? number : 0;
}

static void read_value(const char *text, struct nats_mail *mail)
{
	int64_t first_us = read_number(&text), last_us = first_us;

	if (first_us > 0 && *text == ' ') {
		text++;
		last_us = read_number(&text);
	}
	if (last_us < first_us || (*text != '\0' && *text != '\r'))
		return;
	mail->told_us = first_us;
	mail->update.accepted_us = last_us;
}

static void forget(struct nats_mail *mail)
{
	mail->told_us = 0;
	mail->update.accepted_us = 0;
}

void nats_accepted_read(const char *value, struct nats_mail *mail)
{
	forget(mail);
	if (value)
		read_value(value, mail);
}

void nats_accepted_parse(const char *headers, size_t length, struct nats_mail *mail)
{
	const char *found = memmem(headers, length, LINE_BEGIN, strlen(LINE_BEGIN));
	char value[NATS_ACCEPTED_SIZE + 1];
	size_t n;

	forget(mail);
	if (!found)
		return;
	found += strlen(LINE_BEGIN);
	n = (size_t)(headers + length - found);
	while (n > 0 && *found == ' ') {
		found++;
		n--;
	}
	if (n > sizeof(value) - 1)
		n = sizeof(value) - 1;
	memcpy(value, found, n);
	value[n] = '\0';
	/* A longer one is none of ours. */
	if (n < sizeof(value) - 1 || strchr(value, '\r'))
		read_value(value, mail);
}
