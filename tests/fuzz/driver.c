/* SPDX-License-Identifier: BSD-3-Clause */
/* Runs a fuzz function once over each file of its corpus, without libFuzzer: what was found once
 * stays found.  Files can be given as arguments instead. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>

#include "fuzz.h"

/* libFuzzer's default. */
#define INPUT_MAX 4096

static int run_file(const char *path)
{
	_cleanup_(fclosep) FILE *file = fopen(path, "rb");
	/* Of its own size, so that a sanitizer sees a read beyond its end. */
	_cleanup_(freep) uint8_t *data = NULL;
	uint8_t buffer[INPUT_MAX];
	size_t size;

	if (!file)
		return -errno;
	size = fread(buffer, 1, sizeof(buffer), file);
	if (ferror(file))
		return -EIO;
	data = malloc(size > 0 ? size : 1);
	if (!data)
		return -ENOMEM;
	memcpy(data, buffer, size);
	printf("%s\n", path);
	fflush(stdout);
	(void)LLVMFuzzerTestOneInput(data, size);
	return 0;
}

static int run_reported(const char *path)
{
	int r = run_file(path);

	if (r < 0)
		fprintf(stderr, "%s: %s\n", path, strerror(-r));
	return r;
}

static int run_directory(const char *path)
{
	DIR *directory = opendir(path);
	struct dirent *entry;
	unsigned n = 0;
	int r = 0;

	if (!directory) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return -errno;
	}
	while (r >= 0 && (entry = readdir(directory))) {
		_cleanup_(freep) char *name = NULL;

		if (entry->d_name[0] == '.')
			continue;
		FUZZ_REQUIRE(asprintf(&name, "%s/%s", path, entry->d_name) > 0);
		r = run_reported(name);
		n++;
	}
	closedir(directory);
	if (n > 0)
		return r;
	fprintf(stderr, "%s: there is nothing in it\n", path);
	return -ENOENT;
}

/* tests/fuzz/corpus/NAME for the program fuzz-NAME; Automake sets $srcdir. */
static int run_corpus(const char *program)
{
	const char *source = getenv("srcdir"), *name = strrchr(program, '/');
	char path[PATH_MAX];

	name = name ? name + 1 : program;
	FUZZ_REQUIRE(strncmp(name, "fuzz-", 5) == 0);
	snprintf(path, sizeof(path), "%s/tests/fuzz/corpus/%s", source ? source : ".", name + 5);
	return run_directory(path);
}

int main(int argc, char **argv)
{
	int r = 0;

	if (argc == 1)
		r = run_corpus(argv[0]);
	for (int i = 1; i < argc && r >= 0; i++)
		r = run_reported(argv[i]);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
