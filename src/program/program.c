/* SPDX-License-Identifier: BSD-3-Clause */
/* The program: reads options and configuration, and runs the server or prints what is asked for. */
#include "program/program.h"

#include <errno.h>
#include <getopt.h>
#include <json-c/json_c_version.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <syslog.h>
#include <unistd.h>

#include "base/log.h"
#include "base/messages.h"
#include "base/notify-send.h"
#include "base/thread.h"
#include "base/version.h"
#include "bus/bus.h"
#include "bus/store/store.h"
#include "config/config.h"
#include "config/running.h"
#include "http/http.h"
#include "net/listen.h"
#include "program/process-surroundings.h"
#include "program/unit-surroundings.h"
#include "restart/next-check.h"
#include "restart/preflight.h"
#include "restart/take-up.h"
#include "server/server.h"

/* How long a process that fails waits for its log to be written, in ms: longer than one that ends
 * well (LOG_LAST_MS), but not as long as next-check.c waits for its check. */
#define LOG_FAILURE_MS 1000

/* How long a service that does not start stays, so that journald can tell whose messages these are.
 */
#define LOG_SEEN_US 100000

#define DEFAULT_UNIT "flagsse.service"

enum action {
	ACTION_SERVE,
	ACTION_CHECK_CONFIG,
	ACTION_CHECK_FILE,
	ACTION_PRINT_CONFIG,
	ACTION_PRINT_SAMPLE,
	ACTION_PRINT_MAN,
	ACTION_VERSION,
	ACTION_HELP,
};

struct options {
	enum action action;
	const char *file;
	const char *checked_file; /* of ACTION_CHECK_FILE */
	const char **overrides;   /* NULL-terminated */
	size_t n_overrides;
	pid_t process;          /* 0: none */
	const char *unit;       /* NULL: none */
	const char *credential; /* of the unit */
};

static void print_help(void)
{
	puts("Usage: flagsse [OPTION]...\n"
	     "Tells clients of Flagsmith about updates of their environments at once.\n"
	     "\n"
	     "  -c FILE                  read FILE, and conf.d/*.conf beside it, instead of\n"
	     "                           " FLAGSSE_SYSCONFDIR "/flagsse.conf and its conf.d\n"
	     "  -o SECTION.KEY=VALUE     set a setting; wins over files and environment\n"
	     "  --standalone             without NATS: the embedded store is the bus\n"
	     "                           (-o bus.type=local)\n"
	     "  --check-config           check the configuration and exit: 0, or 78 if it\n"
	     "                           cannot be used\n"
	     "  --check-file FILE        check one file by itself, before it is put in its\n"
	     "                           place, and exit as --check-config; it may lack what\n"
	     "                           other files, the environment or options bring\n"
	     "  --print-config           print the settings in effect, where each came from,\n"
	     "                           and exit\n"
	     "  --process PID            with --check-config: check it as that running flagsse\n"
	     "                           would read it, with its options, environment and\n"
	     "                           credentials; with --print-config: print what that\n"
	     "                           flagsse runs with, whatever the files say by now\n"
	     "  --unit NAME              with either: read it as that unit of systemd would at\n"
	     "                           its next start. If root gives no other option, this\n"
	     "                           is flagsse.service, if there is one\n"
	     "  --print-sample-config    print a file with all settings and exit\n"
	     "  -V, --version            print the version and exit\n"
	     "  -h, --help               print this and exit\n"
	     "\n"
	     "Settings come from the files, the environment, the options; the later wins:\n");
	config_print_help(stdout);
}

static void print_version(void)
{
	printf("flagsse %s\nlibmicrohttpd %s\nnats.c %s\nSQLite %s\njson-c %s\n", flagsse_version,
		http_library_version(), bus_library_version(), store_library_version(),
		json_c_version());
}

static void add_override(struct options *options, const char *text)
{
	options->overrides[options->n_overrides++] = text;
}

static bool parse_pid(const char *text, pid_t *ret)
{
	char *end;
	long number;

	errno = 0;
	number = strtol(text, &end, 10);
	if (errno || end == text || *end || number < 1 || number > INT_MAX) {
		fprintf(stderr, "flagsse: '%s' is not the ID of a process\n", text);
		return false;
	}
	*ret = (pid_t)number;
	return true;
}

/* Which options stand alone, and which go together. */
static bool check_options(const struct options *options)
{
	bool others = options->file || options->n_overrides > 0;

	if (options->action == ACTION_CHECK_FILE &&
		(others || options->process != 0 || options->unit)) {
		fputs("flagsse: --check-file goes with no other option\n", stderr);
		return false;
	}
	if (options->process == 0 && !options->unit)
		return true;
	if (!others && !(options->process != 0 && options->unit) &&
		(options->action == ACTION_CHECK_CONFIG || options->action == ACTION_PRINT_CONFIG))
		return true;
	fputs("flagsse: --process or --unit goes with --check-config or --print-config alone\n",
		stderr);
	return false;
}

static bool parse_options(int argc, char *argv[], struct options *options)
{
	enum {
		STANDALONE = 256,
		PROCESS,
		UNIT,
		FIRST_ACTION
	};
	static const struct option known[] = {
		{"standalone", no_argument, NULL, STANDALONE},
		{"process", required_argument, NULL, PROCESS},
		{"unit", required_argument, NULL, UNIT},
		{"check-file", required_argument, NULL, FIRST_ACTION + ACTION_CHECK_FILE},
		{"check-config", no_argument, NULL, FIRST_ACTION + ACTION_CHECK_CONFIG},
		{"print-config", no_argument, NULL, FIRST_ACTION + ACTION_PRINT_CONFIG},
		{"print-sample-config", no_argument, NULL, FIRST_ACTION + ACTION_PRINT_SAMPLE},
		{"print-man", no_argument, NULL, FIRST_ACTION + ACTION_PRINT_MAN},
		{"version", no_argument, NULL, FIRST_ACTION + ACTION_VERSION},
		{"help", no_argument, NULL, FIRST_ACTION + ACTION_HELP},
		{NULL, 0, NULL, 0},
	};
	int option;

	options->overrides = calloc((size_t)argc + 1, sizeof(options->overrides[0]));
	if (!options->overrides)
		return false;
	optind = 0; /* from the start, and GNU's own state, too */
	while ((option = getopt_long(argc, argv, "c:o:hV", known, NULL)) != -1) {
		if (option == 'c')
			options->file = optarg;
		else if (option == 'o')
			add_override(options, optarg);
		else if (option == 'h')
			options->action = ACTION_HELP;
		else if (option == 'V')
			options->action = ACTION_VERSION;
		else if (option == STANDALONE)
			add_override(options, "bus.type=local");
		else if (option >= FIRST_ACTION) {
			options->action = (enum action)(option - FIRST_ACTION);
			if (options->action == ACTION_CHECK_FILE)
				options->checked_file = optarg;
		} else if (option == UNIT)
			options->unit = optarg;
		else if (option != PROCESS || !parse_pid(optarg, &options->process))
			return false;
	}
	if (optind < argc)
		fprintf(stderr, "flagsse: unexpected argument '%s'\n", argv[optind]);
	return optind == argc && check_options(options);
}

static void complain(bool warning, const char *text, void *userdata)
{
	(void)userdata;
	log_at(warning ? LOG_WARNING : LOG_ERR, "%s", text);
}

static int load_config(const struct options *options, char *const *environment, struct config **ret)
{
	struct config_sources sources = {
		.file = options->file,
		.overrides = options->overrides,
		.environment = environment,
		.check_listen = listen_check,
		.own_variable = NEXT_VARIABLE,
		.credential = options->credential,
	};

	return config_load(&sources, complain, NULL, ret);
}

/* Loads the configuration as the running process would. */
static int load_config_of_process(pid_t pid, struct config **ret)
{
	_cleanup_(process_freep) struct process *process = NULL;
	struct options options = {0};
	int r;

	if (!process_is_alike(pid)) {
		log_error("Process %ld is no flagsse, but another program. `systemctl show "
			  "--property=MainPID flagsse` tells the number.",
			(long)pid);
		return -ESRCH;
	}
	r = process_read(pid, &process);
	if (r < 0) {
		log_error("Cannot read the options of process %ld: %s.", (long)pid, strerror(-r));
		return r;
	}
	if (parse_options(process->argc, process->argv, &options))
		r = load_config(&options, process->environment, ret);
	else {
		log_error("Process %ld is no flagsse.", (long)pid);
		r = -ESRCH;
	}
	free(options.overrides);
	return r;
}

/* Loads the configuration as the unit's next process would.  `by_default`: nobody has named the
 * unit, so it need not be there; then 0, and *ret stays NULL. */
static int load_config_of_unit(const char *name, bool by_default, struct config **ret)
{
	_cleanup_(unit_freep) struct unit *unit = NULL;
	struct options options = {0};
	int r = unit_read(name, &unit);

	if (r < 0 && by_default && r != -ENOMEM)
		return 0;
	if (r < 0) {
		log_error("Cannot read the unit %s: %s. `systemctl cat '%s'` shows it.", name,
			strerror(-r), name);
		return r;
	}
	log_info("Read as %s would: its options, variables and credential.", name);
	if (parse_options(unit->argc, unit->argv, &options)) {
		options.credential = unit->token;
		r = load_config(&options, unit->environment, ret);
	} else {
		log_error("The options in ExecStart= of %s are not understood.", name);
		r = -EINVAL;
	}
	free(options.overrides);
	return r;
}

/* Root has called us by hand, and said nothing of where to read from: what counts is the service.
 * (A program that a service runs has an INVOCATION_ID.) */
static bool means_service(const struct options *options)
{
	return geteuid() == 0 && !options->file && options->n_overrides == 0 &&
	       !getenv("INVOCATION_ID") && !getenv("CREDENTIALS_DIRECTORY") &&
	       !getenv(NEXT_VARIABLE);
}

static int load_config_as_asked(const struct options *options, struct config **ret)
{
	int r;

	if (options->process > 0)
		return load_config_of_process(options->process, ret);
	if (options->unit)
		return load_config_of_unit(options->unit, false, ret);
	if (means_service(options)) {
		r = load_config_of_unit(DEFAULT_UNIT, true, ret);
		if (r < 0 || *ret)
			return r;
	}
	return load_config(options, environ, ret);
}

static int read_config(void *userdata, struct config **ret)
{
	return load_config(userdata, environ, ret);
}

/* Each mistake has been logged; this is the message that an administrator can look for. */
static void log_refusal(void)
{
	static const struct log_fields fields = {.message_id = MESSAGE_CONFIG_REFUSED};

	log_with(LOG_ERR, &fields, "The configuration cannot be used; not started.");
	(void)notify_send("STATUS=The configuration cannot be used; the journal says why.");
}

/* Becomes the owner of the configuration. */
static int serve(struct options *options, struct config *loaded, struct inherited *inherited)
{
	_cleanup_(config_freep) struct config *config = loaded;
	_cleanup_(server_freep) struct server *server = NULL;
	int r;

	log_info("flagsse %s starts.", flagsse_version);
	if (server_new(config, inherited, read_config, options, &server) < 0)
		return EXIT_FAILURE;
	TAKE_PTR(config);
	r = server_run(server);
	if (r < 0)
		return EXIT_FAILURE;
	server = server_free(server);
	log_info("flagsse has stopped.");
	return r;
}

/* The service does not wait for whoever reads its log, from the first message on; nor does a check
 * that a service runs (next-check.c), which logs to the journal.  Otherwise somebody has called us
 * by hand, and may read a long list of complaints at leisure. */
static int start_log(const struct options *options)
{
	int r;

	if (options->action != ACTION_SERVE && !log_is_journal())
		return 0;
	r = log_start();
	if (r < 0)
		log_error("Cannot start the thread that writes the log: %s.", strerror(-r));
	return r;
}

/* Writes out what was printed.  Returns the exit code. */
static int finish_output(void)
{
	if (fflush(stdout) == 0)
		return EXIT_SUCCESS;
	fprintf(stderr, "flagsse: cannot write: %s\n", strerror(errno));
	return EXIT_FAILURE;
}

static int check_file(const char *path)
{
	int r = config_check_file(path, listen_check, complain, NULL);

	if (r == -EINVAL)
		return EX_CONFIG;
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* A process that is about to hand over to this program has more checked than the configuration. */
static int check_for_next(const struct config *config)
{
	const char *own = getenv(NEXT_VARIABLE);

	return own && preflight(config, own) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int print_running(pid_t pid)
{
	int r = running_print(pid, stdout);

	if (r == -ENODATA)
		log_error("Process %ld does not show what it runs with: it is no flagsse, one of a "
			  "former version, or has not begun to serve.",
			(long)pid);
	else if (r < 0)
		log_error("Cannot read what process %ld runs with: %s.", (long)pid, strerror(-r));
	return r < 0 ? EXIT_FAILURE : finish_output();
}

static int check_or_print(struct options *options)
{
	_cleanup_(config_freep) struct config *config = NULL;
	int r;

	if (options->action == ACTION_PRINT_CONFIG && options->process > 0)
		return print_running(options->process);
	r = load_config_as_asked(options, &config);
	if (r < 0)
		return r == -EINVAL ? EX_CONFIG : EXIT_FAILURE;
	if (options->action == ACTION_CHECK_CONFIG)
		return options->process > 0 ? EXIT_SUCCESS : check_for_next(config);
	config_print(config, stdout);
	return finish_output();
}

static int load_and_serve(struct options *options, struct inherited *inherited)
{
	_cleanup_(config_freep) struct config *config = NULL;
	int r = load_config(options, environ, &config);

	if (r == -EINVAL) {
		log_refusal();
		return EX_CONFIG;
	}
	if (r < 0)
		return EXIT_FAILURE;
	log_set_level(CONFIG_LOG_LEVEL(config));
	log_stay();
	return serve(options, TAKE_PTR(config), inherited);
}

/* However it fails, the streams of the former process are not forgotten. */
static int start_and_serve(struct options *options)
{
	_cleanup_(inherited_deinit) struct inherited inherited = {.stash.state = -1};
	bool has_log = start_log(options) >= 0;
	int r = inherited_take(&inherited);

	if (r < 0) {
		log_error("Not started: what systemd has passed cannot be used: %s.", strerror(-r));
		return EXIT_FAILURE;
	}
	takeup_end_if_late(&inherited.stash);
	r = has_log ? load_and_serve(options, &inherited) : EXIT_FAILURE;
	takeup_postpone(&inherited.stash);
	return r;
}

static int act(struct options *options)
{
	if (options->action != ACTION_SERVE && start_log(options) < 0)
		return EXIT_FAILURE;
	switch (options->action) {
	case ACTION_HELP:
		print_help();
		return finish_output();
	case ACTION_VERSION:
		print_version();
		return finish_output();
	case ACTION_PRINT_SAMPLE:
		config_print_sample(stdout);
		return finish_output();
	case ACTION_PRINT_MAN:
		config_print_man(stdout);
		return finish_output();
	case ACTION_CHECK_FILE:
		return check_file(options->checked_file);
	case ACTION_CHECK_CONFIG:
	case ACTION_PRINT_CONFIG:
		return check_or_print(options);
	default:
		return start_and_serve(options);
	}
}

/* The wrong options may be those of the unit, and there may be streams to take up. */
static int refuse_options(void)
{
	_cleanup_(inherited_deinit) struct inherited inherited = {.stash.state = -1};

	fputs("Try 'flagsse --help'.\n", stderr);
	if (inherited_take(&inherited) >= 0) {
		takeup_end_if_late(&inherited.stash);
		takeup_postpone(&inherited.stash);
	}
	return EX_USAGE;
}

int program_run(int argc, char *argv[])
{
	struct options options = {0};
	int r;

	log_open();
	next_remember(argc, argv);
	if (parse_options(argc, argv, &options))
		r = act(&options);
	else
		r = refuse_options();
	free(options.overrides);
	log_stop(r == EXIT_SUCCESS ? LOG_LAST_MS : LOG_FAILURE_MS);
	if (r != EXIT_SUCCESS && options.action == ACTION_SERVE && log_is_journal())
		usleep(LOG_SEEN_US);
	/* exit() would run the destructors of libraries that a thread left behind is using. */
	if (threads_left_behind() > 0)
		_exit(r);
	return r;
}
