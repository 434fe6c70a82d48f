/* SPDX-License-Identifier: BSD-3-Clause */
/* The configuration: what is understood, what is refused and how that reads, which source wins, and
 * that secrets stay secret. */
#include <check.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "config-cases.h"
#include "config-fixture.h"
#include "runner.h"

START_TEST(test_defaults)
{
	_cleanup_(config_freep) struct config *config = load_text("");

	ck_assert_str_eq(config->http_listen, ":8088");
	ck_assert_int_eq(config->http_request_timeout_ms, 10000);
	ck_assert_int_eq(config->http_max_header_size, 16384);
	ck_assert_int_eq(config->streams_max_age_ms, 900000);
	ck_assert_int_eq(config->streams_retry_min_ms, 1000);
	ck_assert_int_eq(config->bus_type, BUS_TYPE_NATS);
	ck_assert_str_eq(config->nats_url, "nats://127.0.0.1:4222");
	ck_assert_str_eq(config->state_dir, "/var/lib/flagsse");
	ck_assert_int_eq(CONFIG_LOG_LEVEL(config), LOG_INFO);
	ck_assert_str_eq(config->token, "from-environment");
	ck_assert_uint_eq(config->sections[SECTION_PROFILE].n, 2);
	ck_assert_str_eq(config_profile(config, 0)->section.name, "flutter");
	ck_assert_str_eq(config_profile(config, 0)->user_agent, "Dart/");
	ck_assert_int_eq(config_profile(config, 0)->max_age_ms, 37000);
	ck_assert_str_eq(config_profile(config, 0)->accept, "application/json , text/event-stream");
	ck_assert(!config_profile(config, 0)->close_after_update);
	ck_assert_str_eq(config_profile(config, 1)->user_agent, "Faraday");
	ck_assert_int_eq(config_profile(config, 1)->max_age_ms, 900000);
	ck_assert(config_profile(config, 1)->close_after_update);
}
END_TEST

START_TEST(test_file)
{
	_cleanup_(config_freep) struct config *config = NULL;
	int r;

	write_file("main.conf", files[_i].text);
	r = load(no_options, token_only, &config);
	ck_assert_msg(strcmp(complaints, files[_i].complaints) == 0,
		"file:\n%s\nsaid:\n%s\nexpected:\n%s", files[_i].text, complaints,
		files[_i].complaints);
	ck_assert_int_eq(r, *complaints ? -EINVAL : 0);
	ck_assert_ptr_null(strstr(complaints, "hid"));
	ck_assert_int_eq(config == NULL, r < 0);
}
END_TEST

START_TEST(test_lone_file)
{
	int r;

	write_file("main.conf", lone_files[_i].text);
	/* Of a copy in a temporary directory. */
	ck_assert_int_eq(chmod(path_of("main.conf"), 0644), 0);
	r = check_alone();
	ck_assert_msg(strcmp(complaints, lone_files[_i].complaints) == 0,
		"file:\n%s\nsaid:\n%s\nexpected:\n%s", lone_files[_i].text, complaints,
		lone_files[_i].complaints);
	ck_assert_int_eq(r, *complaints ? -EINVAL : 0);
}
END_TEST

START_TEST(test_no_token)
{
	_cleanup_(config_freep) struct config *config = NULL;

	write_file("main.conf", "");
	ck_assert_int_eq(load(no_options, no_environment, &config), -EINVAL);
	ck_assert_str_eq(complaints,
		"http.token: not set; set one of: the environment variable "
		"SSE_AUTHENTICATION_TOKEN; http.token in main.conf; http.token_file, the path of a "
		"file with the token; LoadCredential=token:PATH in the unit of systemd\n");

	/* One that is there but bad is not also missing. */
	write_file("main.conf", "[http]\ntoken = a b\n");
	ck_assert_int_eq(load(no_options, no_environment, &config), -EINVAL);
	ck_assert_ptr_null(strstr(complaints, "not set"));

	write_file("main.conf", "[http]\ntoken = ***\n");
	ck_assert_int_eq(load(no_options, no_environment, &config), -EINVAL);
	ck_assert_str_eq(complaints, "main.conf:2: http.token: is the mask that --print-config "
				     "shows; allowed: the token itself\n");
}
END_TEST

START_TEST(test_duration)
{
	_cleanup_(config_freep) struct config *config = NULL;
	char text[128];
	int r;

	snprintf(text, sizeof(text), "[streams]\nmax_age = %s\n", durations[_i].text);
	write_file("main.conf", text);
	r = load(no_options, token_only, &config);
	ck_assert_msg(r == (durations[_i].ms < 0 ? -EINVAL : 0), "\"%s\": %d %s",
		durations[_i].text, r, complaints);
	if (r == 0)
		ck_assert_int_eq(config->streams_max_age_ms, durations[_i].ms);
}
END_TEST

START_TEST(test_other_values)
{
	_cleanup_(config_freep) struct config *config =
		load_text("[http]\nlisten = :1 ,unix:/x , [::1]:2\nmax_header_size = 16k\n"
			  "[nats]\nurl = nats://u:p@h:1/ , tls://[::1]\n"
			  "[bus]\ntype = local\n[service]\nlog_level = error\nstate_dir=/a b\n"
			  "[profile x]\nuser_agent = a ; comment\nclose_after_update = On\n");

	ck_assert_str_eq(config->http_listen, ":1,unix:/x,[::1]:2");
	ck_assert_int_eq(config->http_max_header_size, 16384);
	ck_assert_str_eq(config->nats_url, "nats://u:p@h:1,tls://[::1]");
	ck_assert_int_eq(config->bus_type, BUS_TYPE_LOCAL);
	ck_assert_int_eq(CONFIG_LOG_LEVEL(config), LOG_ERR);
	ck_assert_str_eq(config->state_dir, "/a b");
	ck_assert_uint_eq(config->sections[SECTION_PROFILE].n, 3);
	ck_assert_str_eq(config_profile(config, 2)->section.name, "x");
	ck_assert_str_eq(config_profile(config, 2)->user_agent, "a");
	ck_assert(config_profile(config, 2)->close_after_update);
	ck_assert_int_eq(config_profile(config, 2)->max_age_ms, 900000);
}
END_TEST

/* A line that inih just holds, and one that it would split. */
START_TEST(test_longest_line)
{
	_cleanup_(config_freep) struct config *config = NULL;
	char text[300] = "[service]\nstate_dir=/", *value = text + strlen("[service]\n");
	_cleanup_(freep) char *longer = NULL;

	memset(value + strlen(value), 'x', 199 - strlen(value));
	config = load_text(text);
	ck_assert_uint_eq(strlen(config->state_dir), 199 - strlen("state_dir="));
	ck_assert_ptr_nonnull(strstr(value, config->state_dir));

	ck_assert_int_gt(asprintf(&longer, "%sx\r\n", text), 0);
	config = config_free(config);
	write_file("main.conf", longer);
	ck_assert_int_eq(load(no_options, token_only, &config), -EINVAL);
	ck_assert_str_eq(complaints, "main.conf:2: service.state_dir: " LONG_LINE);
}
END_TEST

START_TEST(test_precedence)
{
	_cleanup_(config_freep) struct config *config = NULL;
	static const char *const options[] = {
		"http.listen=:5", "profile x.max_age=7", "profile y.user_agent=Y", NULL};
	char *const environment[] = {(char *)TOKEN_VARIABLE, (char *)"LISTEN_ADDR=:4",
		(char *)"FLAGSSE_KEEPALIVE=4", (char *)"FLAGSSE_SPREAD=", NULL};

	ck_assert_int_eq(mkdir(path_of("conf.d"), 0700), 0);
	write_file("main.conf",
		"[http]\nlisten=:1\nidle_timeout=1\nrequest_timeout=1\n"
		"[streams]\nkeepalive=1\nuser_timeout=1\nspread=1\n[profile x]\nuser_agent=X\n");
	write_file("conf.d/10-b.conf", "[http]\nlisten=:2\nidle_timeout=2\n[streams]\n"
				       "keepalive=2\nmax_age=50\n");
	write_file("conf.d/9-a.conf", "[http]\nlisten=:3\nidle_timeout=3\n");
	write_file("conf.d/a.conf.dpkg-old", "rubbish");
	write_file("conf.d/.hidden.conf", "rubbish");
	write_file("conf.d/.conf", "rubbish");
	ck_assert_msg(load(options, environment, &config) == 0, "%s", complaints);

	ck_assert_str_eq(config->http_listen, ":5");
	ck_assert_int_eq(config->streams_keepalive_ms, 4000);
	ck_assert_int_eq(config->http_idle_timeout_ms, 3000);
	ck_assert_int_eq(config->http_request_timeout_ms, 1000);
	ck_assert_int_eq(config->streams_spread_ms, 1);
	ck_assert_uint_eq(config->sections[SECTION_PROFILE].n, 4);
	ck_assert_int_eq(config_profile(config, 1)->max_age_ms, 50000); /* ruby: streams.max_age */
	ck_assert_int_eq(config_profile(config, 2)->max_age_ms, 7000);
	ck_assert_str_eq(config_profile(config, 3)->section.name, "y");
}
END_TEST

START_TEST(test_all_sources_at_once)
{
	_cleanup_(config_freep) struct config *config = NULL;
	static const char *const options[] = {"http.listen=bad", "htp.x=hidden", "hidden",
		"http=hidden", ".=hidden", "nats.url:nats://u:hidden@h=1", "http.token=hid den",
		NULL};
	char *const environment[] = {(char *)"LISTEN_ADDR=bad", (char *)"NATS_URL=hidden@",
		(char *)"STATE_DIRECTORY=relative:/x", NULL};
	static const char not_understood[] =
		"option -o: its value, which is not shown as it may be a secret, is not "
		"understood; allowed: SECTION.KEY=VALUE\n";
	char expected[8192];

	ck_assert_int_eq(mkdir(path_of("conf.d"), 0700), 0);
	write_file("main.conf", "[bus]\nx=1\n");
	write_file("conf.d/a.conf", "[bus]\nx=1\n");
	ck_assert_int_eq(mkdir(path_of("conf.d/b.conf"), 0700), 0);
	ck_assert_int_eq(symlink("nowhere", path_of("conf.d/c.conf")), 0);
	snprintf(expected, sizeof(expected),
		"main.conf:2: bus.x: unknown key; allowed: type\n"
		"conf.d/a.conf:2: bus.x: unknown key; allowed: type\n"
		"conf.d/b.conf: cannot be read: Is a directory\n"
		"conf.d/c.conf: cannot be read: No such file or directory\n"
		"environment LISTEN_ADDR: http.listen: \"bad\" (address 1)" LISTEN
		"environment NATS_URL: nats.url: the value (URL 1)" URLS
		"option http.listen: \"bad\" (address 1)" LISTEN
		"option htp: unknown section; " SECTIONS "%s%s%s"
		"option nats: unknown key; allowed: url, replicas, connect_timeout\n"
		"option http.token: the value is not a usable token; allowed: printable ASCII "
		"without spaces, at most 1024 characters\n"
		"environment STATE_DIRECTORY: service.state_dir: \"relative\" is not an absolute "
		"path; allowed: a path that begins with /\n",
		not_understood, not_understood, not_understood);
	ck_assert_int_eq(load(options, environment, &config), -EINVAL);
	ck_assert_str_eq(complaints, expected);
	ck_assert_ptr_null(config);
}
END_TEST

START_TEST(test_files_that_cannot_be_read)
{
	_cleanup_(config_freep) struct config *config = NULL;
	static const char nul[] = "[http]\nlis\0ten = :1\n[bus]\ntype\0 = local\n";
	_cleanup_(freep) char *large = calloc(1, 1024 * 1024 + 1);

	ck_assert_int_eq(load(no_options, token_only, &config), -EINVAL);
	ck_assert_str_eq(complaints, "main.conf: cannot be read: No such file or directory\n");
	ck_assert_int_eq(
		load_from(path_of("conf.d/x/y"), no_options, token_only, &config), -EINVAL);

	write_bytes("main.conf", nul, sizeof(nul) - 1);
	ck_assert_int_eq(load(no_options, token_only, &config), -EINVAL);
	ck_assert_str_eq(complaints,
		"main.conf:2: a control character or NUL byte; allowed: text\n"
		"main.conf:4: a control character or NUL byte; allowed: text\n");

	ck_assert_ptr_nonnull(large);
	memset(large, '\n', 1024 * 1024 + 1);
	write_bytes("main.conf", large, 1024 * 1024 + 1);
	ck_assert_int_eq(load(no_options, token_only, &config), -EINVAL);
	ck_assert_str_eq(complaints, "main.conf: cannot be read: File too large\n");
	write_bytes("main.conf", large, 1024 * 1024);
	ck_assert_int_eq(load(no_options, token_only, &config), 0);
	config = config_free(config);

	write_file("main.conf", "");
	write_file("conf.d", "");
	ck_assert_int_eq(load(no_options, token_only, &config), -EINVAL);
	ck_assert_str_eq(complaints, "conf.d: cannot be read: Not a directory\n");

	/* The default file need not exist. */
	load_from(NULL, no_options, token_only, &config);
	ck_assert_ptr_null(strstr(complaints, "No such file"));
}
END_TEST

START_TEST(test_token_file)
{
	_cleanup_(config_freep) struct config *config = NULL;
	char option[PATH_SIZE + 32], expected[512];
	const char *options[] = {option, NULL};

	snprintf(option, sizeof(option), "http.token_file=%s", path_of("token"));
	snprintf(expected, sizeof(expected), "option http.token_file: token%s",
		token_files[_i].complaint
			? token_files[_i].complaint
			: " holds no usable token; allowed: one line of printable ASCII without "
			  "spaces, at most 1024 characters\n");
	write_file("main.conf", "");
	write_file("token", token_files[_i].bytes);
	if (token_files[_i].token) {
		ck_assert_int_eq(load(options, no_environment, &config), 0);
		ck_assert_str_eq(config->token, token_files[_i].token);
		ck_assert_str_eq(complaints, "");
	} else {
		ck_assert_int_eq(load(options, no_environment, &config), -EINVAL);
		ck_assert_str_eq(complaints, expected);
	}
}
END_TEST

START_TEST(test_token_sources)
{
	_cleanup_(config_freep) struct config *config = NULL;
	char option[PATH_SIZE + 32], variable[PATH_SIZE + 32], token[1100];
	const char *options[] = {option, NULL};
	char *const environment[] = {variable, NULL};

	snprintf(option, sizeof(option), "http.token_file=%s", path_of("token"));
	snprintf(variable, sizeof(variable), "CREDENTIALS_DIRECTORY=%s", directory);
	write_file("main.conf", "");

	/* The setting wins over the file, which is then not even looked for. */
	ck_assert_int_eq(load(options, token_only, &config), 0);
	ck_assert_str_eq(config->token, "from-environment");
	config = config_free(config);

	ck_assert_int_eq(load(options, no_environment, &config), -EINVAL);
	ck_assert_str_eq(complaints, "option http.token_file: token cannot be read: No such file "
				     "or directory\n");
	ck_assert_int_eq(load(no_options, environment, &config), -EINVAL);
	ck_assert_ptr_nonnull(strstr(complaints, "http.token: not set; "));

	/* A credential; who may read it is the service manager's business. */
	write_file("token", "credential\n");
	ck_assert_int_eq(chmod(path_of("token"), 0644), 0);
	ck_assert_int_eq(load(no_options, environment, &config), 0);
	ck_assert_str_eq(config->token, "credential");
	ck_assert_str_eq(complaints, "");
	config = config_free(config);

	memset(token, 'x', 1025);
	write_bytes("token", token, 1024);
	ck_assert_int_eq(load(options, no_environment, &config), 0);
	config = config_free(config);
	write_bytes("token", token, 1025);
	ck_assert_int_eq(load(options, no_environment, &config), -EINVAL);
}
END_TEST

START_TEST(test_secrets_for_everyone)
{
	_cleanup_(config_freep) struct config *config = NULL;
	static const char warning[] = "everyone can read this secret; run: chmod o-rwx main.conf "
				      "(flagsse must still be able to read it, by its group)\n";
	char option[PATH_SIZE + 32], expected[512];
	const char *options[] = {option, NULL};

	snprintf(option, sizeof(option), "http.token_file=%s", path_of("token"));
	write_file("token", "abc");
	ck_assert_int_eq(chmod(path_of("token"), 0604), 0);
	write_file("main.conf", "[http]\nidle_timeout=1\ntoken=\n[nats]\nurl=nats://h\n");
	ck_assert_int_eq(chmod(path_of("main.conf"), 0644), 0);
	ck_assert_int_eq(load(options, no_environment, &config), 0);
	ck_assert_str_eq(complaints,
		"warning: option http.token_file: everyone can read token; run: chmod o-rwx token "
		"(flagsse must still be able to read it, by its group)\n");
	config = config_free(config);

	write_file("main.conf", "[http]\ntoken=hidden\n[nats]\nurl=nats://u:hidden@h\n");
	ck_assert_int_eq(load(no_options, no_environment, &config), 0);
	ck_assert_str_eq(complaints, "");
	config = config_free(config);
	ck_assert_int_eq(chmod(path_of("main.conf"), 0644), 0);
	ck_assert_int_eq(load(no_options, no_environment, &config), 0);
	snprintf(expected, sizeof(expected), "warning: main.conf:2: http.token: %s", warning);
	ck_assert_str_eq(complaints, expected);
	config = config_free(config);

	write_file("main.conf", "[nats]\nurl=nats://u:hidden@h\n");
	ck_assert_int_eq(chmod(path_of("main.conf"), 0644), 0);
	ck_assert_int_eq(load(no_options, token_only, &config), 0);
	snprintf(expected, sizeof(expected), "warning: main.conf:2: nats.url: %s", warning);
	ck_assert_str_eq(complaints, expected);
}
END_TEST

START_TEST(test_state_directory)
{
	_cleanup_(config_freep) struct config *config = NULL;
	char *const environment[] = {
		(char *)TOKEN_VARIABLE, (char *)"STATE_DIRECTORY=/s/a:/s/b", NULL};
	static const char *const options[] = {"service.state_dir=/other", NULL};
	_cleanup_(freep) char *text = NULL;

	write_file("main.conf", "");
	ck_assert_int_eq(load(options, environment, &config), 0);
	ck_assert_str_eq(config->state_dir, "/s/a");
	text = printed(config);
	ck_assert_ptr_nonnull(strstr(text, "# environment STATE_DIRECTORY\nstate_dir = /s/a\n"));
	ck_assert_str_eq(complaints,
		"warning: option service.state_dir: not used, as $STATE_DIRECTORY is /s/a (StateDirectory= "
		"of the unit)\n");
	config = config_free(config);
	ck_assert_int_eq(load(no_options, environment, &config), 0);
	ck_assert_str_eq(complaints, "");
}
END_TEST

START_TEST(test_token_file_beside_a_token)
{
	_cleanup_(config_freep) struct config *config = NULL;
	static const char *const options[] = {"http.token_file=/nowhere", NULL};

	write_file("main.conf", "");
	ck_assert_int_eq(load(options, token_only, &config), 0);
	ck_assert_str_eq(config->token, "from-environment");
	ck_assert_str_eq(complaints,
		"warning: option http.token_file: not used, as http.token is set (environment "
		"SSE_AUTHENTICATION_TOKEN)\n");
}
END_TEST

START_TEST(test_control_characters_are_not_shown)
{
	_cleanup_(config_freep) struct config *config = NULL;
	static const char *const options[] = {"bus.type=a\nerror: forged\033[2J", NULL};

	write_file("main.conf", "");
	ck_assert_int_eq(load(options, token_only, &config), -EINVAL);
	ck_assert_str_eq(complaints, "option bus.type: \"a?error: forged?[2J\" is not one of the "
				     "words; allowed: nats, local\n");
}
END_TEST

/* "SECTION.KEY ", with a '!' before what needs a restart. */
static void note(const char *section, const char *key, bool at_once, void *userdata)
{
	char *text = userdata;

	sprintf(text + strlen(text), "%s%s.%s ", at_once ? "" : "!", section, key);
}

START_TEST(test_compare)
{
	static const struct {
		const char *before, *after, *differences;
	} cases[] = {
		{"", "", ""},
		{"[http]\nlisten = :1\n", "[http]\nlisten = :1\n", ""},
		{"", "[http]\nlisten = :1\n", "!http.listen "},
		{"[streams]\nshards = 1\nspread = 5 s\n", "[service]\nlog_level = debug\n",
			"!streams.shards streams.spread service.log_level "},
		{"", "[profile flutter]\nmax_age = 1 s\n", "profile.flutter "},
		{"[profile x]\nuser_agent = X\n", "[profile y]\nuser_agent = Y\n",
			"profile.y profile.x "},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		_cleanup_(config_freep) struct config *before = load_text(cases[i].before);
		_cleanup_(config_freep) struct config *after = load_text(cases[i].after);
		char differences[256] = "";

		config_compare(before, after, note, differences);
		ck_assert_str_eq(differences, cases[i].differences);
	}
}
END_TEST

/* What counts is the token itself, not where it comes from. */
START_TEST(test_compare_tokens)
{
	static const char *const same[] = {"http.token=from-environment", NULL};
	static const char *const another[] = {"http.token=another", NULL};
	_cleanup_(config_freep) struct config *before = load_text("");
	_cleanup_(config_freep) struct config *after = NULL;
	char differences[256] = "";

	ck_assert_int_eq(load(same, token_only, &after), 0);
	config_compare(before, after, note, differences);
	ck_assert_str_eq(differences, "");
	config_free(after);
	ck_assert_int_eq(load(another, token_only, &after), 0);
	config_compare(before, after, note, differences);
	ck_assert_str_eq(differences, "http.token ");
}
END_TEST

/* What needs a restart stays as it runs, with where it came from; all else is what was read. */
START_TEST(test_keep_restart)
{
	_cleanup_(config_freep) struct config *running =
		load_text("[streams]\nshards = 1\nspread = 1 s\n[nats]\nurl = nats://a:1\n"
			  "[service]\nstate_dir = /a\n");
	_cleanup_(config_freep) struct config *read = load_text(
		"\n\n[streams]\nshards = 2\nspread = 2 s\n[nats]\nurl = nats://b:2\nreplicas = 3\n"
		"[service]\nstate_dir = /b\n");
	_cleanup_(freep) char *text = NULL;
	char differences[256] = "";

	config_keep_restart(read, running);
	text = printed(read);
	ck_assert_ptr_nonnull(strstr(text, "main.conf:2\nshards = 1\n"));
	ck_assert_ptr_nonnull(strstr(text, "main.conf:5\nspread = 2000 ms\n"));
	ck_assert_ptr_nonnull(strstr(text, "main.conf:5\nurl = nats://a:1\n"));
	ck_assert_ptr_nonnull(strstr(text, "# default\nreplicas = 1\n"));
	ck_assert_str_eq(read->state_dir, "/a");
	ck_assert_str_eq(running->state_dir, "/b");
	/* What it has given away is in the other one. */
	config_compare(read, running, note, differences);
	ck_assert_str_eq(differences, "!streams.shards streams.spread !nats.url !nats.replicas "
				      "!service.state_dir ");
}
END_TEST

START_TEST(test_listen_unused)
{
	_cleanup_(config_freep) struct config *set = load_text("[http]\nlisten = :1\n");
	_cleanup_(config_freep) struct config *unset = load_text("");
	_cleanup_(freep) char *text = NULL, *text_unset = NULL;

	ck_assert_ptr_nonnull(strstr(config_listen_origin(set), "main.conf:2"));
	ck_assert_ptr_null(config_listen_origin(unset));
	ck_assert_int_eq(config_note_listen_unused(set), 0);
	ck_assert_int_eq(config_note_listen_unused(unset), 0);
	text = printed(set);
	text_unset = printed(unset);
	ck_assert_ptr_nonnull(strstr(
		text, "main.conf:2; not used, as systemd passes the sockets\nlisten = :1\n"));
	ck_assert_ptr_nonnull(strstr(text_unset,
		"# default; not used, as systemd passes the sockets\nlisten = :8088\n"));
}
END_TEST

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

Suite *test_suite(void)
{
	Suite *all = suite_create("config");
	TCase *cases = tcase_create("config");

	tcase_add_checked_fixture(cases, config_set_up, config_tear_down);
	tcase_add_test(cases, test_defaults);
	tcase_add_loop_test(cases, test_file, 0, COUNT(files));
	tcase_add_loop_test(cases, test_lone_file, 0, COUNT(lone_files));
	tcase_add_loop_test(cases, test_duration, 0, COUNT(durations));
	tcase_add_loop_test(cases, test_token_file, 0, COUNT(token_files));
	tcase_add_test(cases, test_no_token);
	tcase_add_test(cases, test_other_values);
	tcase_add_test(cases, test_longest_line);
	tcase_add_test(cases, test_precedence);
	tcase_add_test(cases, test_all_sources_at_once);
	tcase_add_test(cases, test_files_that_cannot_be_read);
	tcase_add_test(cases, test_token_sources);
	tcase_add_test(cases, test_secrets_for_everyone);
	tcase_add_test(cases, test_state_directory);
	tcase_add_test(cases, test_token_file_beside_a_token);
	tcase_add_test(cases, test_control_characters_are_not_shown);
	tcase_add_test(cases, test_compare);
	tcase_add_test(cases, test_compare_tokens);
	tcase_add_test(cases, test_keep_restart);
	tcase_add_test(cases, test_listen_unused);
	suite_add_tcase(all, cases);
	return all;
}
