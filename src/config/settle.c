/* SPDX-License-Identifier: BSD-3-Clause */
/* What is settled from more than one setting: the token, the state directory; and the checks of one
 * setting against another. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "config/config-internal.h"

int config_replace_text(char **slot, char *text)
{
	if (!text)
		return -ENOMEM;
	free_secret(*slot);
	*slot = text;
	return 0;
}

const char *config_variable(const struct config_sources *sources, const char *name)
{
	size_t length = strlen(name);

	for (char *const *entry = sources->environment; entry && *entry; entry++)
		if (strncmp(*entry, name, length) == 0 && (*entry)[length] == '=')
			return (*entry)[length + 1] ? *entry + length + 1 : NULL;
	return NULL;
}

/* The number of the setting whose value is at `offset` in struct config. */
static size_t setting_index(size_t offset)
{
	size_t i = 0;

	while (config_settings[i].offset != offset)
		i++;
	return i;
}

#define ORIGIN(config, member) ((config)->origins[setting_index(offsetof(struct config, member))])

const char *config_listen_origin(const struct config *config)
{
	return ORIGIN(config, http_listen);
}

int config_note_listen_unused(struct config *config)
{
	const char *origin = ORIGIN(config, http_listen);
	char *text;

	if (asprintf(&text, "%s; not used, as systemd passes the sockets",
		    origin ? origin : "default") < 0)
		return -ENOMEM;
	return config_replace_text(&ORIGIN(config, http_listen), text);
}

static void take_state_dir(struct loader *loader, const char *directory)
{
	const struct config *config = loader->config;
	const char *origin = ORIGIN(config, service_state_dir);

	if (origin && strcmp(config->service_state_dir, directory) != 0)
		loader_complain(loader, true, origin, "service", "state_dir",
			"not used, as $STATE_DIRECTORY is %s (StateDirectory= of the unit)",
			directory);
	loader_assign(loader, "environment STATE_DIRECTORY", "service", "state_dir", directory);
}

/* The service manager's directory wins over the setting. */
static void settle_state_dir(struct loader *loader)
{
	const char *directories = config_variable(loader->sources, "STATE_DIRECTORY");
	_cleanup_(freep) char *first = NULL;

	if (directories) {
		first = strndup(directories, strcspn(directories, ":"));
		if (first)
			take_state_dir(loader, first);
		else
			loader->error = -ENOMEM;
	}
	if (config_replace_text(
		    &loader->config->state_dir, strdup(loader->config->service_state_dir)) < 0)
		loader->error = -ENOMEM;
}

static void check_retry(struct loader *loader)
{
	const struct config *config = loader->config;
	const char *origin = ORIGIN(config, streams_retry_max_ms);

	if (config->streams_retry_min_ms <= config->streams_retry_max_ms)
		return;
	if (origin)
		loader_complain(loader, false, origin, "streams", "retry_max",
			"%" PRId64 " ms is less than streams.retry_min; allowed: %" PRId64
			" ms or more",
			config->streams_retry_max_ms, config->streams_retry_min_ms);
	else
		loader_complain(loader, false, ORIGIN(config, streams_retry_min_ms), "streams",
			"retry_min",
			"%" PRId64 " ms is more than streams.retry_max; allowed: %" PRId64
			" ms or less",
			config->streams_retry_min_ms, config->streams_retry_max_ms);
}

/* Flagsmith's iOS SDK opens a second stream after this time of silence. */
#define SILENCE_OF_IOS_MS 60000

static void check_keepalive(struct loader *loader)
{
	const struct config *config = loader->config;

	if (config->streams_keepalive_ms >= SILENCE_OF_IOS_MS)
		loader_complain(loader, true, ORIGIN(config, streams_keepalive_ms), "streams",
			"keepalive",
			"%" PRId64 " s is longer than Flagsmith's iOS SDK bears: after 60 s of "
			"silence it opens another stream and keeps the first; set less than 60 s "
			"if you have such clients",
			config->streams_keepalive_ms / 1000);
}

/* Reads a token from a file.  0 and *ret; -ENOENT: no such file; -EINVAL: complained; -ENOMEM. */
static int read_token(struct loader *loader, const char *origin, const char *key, const char *path,
	bool check_mode, char **ret)
{
	_cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	char buffer[TOKEN_MAX + 8] = "";
	struct stat status;
	ssize_t n = -1;
	size_t length;

	if (fd < 0 && errno == ENOENT && !check_mode)
		return -ENOENT;
	if (fd < 0 || fstat(fd, &status) < 0 || (n = read(fd, buffer, sizeof(buffer) - 1)) < 0) {
		loader_complain(loader, false, origin, "http", key, "%s cannot be read: %s", path,
			strerror(errno));
		return -EINVAL;
	}
	if (check_mode && S_ISREG(status.st_mode) && (status.st_mode & S_IROTH))
		loader_complain(loader, true, origin, "http", key,
			"everyone can read %s; run: chmod o-rwx %s (flagsse must still be able to "
			"read it, by its group)",
			path, path);

	length = (size_t)n;
	if (length > 0 && buffer[length - 1] == '\n')
		buffer[--length] = '\0';
	if (length > 0 && buffer[length - 1] == '\r')
		buffer[--length] = '\0';
	if (length == 0 && !check_mode)
		return -ENOENT; /* our unit gives an empty one where there is no token */
	if (strlen(buffer) != length || !token_is_valid(buffer)) {
		loader_complain(loader, false, origin, "http", key,
			length ? "%s holds no usable token; allowed: one line of printable ASCII "
				 "without spaces, at most 1024 characters"
			       : "%s is empty; write the token into it",
			path);
		explicit_bzero(buffer, sizeof(buffer));
		return -EINVAL;
	}
	*ret = strdup(buffer);
	explicit_bzero(buffer, sizeof(buffer));
	return *ret ? 0 : -ENOMEM;
}

/* The service manager's: $CREDENTIALS_DIRECTORY/token.  Its path is not shown as an origin, since
 * it differs between hosts and processes. */
static int read_credential(struct loader *loader, char **ret_origin, char **ret)
{
	const char *directory = config_variable(loader->sources, "CREDENTIALS_DIRECTORY");
	_cleanup_(freep) char *path = NULL;
	int r;

	if (loader->sources->credential)
		path = strdup(loader->sources->credential);
	else if (!directory)
		return -ENOENT;
	else if (asprintf(&path, "%s/token", directory) < 0)
		path = NULL;
	if (!path)
		return -ENOMEM;
	r = read_token(loader,
		loader->sources->credential ? "LoadCredential="
					    : "environment CREDENTIALS_DIRECTORY",
		"token", path, false, ret);
	if (r < 0)
		return r;
	*ret_origin = strdup("credential token");
	return *ret_origin ? 0 : -ENOMEM;
}

static void complain_of_no_token(struct loader *loader)
{
	const char *file = loader->sources->file ? loader->sources->file : DEFAULT_FILE;

	if (loader->sources->credential) {
		loader_complain(loader, false, NULL, "http", "token",
			"not set; write it into %s, which the unit hands over (LoadCredential=)",
			loader->sources->credential);
		return;
	}
	loader_complain(loader, false, NULL, "http", "token",
		"not set; set one of: the environment variable SSE_AUTHENTICATION_TOKEN; http.token "
		"in %s; http.token_file, the path of a file with the token; "
		"LoadCredential=token:PATH in the unit of systemd",
		file);
}

/* Whoever has the mask as a secret has copied it from what --print-config shows. */
static void check_mask(struct loader *loader, const char *title, const struct target *target)
{
	for (size_t i = 0; i < target->n; i++) {
		const struct setting *setting = &target->table[i];

		if (setting->type == TYPE_SECRET &&
			strcmp(*setting_text(setting, target->base), SECRET_MASK) == 0)
			loader_complain(loader, false, target->origins[i],
				title ? title : setting->section, setting->key,
				"is the mask that --print-config shows; allowed: the %s itself",
				setting->key);
	}
}

static void check_masks(struct loader *loader)
{
	struct target target = config_target(loader->config);

	check_mask(loader, NULL, &target);
	for (const struct section_kind *kind = loader->config->kinds; kind->name; kind++) {
		const struct config_sections *sections = sections_of(loader->config, kind);

		for (size_t i = 0; i < sections->n; i++) {
			char title[TITLE_SIZE];

			section_title(kind, sections->list[i], title);
			target = section_target(kind, sections->list[i]);
			check_mask(loader, title, &target);
		}
	}
}

/* From the setting, else the file, else the service manager's credential. */
static void settle_token(struct loader *loader)
{
	struct config *config = loader->config;
	_cleanup_(freep) char *origin = NULL;
	const char *file_origin = ORIGIN(config, http_token_file);
	int r;

	if (*config->http_token) {
		if (*config->http_token_file)
			loader_complain(loader, true, file_origin, "http", "token_file",
				"not used, as http.token is set (%s)", ORIGIN(config, http_token));
		config->token = strdup(config->http_token);
		r = config->token ? 0 : -ENOMEM;
	} else if (*config->http_token_file) {
		origin = strdup(config->http_token_file);
		r = origin ? read_token(loader, file_origin, "token_file", origin, true,
				     &config->token)
			   : -ENOMEM;
	} else {
		r = read_credential(loader, &origin, &config->token);
	}

	if (r == -ENOENT && !loader->token_refused)
		complain_of_no_token(loader);
	else if (r == -ENOMEM)
		loader->error = r;
	else if (r == 0 && origin) /* for config_print() */
		config_replace_text(&ORIGIN(config, http_token), TAKE_PTR(origin));
}

void config_settle(struct loader *loader)
{
	settle_state_dir(loader);
	sections_settle(loader);
	check_retry(loader);
	check_keepalive(loader);
	check_masks(loader);
	settle_token(loader);
}

void config_settle_file(struct loader *loader)
{
	const struct config *config = loader->config;

	sections_check(loader);
	if (ORIGIN(config, streams_retry_min_ms) && ORIGIN(config, streams_retry_max_ms))
		check_retry(loader);
	check_keepalive(loader);
	check_masks(loader);
}
