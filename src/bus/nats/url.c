/* SPDX-License-Identifier: BSD-3-Clause */
/* Takes the URL of a NATS server apart. */
#include "bus/nats/url.h"

#include <errno.h>
#include <string.h>

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* What "%XX" stands for; -1: it is no such thing. */
static int decode_one(const char *text, size_t length)
{
	int high, low;

	if (length < 3 || text[0] != '%')
		return -1;
	high = hex_digit(text[1]);
	low = hex_digit(text[2]);
	return high < 0 || low < 0 || high + low == 0 ? -1 : high * 16 + low;
}

/* A copy; NULL: out of memory. */
static char *decode(const char *text, size_t length)
{
	char *copy = malloc(length + 1), *to = copy;

	if (!copy)
		return NULL;
	while (length > 0) {
		int byte = decode_one(text, length);
		size_t n = byte < 0 ? 1 : 3;

		*to++ = byte < 0 ? *text : (char)byte;
		text += n;
		length -= n;
	}
	*to = '\0';
	return copy;
}

static void free_secret(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
}

void nats_url_deinit(struct nats_url *url)
{
	free(TAKE_PTR(url->address));
	free_secret(TAKE_PTR(url->user));
	free_secret(TAKE_PTR(url->password));
}

int nats_url_parse(const char *text, struct nats_url *ret)
{
	_cleanup_(nats_url_deinit) struct nats_url url = {0};
	const char *scheme_end = strstr(text, "://"), *at = strrchr(text, '@'), *info, *colon;

	if (!scheme_end || !at) {
		url.address = strdup(text);
	} else {
		info = scheme_end + strlen("://");
		colon = memchr(info, ':', (size_t)(at - info));
		if (asprintf(&url.address, "%.*s%s", (int)(info - text), text, at + 1) < 0)
			url.address = NULL;
		url.user = decode(info, (size_t)((colon ? colon : at) - info));
		url.password = colon ? decode(colon + 1, (size_t)(at - colon - 1)) : NULL;
		if (!url.user || (colon && !url.password))
			return -ENOMEM;
	}
	if (!url.address)
		return -ENOMEM;
	ret->address = TAKE_PTR(url.address);
	ret->user = TAKE_PTR(url.user);
	ret->password = TAKE_PTR(url.password);
	return 0;
}

const char *nats_server_name(const char *url)
{
	const char *at = strrchr(url, '@'), *scheme_end = strstr(url, "://");

	if (at)
		return at + 1;
	return scheme_end ? scheme_end + strlen("://") : url;
}
