/* SPDX-License-Identifier: BSD-3-Clause */
/* A request's target, and the key in it, which becomes a token of a NATS subject. */
#include <errno.h>

#include "fuzz.h"
#include "http/routes.h"

static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static void require_key(const struct key *key)
{
	struct key again;

	FUZZ_REQUIRE(key->length >= 1 && key->length <= KEY_MAX_LENGTH);
	FUZZ_REQUIRE(strlen(key->text) == key->length);
	FUZZ_REQUIRE(strspn(key->text, allowed) == key->length);
	FUZZ_REQUIRE(key_parse(key->text, key->length, &again) == 0);
	FUZZ_REQUIRE(key_parse_segment(key->text, key->length, &again) == 0);
	FUZZ_REQUIRE(strcmp(key->text, again.text) == 0);
}

static void try_key(const char *text, size_t length)
{
	struct key key;
	int r;

	r = key_parse(text, length, &key);
	if (r == 0)
		require_key(&key);
	else
		FUZZ_REQUIRE((r == -EINVAL || r == -EPERM) && *key_problem(r));
	r = key_parse_segment(text, length, &key);
	if (r == 0)
		require_key(&key);
	else
		FUZZ_REQUIRE(r == -EINVAL || r == -EPERM);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(freep) char *target = fuzz_text(data, size);
	struct route_match match;

	/* As the whole buffer, with NULs in it, not terminated. */
	try_key((const char *)data, size);

	route_find(target, &match);
	if (match.route && strstr(match.route->path, "{key}")) {
		if (match.key_error == 0)
			require_key(&match.key);
	} else
		FUZZ_REQUIRE(match.key_error == 0 && match.key.length == 0);
	(void)method_parse(target);
	return 0;
}
