/* SPDX-License-Identifier: BSD-3-Clause */
/* The configuration file: it is understood, or every complaint is fit for a log. */
#include <errno.h>
#include <sys/mman.h>

#include "config/config.h"
#include "fuzz.h"

/* The token, and a password; must not be seen again.  The file does not have it. */
#define SECRET "wnDpVHbiQMtC"

static void require_decent(bool warning, const char *text, void *userdata)
{
	unsigned *n = userdata;

	*n += !warning;
	FUZZ_REQUIRE(*text);
	FUZZ_REQUIRE(!strstr(text, SECRET));
	for (const char *p = text; *p; p++)
		FUZZ_REQUIRE((unsigned char)*p >= ' ' && *p != '\x7f');
}

static void require_printable(const struct config *config)
{
	_cleanup_(freep) char *text = NULL;
	size_t size;
	FILE *file = open_memstream(&text, &size);

	FUZZ_REQUIRE(file);
	config_print(config, file);
	FUZZ_REQUIRE(fclose(file) == 0);
	FUZZ_REQUIRE(!strstr(text, SECRET));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(closep) int fd = memfd_create("flagsse-fuzz", MFD_CLOEXEC);
	_cleanup_(config_freep) struct config *config = NULL;
	char path[64], *environment[] = {(char *)"SSE_AUTHENTICATION_TOKEN=" SECRET,
			       (char *)"NATS_URL=nats://user:" SECRET "@localhost", NULL};
	/* Beside it there is no conf.d. */
	const struct config_sources sources = {.file = path, .environment = environment};
	unsigned n = 0;
	int r;

	if (memmem(data, size, SECRET, strlen(SECRET)))
		return 0; /* libFuzzer guesses it from our comparisons */
	FUZZ_REQUIRE(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	r = config_load(&sources, require_decent, &n, &config);
	if (r < 0) {
		FUZZ_REQUIRE(r == -EINVAL && n > 0 && !config);
		return 0;
	}
	FUZZ_REQUIRE(n == 0 && config && *config->token);
	require_printable(config);
	return 0;
}
