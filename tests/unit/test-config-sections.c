/* SPDX-License-Identifier: BSD-3-Clause */
/* Sections that repeat, by a table of kinds that is the test's own: beside profiles, gates with two
 * secrets and settings that need a restart, and lamps that are built in. */
#include <check.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "config-fixture.h"
#include "config/config-internal.h"
#include "runner.h"

#define GATE_ROWS                                                                                  \
	SETTING_SECRET(gate, pass, RELOAD, "", SELF, NULL, "Who has it may pass.")                 \
	SETTING_SECRET(gate, seal, RESTART, "", SELF, NULL, "What it is sealed with.")             \
	SETTING_LISTEN(gate, listen, RESTART, ":1", NULL, "Where it stands.")                      \
	SETTING_URLS(gate, url, RELOAD, "", NULL, "Where it leads.")                               \
	SETTING_NUMBER(gate, limit, RELOAD, 5, 1, 9, "guests", NULL, "How many may pass.")         \
	SETTING_DURATION_AS(gate, wait, RELOAD, streams, keepalive, 1, 60, "s", NULL, "A pause.")

#define LAMP_ROWS                                                                                  \
	SETTING_CHOICE(lamp, color, RELOAD, 1, "red green", NULL, "Its color.")                    \
	SETTING_SIZE(lamp, size, RELOAD, 2048, 1, 4096, "bytes", NULL, "Its size.")                \
	SETTING_BOOLEAN(lamp, on, RELOAD, true, NULL, "Whether it is on.")

#include "config/member-rows.h"
#define MEMBER(section, key)    key
#define MEMBER_MS(section, key) key##_ms

struct gate {
	struct config_section section;
	GATE_ROWS
};

struct lamp {
	struct config_section section;
	LAMP_ROWS
};

#include "config/end-rows.h"

#include "config/table-rows.h"
#define MEMBER(section, key)    key
#define MEMBER_MS(section, key) key##_ms

#define OWNER struct gate
static const struct setting gate_settings[] = {GATE_ROWS};
#undef OWNER
#define OWNER struct lamp
static const struct setting lamp_settings[] = {LAMP_ROWS};

#include "config/end-rows.h"

static const char *const red_lamp[] = {"red", NULL, "no"};
static const struct builtin_section lamps[] = {{"exit", red_lamp}, {NULL, NULL}};

/* No gate may let in more than the one before it, by name. */
static void check_gate(struct loader *loader, const struct config_sections *gates, size_t index)
{
	const struct gate *gate = (const void *)gates->list[index];
	const struct gate *former = index > 0 ? (const void *)gates->list[index - 1] : NULL;

	if (former && gate->limit > former->limit)
		loader_complain(loader, false, gate->section.declared, gate->section.name, "limit",
			"more than that of %s", former->section.name);
}

enum {
	GATE,
	LAMP
};

static const struct section_kind kinds[] = {
	[GATE] = {"gate", gate_settings, 6, sizeof(struct gate), "# Gates.\n", NULL, check_gate},
	[LAMP] = {"lamp", lamp_settings, 3, sizeof(struct lamp), "# Lamps.\n", lamps, NULL},
	{},
};

static int load_kinds(const char *text, struct config **ret)
{
	write_file("main.conf", text);
	return load_with(kinds, path_of("main.conf"), no_options, token_only, ret);
}

static struct config *load_good(const char *text)
{
	struct config *config = NULL;

	ck_assert_msg(load_kinds(text, &config) == 0, "%s", complaints);
	ck_assert_str_eq(complaints, "");
	return config;
}

static const struct {
	const char *text, *complaint;
} refused[] = {
	{"[gate]\nlimit = 1\n",
		"main.conf:1: gate: unknown section; allowed: http, streams, bus, nats, service, "
		"gate NAME, lamp NAME (NAME: 1 to 32 of A-Z a-z 0-9 - _)\n"},
	{"[profile a]\n",
		"main.conf:1: profile a: unknown section; allowed: http, streams, bus, nats, "
		"service, gate NAME, lamp NAME (NAME: 1 to 32 of A-Z a-z 0-9 - _)\n"},
	{"[gate a]\nsize = 1\n", "main.conf:2: gate a.size: unknown key; allowed: pass, seal, "
				 "listen, url, limit, wait\n"},
	{"[lamp a]\nlimit = 1\n",
		"main.conf:2: lamp a.limit: unknown key; allowed: color, size, on\n"},
	{"[gate a]\nlimit = 10\n", "main.conf:2: gate a.limit: \"10\" is out of range; allowed: 1 "
				   "to 9 guests\n"},
	{"[lamp exit]\ncolor = blue\n", "main.conf:2: lamp exit.color: \"blue\" is not one of the "
					"words; allowed: red, green\n"},
	{"[gate a]\nlisten = bad\n",
		"main.conf:2: gate a.listen: \"bad\" (address 1) is not an address to listen on; "
		"allowed: HOST:PORT, [IPv6]:PORT, :PORT or unix:/PATH, with commas between\n"},
	{"[gate a]\npass = hid den\n",
		"main.conf:2: gate a.pass: the value is not a usable pass; allowed: printable "
		"ASCII without spaces, at most 1024 characters\n"},
	{"[gate a]\nseal = hid den\n",
		"main.conf:2: gate a.seal: the value is not a usable seal; allowed: printable "
		"ASCII without spaces, at most 1024 characters\n"},
	{"[gate a]\npass = ***\nseal = ***\n",
		"main.conf:2: gate a.pass: is the mask that --print-config shows; allowed: the "
		"pass itself\n"
		"main.conf:3: gate a.seal: is the mask that --print-config shows; allowed: the "
		"seal itself\n"},
	{"[gate b]\n[gate a]\nlimit = 4\n", "main.conf:1: b.limit: more than that of a\n"},
};

START_TEST(test_refused)
{
	struct config *config = NULL;

	ck_assert_int_eq(load_kinds(refused[_i].text, &config), -EINVAL);
	ck_assert_str_eq(complaints, refused[_i].complaint);
}
END_TEST

/* That of a section says nothing of http.token. */
START_TEST(test_another_secret_is_no_token)
{
	struct config *config = NULL;

	write_file("main.conf", "[gate a]\npass = hid den\n");
	ck_assert_int_eq(
		load_with(kinds, path_of("main.conf"), no_options, no_environment, &config),
		-EINVAL);
	ck_assert_ptr_nonnull(strstr(complaints, "gate a.pass: the value is not a usable"));
	ck_assert_ptr_nonnull(strstr(complaints, "\nhttp.token: not set;"));
}
END_TEST

START_TEST(test_values)
{
	_cleanup_(config_freep) struct config *config =
		load_good("[gate b]\npass = open\nlisten = :1\nlisten = :2\nwait = 3\n"
			  "[streams]\nkeepalive = 7\n[lamp  exit]\nsize = 1K\n[gate a]\n");
	const struct config_sections *gates = &config->sections[GATE];
	const struct gate *a = (const void *)gates->list[0], *b = (const void *)gates->list[1];
	const struct lamp *lamp = (const void *)config->sections[LAMP].list[0];

	ck_assert_uint_eq(gates->n, 2);
	ck_assert_str_eq(a->section.name, "a");
	ck_assert_str_eq(a->listen, ":1");
	ck_assert_int_eq(a->limit, 5);
	ck_assert_int_eq(a->wait_ms, 7000);
	ck_assert_str_eq(b->pass, "open");
	ck_assert_str_eq(b->listen, ":1,:2");
	ck_assert_int_eq(b->wait_ms, 3000);
	ck_assert_uint_eq(config->sections[LAMP].n, 1);
	ck_assert_int_eq(lamp->color, 0);
	ck_assert_int_eq(lamp->size, 1024);
	ck_assert(!lamp->on);
}
END_TEST

/* Takes the path of the test's directory out of the text. */
static void cut_directory(char *text)
{
	size_t length = strlen(directory) + 1;

	for (char *at = text; (at = strstr(at, directory));)
		memmove(at, at + length, strlen(at + length) + 1);
}

START_TEST(test_print)
{
	_cleanup_(config_freep) struct config *config = load_good(
		"[gate b]\npass = hidden\nseal = hidden\nurl = nats://hidden@h\n[gate a]\n");
	_cleanup_(freep) char *text = printed(config);
	char *gates = strstr(text, "\n[gate a]\n");

	ck_assert_ptr_null(strstr(text, "hidden"));
	ck_assert_ptr_nonnull(gates);
	cut_directory(gates);
	ck_assert_str_eq(gates, "\n[gate a]\n"
				"# default\npass =\n"
				"# default\nseal =\n"
				"# default\nlisten = :1\n"
				"# default\nurl =\n"
				"# default\nlimit = 5\n"
				"# default\nwait = 15 s\n"
				"\n[gate b]\n"
				"# main.conf:2\npass = ***\n"
				"# main.conf:3\nseal = ***\n"
				"# default\nlisten = :1\n"
				"# main.conf:4\nurl = nats://***@h\n"
				"# default\nlimit = 5\n"
				"# default\nwait = 15 s\n"
				"\n[lamp exit]\n"
				"# default\ncolor = red\n"
				"# default\nsize = 2048\n"
				"# default\non = no\n");
}
END_TEST

START_TEST(test_secrets_for_everyone)
{
	static const char *const secrets[] = {"pass = a", "seal = a", "url = nats://a@h"};
	char text[64], warning[64];

	for (size_t i = 0; i < sizeof(secrets) / sizeof(secrets[0]); i++) {
		_cleanup_(config_freep) struct config *config = NULL;

		snprintf(text, sizeof(text), "[gate a]\n%s\n", secrets[i]);
		write_file("main.conf", text);
		ck_assert_int_eq(chmod(path_of("main.conf"), 0644), 0);
		ck_assert_int_eq(
			load_with(kinds, path_of("main.conf"), no_options, token_only, &config), 0);
		snprintf(warning, sizeof(warning),
			"warning: main.conf:2: gate a.%.*s: everyone can read",
			(int)strcspn(secrets[i], " "), secrets[i]);
		ck_assert_msg(strstr(complaints, warning), "no %s in %s", warning, complaints);
	}
}
END_TEST

/* "SECTION.KEY ", with a '!' before what needs a restart. */
static void note(const char *section, const char *key, bool at_once, void *userdata)
{
	char *text = userdata;

	sprintf(text + strlen(text), "%s%s.%s ", at_once ? "" : "!", section, key);
}

static const struct {
	const char *before, *after, *differences;
} compared[] = {
	{"[gate a]\npass = x\nseal = y\n", "[gate a]\nseal = y\npass = x\n", ""},
	{"[gate a]\npass = x\n", "[gate a]\npass = y\n", "gate.a "},
	{"[gate a]\nseal = x\n", "[gate a]\nseal = y\n", "!gate.a "},
	{"[gate a]\nseal = x\n", "[gate a]\nseal = y\nlimit = 1\n", "!gate.a "},
	{"[gate a]\n", "[gate a]\nlimit = 1\nwait = 1\n", "gate.a "},
	{"[streams]\nkeepalive = 7\n[gate a]\n", "[gate a]\n", "streams.keepalive gate.a "},
	{"[gate a]\n", "[gate b]\n", "!gate.b !gate.a "},
	{"[lamp a]\n", "[lamp b]\n", "lamp.b lamp.a "},
	{"", "[lamp exit]\non = yes\n", "lamp.exit "},
};

START_TEST(test_compare)
{
	_cleanup_(config_freep) struct config *before = load_good(compared[_i].before);
	_cleanup_(config_freep) struct config *after = load_good(compared[_i].after);
	char differences[256] = "";

	config_compare(before, after, note, differences);
	ck_assert_str_eq(differences, compared[_i].differences);
}
END_TEST

/* What runs keeps the seals, and the gates; it takes the limits that were read, and all of lamps.
 */
START_TEST(test_keep_restart)
{
	_cleanup_(config_freep) struct config *running = load_good(
		"[gate both]\npass = old\nseal = old\nlimit = 9\n[gate gone]\n[lamp x]\n");
	_cleanup_(config_freep) struct config *read = load_good(
		"\n[gate both]\npass = new\nseal = new\nlimit = 1\n[gate added]\n[lamp y]\n");
	const struct config_sections *gates = &read->sections[GATE];
	const struct gate *both;
	char differences[256] = "";

	config_keep_restart(read, running);
	both = (const void *)gates->list[0];
	ck_assert_uint_eq(gates->n, 2);
	ck_assert_str_eq(both->section.name, "both");
	ck_assert_str_eq(gates->list[1]->name, "gone");
	ck_assert_str_eq(both->seal, "old");
	ck_assert_ptr_nonnull(strstr(both->section.origins[1], "main.conf:3"));
	ck_assert_str_eq(both->pass, "new");
	ck_assert_ptr_nonnull(strstr(both->section.origins[0], "main.conf:3"));
	ck_assert_int_eq(both->limit, 1);
	ck_assert_str_eq(read->sections[LAMP].list[1]->name, "y");

	/* What was read and does not run is what still differs. */
	config_compare(read, running, note, differences);
	ck_assert_str_eq(differences, "!gate.added !gate.both !gate.gone lamp.x lamp.y ");
}
END_TEST

static void print_help(FILE *file)
{
	sections_print_help(file, kinds);
}

static void print_sample(FILE *file)
{
	sections_print_sample(file, kinds);
}

static void print_man(FILE *file)
{
	sections_print_man(file, kinds);
}

START_TEST(test_documents)
{
	_cleanup_(freep) char *help = print_to_string(print_help);
	_cleanup_(freep) char *sample = print_to_string(print_sample);
	_cleanup_(freep) char *man = print_to_string(print_man);

	ck_assert_ptr_nonnull(
		strstr(help, "\ngate NAME.wait\n    A pause.\n"
			     "    Default: streams.keepalive. Allowed: 1 s to 60 s.\n"));
	ck_assert_ptr_nonnull(strstr(help, "\ngate NAME.seal\n    What it is sealed with.\n"
					   "    Default: none. A change needs a restart.\n"));
	ck_assert_ptr_nonnull(strstr(sample, "\n# Gates.\n#\n# pass:\n#   Who has it may pass.\n"));
	ck_assert_ptr_nonnull(strstr(sample,
		"\n#[gate NAME]\n#pass =\n#seal =\n#listen = :1\n#url =\n#limit = 5\n"
		"#wait = 15 s\n"));
	ck_assert_ptr_nonnull(
		strstr(sample, "\n#[lamp exit]\n#color = red\n#size = 2048\n#on = no\n"));
	ck_assert_ptr_nonnull(strstr(man, ".SS [gate NAME]\n.TP\n.B pass\nWho has it may pass.\n"));
}
END_TEST

#define N_OF(array) ((int)(sizeof(array) / sizeof((array)[0])))

Suite *test_suite(void)
{
	Suite *suite = suite_create("config-sections");
	TCase *cases = tcase_create("config-sections");

	tcase_add_checked_fixture(cases, config_set_up, config_tear_down);
	tcase_add_loop_test(cases, test_refused, 0, N_OF(refused));
	tcase_add_test(cases, test_another_secret_is_no_token);
	tcase_add_test(cases, test_values);
	tcase_add_test(cases, test_print);
	tcase_add_test(cases, test_secrets_for_everyone);
	tcase_add_loop_test(cases, test_compare, 0, N_OF(compared));
	tcase_add_test(cases, test_keep_restart);
	tcase_add_test(cases, test_documents);
	suite_add_tcase(suite, cases);
	return suite;
}
