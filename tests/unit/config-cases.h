/* SPDX-License-Identifier: BSD-3-Clause */
/* The tables of cases of test-config.c. */
#pragma once

#include <stdint.h>

#define NOT_UNDERSTOOD "not understood; allowed: [SECTION], KEY = VALUE, or a comment after #\n"
#define SECTIONS                                                                                   \
	"allowed: http, streams, bus, nats, service, profile NAME (NAME: 1 to 32 of A-Z a-z 0-9 "  \
	"- _)\n"
#define AGES "; allowed: 0 s to 604800 s (units: ms, s, min, h, d)\n"
#define URLS                                                                                       \
	" is not a URL of a NATS server; allowed: nats://HOST:PORT or tls://HOST:PORT, "           \
	"user:password@ or token@ before the host, port 1 to 65535, commas between\n"
#define CONTROL "main.conf:1: a control character or NUL byte; allowed: text\n"
#define LISTEN                                                                                     \
	" is not an address to listen on; allowed: HOST:PORT, [IPv6]:PORT, :PORT or unix:/PATH, "  \
	"with commas between\n"
#define URL_AT(number) "main.conf:2: nats.url: the value (URL " #number ")" URLS
#define X50            "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
#define X200           X50 X50 X50 X50
#define LONG_LINE                                                                                  \
	"the line is too long; allowed: 199 characters (the environment and options have no such " \
	"limit)\n"
#define LONG_LIST_LINE                                                                             \
	"the line is too long; allowed: 199 characters (several lines of this key add up; the "    \
	"environment and options have no such limit)\n"
#define RUN_AT(name) "main.conf:2: profile " name ".user_agent: "
#define FLAG_HELP    "allowed: yes, no (or true, false, on, off, 1, 0)\n"

/* Files that something else may complete, and what is said of each by itself. */
static const struct {
	const char *text, *complaints;
} lone_files[] = {
	{"", ""}, /* the token may come from anywhere */
	{"[http]\ntoken_file = /nonexistent\n", ""},
	{"\n[profile x]\nmax_age = 1\n[profile y]\nmax_age = 1\n", ""},
	{"[streams]\nretry_min = 6 s\n", ""},
	{"[profile x]\nuser_agent = Dart/\n", ""},

	{"[streams]\nretry_min = 2 s\nretry_max = 1 s\n",
		"main.conf:3: streams.retry_max: 1000 ms is less than streams.retry_min; allowed: "
		"2000 ms or more\n"},
	{"[profile x]\nuser_agent = X/\n[profile y]\nuser_agent = X/\n",
		"main.conf:4: profile y.user_agent: the same as of profile x; allowed: one profile "
		"for each\n"},
	{"[http]\ntoken = ***\n",
		"main.conf:2: http.token: is the mask that --print-config shows; allowed: the token "
		"itself\n"},
	{"[http]\ntoken = hid den\n[bus]\ntyp = nats\nrubbish\n",
		"main.conf:2: http.token: the value is not a usable token; allowed: printable "
		"ASCII without spaces, at most 1024 characters\n"
		"main.conf:4: bus.typ: unknown key; allowed: type\n"
		"main.conf:5: " NOT_UNDERSTOOD},
	{"[http]\nlisten = bad\n", "main.conf:2: http.listen: \"bad\" (address 1)" LISTEN},
};

/* Files, and all that is said of each; "" for good ones. */
static const struct {
	const char *text, *complaints;
} files[] = {
	{"", ""},
	{"# comment\n; comment\n\n   # comment\n", ""},
	{"[http]\nlisten = :1, [::1]:2\n", ""},
	{"[http]\r\nlisten = :1\r\n\r\n", ""},
	{"\xef\xbb\xbf[http]\nlisten = :1\n", ""},
	{"[http]\nlisten = :1", ""},
	{"  [http] # comment\n   listen:  :1  \n\tidle_timeout\t=\t5 ; comment\n", ""},
	{"# " X200 "\n[http] ; " X200 "\nlisten=:1\n", ""},
	{"[nats]\nurl = tls://u:p@h.example:1 , nats://[::1]:65535/,nats://tok@h\n", ""},
	{"[streams]\n[streams]\nmax_age=1\nmax_age=2\n", ""},
	{"[profile x]\nuser_agent = X/ y\nmax_age = 0\nclose_after_update = TRUE\n", ""},
	{"[profile flutter]\nmax_age = 1 min\n", ""},

	{"listen = :1\n", "main.conf:1: listen: stands before any section; allowed: after a "
			  "[SECTION]\n"},
	{"[htp]\nlisten = :1\nrubbish\n",
		"main.conf:1: htp: unknown section; " SECTIONS "main.conf:3: " NOT_UNDERSTOOD},
	{"[]\n", "main.conf:1: : unknown section; " SECTIONS},
	{"[nats://u:hidden@h]\n", "main.conf:1: unknown section; " SECTIONS},
	{"[profile]\n", "main.conf:1: profile: unknown section; " SECTIONS},
	{"[profile a b]\n", "main.conf:1: profile a b: unknown section; " SECTIONS},
	{"[http\nlisten = :1\n", "main.conf:1: a section without its ']'; allowed: [SECTION]\n"},
	{"[http] listen = bad\n",
		"main.conf:1: text after the ']' of a section; allowed: [SECTION]\n"},
	{"[" X50 "]\n",
		"main.conf:1: the name of the section is too long; allowed: 49 characters\n"},
	{"[bus]\ntyp = nats\n", "main.conf:2: bus.typ: unknown key; allowed: type\n"},
	{"[bus]\n" X50 " = 1\n", "main.conf:2: the key is too long; allowed: 49 characters\n"},
	{"[http]\ntoken hidden\n= x\nhid den = x\nlisten\n",
		"main.conf:2: " NOT_UNDERSTOOD "main.conf:3: " NOT_UNDERSTOOD
		"main.conf:4: " NOT_UNDERSTOOD "main.conf:5: " NOT_UNDERSTOOD},
	{"[nats]\nurl = nats://h\n  , nats://u:hidden@h\n", "main.conf:3: " NOT_UNDERSTOOD},
	{"[nats]\nurl = " X200 "\nurl = nats://h\n[http]\n\nlisten = bad\n",
		"main.conf:2: nats.url: " LONG_LIST_LINE
		"main.conf:6: http.listen: \"bad\" (address 1)" LISTEN},
	{"\001", CONTROL},
	{"# a\rb\n", CONTROL},

	{"[http]\nlisten = :1,bad\n", "main.conf:2: http.listen: \":1,bad\" (address 2)" LISTEN},
	{"[http]\nlisten =\n", "main.conf:2: http.listen: \"\" (address 1)" LISTEN},
	{"[http]\nlisten = u:hidden@h,bad\n",
		"main.conf:2: http.listen: the value (address 2)" LISTEN},
	{"[http]\ntoken = hid den\n",
		"main.conf:2: http.token: the value is not a usable token; allowed: printable "
		"ASCII without spaces, at most 1024 characters\n"},
	{"[streams]\nmax_age = 8 d\nmax_age = x\nmax_age =\nmax_age = -1\n",
		"main.conf:2: streams.max_age: \"8 d\" is out of range" AGES
		"main.conf:3: streams.max_age: \"x\" is not a duration" AGES
		"main.conf:4: streams.max_age: \"\" is not a duration" AGES
		"main.conf:5: streams.max_age: \"-1\" is not a duration" AGES},
	{"[streams]\nmax_age = 1.2345\n",
		"main.conf:2: streams.max_age: \"1.2345\" is not a whole number of milliseconds" AGES},
	{"[streams]\nshards = 257\nshards = 1.5\nshards = 0x1\n",
		"main.conf:2: streams.shards: \"257\" is out of range; allowed: 0 to 256 threads\n"
		"main.conf:3: streams.shards: \"1.5\" is not a whole number; allowed: 0 to 256 "
		"threads\n"
		"main.conf:4: streams.shards: \"0x1\" is not a whole number; allowed: 0 to 256 "
		"threads\n"},
	{"[http]\nmax_header_size = 1\nmax_header_size = 16 KB\n",
		"main.conf:2: http.max_header_size: \"1\" is out of range; allowed: 1024 to 65536 "
		"bytes (K or M may follow the number)\n"
		"main.conf:3: http.max_header_size: \"16 KB\" is not a size; allowed: 1024 to 65536 "
		"bytes (K or M may follow the number)\n"},
	{"[bus]\ntype = NATS\n", "main.conf:2: bus.type: \"NATS\" is not one of the words; "
				 "allowed: nats, local\n"},
	{"[service]\nstate_dir = var\n",
		"main.conf:2: service.state_dir: \"var\" is not an absolute path; allowed: a path "
		"that begins with /\n"},
	{"[streams]\nretry_min = 6 s\n",
		"main.conf:2: streams.retry_min: 6000 ms is more than streams.retry_max; allowed: "
		"5000 ms or less\n"},
	{"[streams]\nretry_min = 2 s\nretry_max = 1 s\n",
		"main.conf:3: streams.retry_max: 1000 ms is less than streams.retry_min; allowed: "
		"2000 ms or more\n"},

	{"[nats]\nurl = http://h\n", URL_AT(1)},
	{"[nats]\nurl =\n", URL_AT(1)},
	{"[nats]\nurl = nats://h,\n", URL_AT(2)},
	{"[nats]\nurl = nats://\n", URL_AT(1)},
	{"[nats]\nurl = nats://u:hidden@\n", URL_AT(1)},
	{"[nats]\nurl = nats://@h\n", URL_AT(1)},
	{"[nats]\nurl = nats://h,nats://h:0\n", URL_AT(2)},
	{"[nats]\nurl = nats://h:65536\n", URL_AT(1)},
	{"[nats]\nurl = nats://h:\n", URL_AT(1)},
	{"[nats]\nurl = nats://u:hidden@h:x\n", URL_AT(1)},
	{"[nats]\nurl = nats://u:hid,den@h\n", URL_AT(1)},
	{"[nats]\nurl = nats://[::g]\n", URL_AT(1)},
	{"[nats]\nurl = nats://[::1\n", URL_AT(1)},
	{"[nats]\nurl = nats://h/hidden\n", URL_AT(1)},
	{"[nats]\nurl = nats://u:hid den@h\n", URL_AT(1)},
	{"[nats]\nurl nats://u:hidden@h\n", "main.conf:2: " NOT_UNDERSTOOD},

	{"\n[profile x]\nmax_age = 1\n",
		RUN_AT("x") "not set, and neither is accept; one is required in a new profile; allowed: what the User-Agent "
			    "of its clients begins with\n"},
	{"[profile x]\nuser_agent =\n",
		RUN_AT("x") "\"\" fits every client; allowed: one character or more\n"
			    "main.conf:1: profile x.user_agent: not set, and neither is accept; one "
			    "is required in a new profile; allowed: what the User-Agent of its clients begins with\n"},
	{"[profile x]\naccept = x/y , z\n", ""},
	{"[profile x]\naccept = application/json , text/event-stream\n",
		"main.conf:2: profile x.accept: the same as of profile flutter; allowed: one profile "
		"for each\n"},
	{"[streams]\nkeepalive = 59.9\n", ""},
	{"[profile x]\nuser_agent = Dart/\n",
		RUN_AT("x") "the same as of profile flutter; allowed: one profile for each\n"},
	{"[profile a]\nuser_agent = Dart/\n",
		RUN_AT("a") "the same as of profile flutter; allowed: one profile for each\n"},
	{"[profile ruby]\nmax_ages = 1\n",
		"main.conf:2: profile ruby.max_ages: unknown key; allowed: user_agent, accept, max_age, "
		"close_after_update\n"},
	{"[profile ruby]\nclose_after_update = 2\n",
		"main.conf:2: profile ruby.close_after_update: \"2\" is neither yes nor no; " FLAG_HELP},
	{"[profile ruby]\nuser_agent=;x\n",
		RUN_AT("ruby") "\";x\" has a control character, or a ';' after a space; allowed: text "
			       "without them\n"},
};

/* Durations as streams.max_age, in seconds: milliseconds, or -1. */
static const struct {
	const char *text;
	int64_t ms;
} durations[] = {
	{"0", 0},
	{"1", 1000},
	{"015", 15000},
	{"1ms", 1},
	{"1 ms", 1},
	{"2s", 2000},
	{"1.5", 1500},
	{"1.500", 1500},
	{"0.001", 1},
	{"0.0010000000000000000", 1},
	{"1.5 min", 90000},
	{"1h", 3600000},
	{"7d", 604800000},
	{"604800", 604800000},
	{"0.0009765625 d", 84375},
	{"  9  ", 9000},
	{"604800.001", -1},
	{"7.1d", -1},
	{"1.5ms", -1},
	{"0.0001", -1},
	{"0.00000000001 d", -1},
	{"+1", -1},
	{"-1", -1},
	{".5", -1},
	{"1.", -1},
	{"1e3", -1},
	{"1,5", -1},
	{"1 S", -1},
	{"1 m", -1},
	{"1 s s", -1},
	{"s", -1},
	{"1 sec", -1},
	{"0x10", -1},
	{"1 2", -1},
	{"99999999999999999999", -1},
	{"9223372036854775807 d", -1},
	{"106751991168d", -1},
	{"18446744073709551617", -1},
};

/* The token file's bytes; the token, or NULL and what is said. */
static const struct {
	const char *bytes, *token, *complaint;
} token_files[] = {
	{"abc", "abc", ""},
	{"abc\n", "abc", ""},
	{"abc\r\n", "abc", ""},
	{"", NULL, " is empty; write the token into it\n"},
	{"\n", NULL, " is empty; write the token into it\n"},
	{"hid\n\n", NULL, NULL},
	{"hid\nden\n", NULL, NULL},
	{"hid den", NULL, NULL},
	{"hid\303\244", NULL, NULL},
};
