/* SPDX-License-Identifier: BSD-3-Clause */
/* From the text of a setting to its value: the forms and ranges of each type. */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <strings.h>

#include "config/config-internal.h"

/* A day has 2^10 * 5^5 * 27 ms, so no fraction of more digits comes out at whole milliseconds. */
#define FRACTION_DIGITS_MAX 10

#define BLANKS " \t"

void free_secret(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
}

/* The value in a message, unless it may hold a secret: a URL may have come to any setting. */
static void print_quoted(FILE *file, const struct setting *setting, const char *value)
{
	if (setting->type == TYPE_SECRET || setting->type == TYPE_URLS || strchr(value, '@'))
		fputs("the value", file);
	else
		fprintf(file, "\"%.60s%s\"", value, strlen(value) > 60 ? "..." : "");
}

static void print_allowed(FILE *file, const struct setting *setting)
{
	fputs("; allowed: ", file);
	setting_print_allowed(file, setting);
	if (setting->type == TYPE_DURATION)
		fputs(" (units: ms, s, min, h, d)", file);
	else if (setting->type == TYPE_SIZE)
		fputs(" (K or M may follow the number)", file);
	else if (setting->type == TYPE_BOOLEAN)
		fputs(" (or true, false, on, off, 1, 0)", file);
}

/* Writes `"VALUE" WHAT; allowed: ALLOWED`; without `allowed`, the row's own range.  Returns -EINVAL
 * for its caller to return, or -ENOMEM. */
static int refuse(const struct setting *setting, const char *value, const char *what,
	const char *allowed, char **ret_problem)
{
	char *text = NULL;
	size_t size;
	FILE *file = open_memstream(&text, &size);

	if (!file)
		return -ENOMEM;
	print_quoted(file, setting, value);
	fprintf(file, " %s", what);
	if (allowed)
		fprintf(file, "; allowed: %s", allowed);
	else
		print_allowed(file, setting);
	if (fclose(file) != 0) {
		free(text);
		return -ENOMEM;
	}
	*ret_problem = text;
	return -EINVAL;
}

/* Reads digits from *text on, up to the first other character.  0, -EINVAL: none, -ERANGE. */
static int parse_digits(const char **text, int64_t *ret)
{
	int64_t number = 0;
	bool overflow = false;

	if (!isdigit((unsigned char)**text))
		return -EINVAL;
	for (; isdigit((unsigned char)**text); (*text)++)
		if (__builtin_mul_overflow(number, 10, &number) ||
			__builtin_add_overflow(number, **text - '0', &number))
			overflow = true;
	*ret = number;
	return overflow ? -ERANGE : 0;
}

/* Reads ".25" from *text on as 25 of 100.  0; -EINVAL: no digit; -EDOM: too fine. */
static int parse_fraction(const char **text, int64_t *ret, int64_t *ret_of)
{
	const char *digits = *text + 1;
	size_t n = strspn(digits, "0123456789");

	if (n == 0)
		return -EINVAL;
	*text = digits + n;
	while (n > 0 && digits[n - 1] == '0')
		n--;
	if (n > FRACTION_DIGITS_MAX)
		return -EDOM;

	*ret = 0;
	*ret_of = 1;
	for (size_t i = 0; i < n; i++) {
		*ret = *ret * 10 + (digits[i] - '0');
		*ret_of *= 10;
	}
	return 0;
}

/* "90", "1.5 min" in milliseconds.  0; -EINVAL: no duration; -ERANGE: too large for any; -EDOM: no
 * whole number of milliseconds. */
static int parse_duration(const char *text, const char *default_unit, int64_t *ret)
{
	int64_t whole, factor, fraction = 0, of = 1;
	int r, fraction_r = 0;

	r = parse_digits(&text, &whole);
	if (r == -EINVAL)
		return r;
	if (*text == '.')
		fraction_r = parse_fraction(&text, &fraction, &of);
	if (fraction_r == -EINVAL)
		return -EINVAL;

	text += strspn(text, BLANKS);
	factor = unit_factor(*text ? text : default_unit);
	if (factor == 0)
		return -EINVAL;
	if (r < 0)
		return r;
	if (fraction_r < 0 || fraction * factor % of != 0)
		return -EDOM;
	if (__builtin_mul_overflow(whole, factor, &whole) ||
		__builtin_add_overflow(whole, fraction * factor / of, &whole))
		return -ERANGE;
	*ret = whole;
	return 0;
}

/* "16384", "16K".  0, -EINVAL, -ERANGE. */
static int parse_size(const char *text, int64_t *ret)
{
	int64_t number, factor = 1;
	int r;

	r = parse_digits(&text, &number);
	if (r == -EINVAL)
		return r;
	text += strspn(text, BLANKS);
	if (*text) {
		if (strcasecmp(text, "K") == 0)
			factor = 1024;
		else if (strcasecmp(text, "M") == 0)
			factor = 1024 * 1024;
		else
			return -EINVAL;
	}
	if (r < 0 || __builtin_mul_overflow(number, factor, ret))
		return -ERANGE;
	return 0;
}

/* 0, -EINVAL, -ERANGE. */
static int parse_number(const char *text, int64_t *ret)
{
	int r = parse_digits(&text, ret);

	return *text ? -EINVAL : r;
}

static int parse_choice(const char *text, const char *words, int64_t *ret)
{
	size_t length = strlen(text);

	for (int64_t index = 0;; index++) {
		size_t word = strcspn(words, " ");

		if (word == length && memcmp(words, text, length) == 0) {
			*ret = index;
			return 0;
		}
		if (!words[word])
			return -EINVAL;
		words += word + 1;
	}
}

static int parse_boolean(const char *text, int64_t *ret)
{
	/* in turn: no, yes */
	static const char *const words[] = {"no", "yes", "false", "true", "off", "on", "0", "1"};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcasecmp(text, words[i]) == 0) {
			*ret = i % 2;
			return 0;
		}
	return -EINVAL;
}

/* 0, -EINVAL, -ERANGE, -EDOM as the types' own parsers. */
static int parse_by_type(const struct setting *setting, const char *text, int64_t *ret)
{
	switch (setting->type) {
	case TYPE_DURATION:
		return parse_duration(text, setting->unit, ret);
	case TYPE_SIZE:
		return parse_size(text, ret);
	case TYPE_CHOICE:
		return parse_choice(text, setting->words, ret);
	case TYPE_BOOLEAN:
		return parse_boolean(text, ret);
	default:
		return parse_number(text, ret);
	}
}

static bool in_range(const struct setting *setting, int64_t number)
{
	int64_t factor = setting->type == TYPE_DURATION ? unit_factor(setting->unit) : 1;

	if (setting->type == TYPE_CHOICE || setting->type == TYPE_BOOLEAN)
		return true;
	return number >= setting->min * factor && number <= setting->max * factor;
}

static int parse_scalar(
	const struct setting *setting, const char *text, int64_t *ret, char **ret_problem)
{
	static const char *const kinds[] = {
		[TYPE_NUMBER] = "is not a whole number",
		[TYPE_SIZE] = "is not a size",
		[TYPE_DURATION] = "is not a duration",
		[TYPE_CHOICE] = "is not one of the words",
		[TYPE_BOOLEAN] = "is neither yes nor no",
	};
	int64_t number;
	int r = parse_by_type(setting, text, &number);

	if (r == 0 && !in_range(setting, number))
		r = -ERANGE;
	if (r == -ERANGE)
		return refuse(setting, text, "is out of range", NULL, ret_problem);
	if (r == -EDOM)
		return refuse(
			setting, text, "is not a whole number of milliseconds", NULL, ret_problem);
	if (r < 0)
		return refuse(setting, text, kinds[setting->type], NULL, ret_problem);
	*ret = number;
	return 0;
}

bool token_is_valid(const char *token)
{
	size_t length = strlen(token);

	for (size_t i = 0; i < length; i++)
		if (token[i] <= ' ' || token[i] > '~')
			return false;
	return length >= 1 && length <= TOKEN_MAX;
}

bool value_is_secret(const struct setting *setting, const char *value)
{
	return (setting->type == TYPE_SECRET && *value) ||
	       (setting->type == TYPE_URLS && strchr(value, '@'));
}

/* False: the text, written into a file, would be read back differently. */
static bool fits_into_file(const char *text)
{
	char former = ' ';

	for (; *text; former = *text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f || (*text == ';' && former == ' '))
			return false;
	return true;
}

/* A copy without the blanks around the commas, as those who use the list do not expect any, and
 * without the characters of `tail` at the end of an item. */
static char *tidy_list(const char *text, const char *tail)
{
	char *copy = malloc(strlen(text) + 1);
	size_t length = 0;

	if (!copy)
		return NULL;
	for (;;) {
		size_t item, next;

		text += strspn(text, BLANKS);
		next = item = strcspn(text, ",");
		while (item > 0 && strchr(tail, text[item - 1]))
			item--;
		memcpy(copy + length, text, item);
		length += item;
		text += next;
		if (!*text)
			break;
		copy[length++] = *text++;
	}
	copy[length] = '\0';
	return copy;
}

/* Calls `check` for each of a list.  0; or the number of the first that it refuses, counted from 1;
 * -ENOMEM. */
static int check_each(const char *list, int (*check)(const char *))
{
	_cleanup_(free_secretp) char *copy = strdup(list);
	char *next = copy, *item;
	size_t length = strlen(list);
	int n = 0, r = 0;

	if (!copy)
		return -ENOMEM;
	while (r == 0 && (item = strsep(&next, ","))) {
		n++;
		if (!*item || check(item) < 0)
			r = n;
	}
	/* strsep() has put an end after each item: all must be wiped, not just the first. */
	explicit_bzero(copy, length);
	return r;
}

static int any_address(const char *address)
{
	(void)address;
	return 0;
}

static int check_listen_list(const struct setting *setting, const char *list,
	int (*check_listen)(const char *), char **ret_problem)
{
	char what[64];
	int r = check_each(list, check_listen ? check_listen : any_address);

	if (r <= 0)
		return r;
	snprintf(what, sizeof(what), "(address %d) is not an address to listen on", r);
	return refuse(setting, list, what,
		"HOST:PORT, [IPv6]:PORT, :PORT or unix:/PATH, with commas between", ret_problem);
}

/* "host", "1.2.3.4", "[::1]"; *end is set behind it. */
static int check_host(const char *host, const char **end)
{
	static const char name[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	char address[INET6_ADDRSTRLEN];
	struct in6_addr binary;
	size_t length;

	if (*host != '[') {
		length = strspn(host, name);
		*end = host + length;
		return length > 0 ? 0 : -EINVAL;
	}
	length = strcspn(host + 1, "]");
	if (host[1 + length] != ']' || length >= sizeof(address))
		return -EINVAL;
	memcpy(address, host + 1, length);
	address[length] = '\0';
	*end = host + length + 2;
	return inet_pton(AF_INET6, address, &binary) == 1 ? 0 : -EINVAL;
}

static bool port_is_valid(const char *port)
{
	int64_t number;

	return strlen(port) <= 5 && parse_number(port, &number) == 0 && number >= 1 &&
	       number <= 65535;
}

static int check_url(const char *url)
{
	const char *host, *at, *end;

	if (strncmp(url, "nats://", 7) == 0)
		host = url + 7;
	else if (strncmp(url, "tls://", 6) == 0)
		host = url + 6;
	else
		return -EINVAL;
	for (end = url; *end; end++)
		if (*end <= ' ' || *end > '~')
			return -EINVAL;

	at = strrchr(host, '@');
	if (at == host)
		return -EINVAL;
	if (at)
		host = at + 1;
	if (check_host(host, &end) < 0)
		return -EINVAL;
	if (*end == ':')
		return port_is_valid(end + 1) ? 0 : -EINVAL;
	return *end ? -EINVAL : 0;
}

/* Says the number of the URL, never the URL: even one that is not understood may hold a password.
 */
static int check_urls(const struct setting *setting, const char *list, char **ret_problem)
{
	char what[64];
	int r = check_each(list, check_url);

	if (r <= 0)
		return r;
	snprintf(what, sizeof(what), "(URL %d) is not a URL of a NATS server", r);
	return refuse(setting, list, what,
		"nats://HOST:PORT or tls://HOST:PORT, user:password@ or token@ before the host, "
		"port 1 to 65535, commas between",
		ret_problem);
}

static int check_text(const struct setting *setting, const char *text,
	int (*check_listen)(const char *), char **ret_problem)
{
	if (setting->type == TYPE_SECRET) {
		char what[64];

		if (!*text || token_is_valid(text))
			return 0;
		snprintf(what, sizeof(what), "is not a usable %s", setting->key);
		return refuse(setting, text, what,
			"printable ASCII without spaces, at most 1024 characters", ret_problem);
	}
	if (setting->type == TYPE_URLS)
		return check_urls(setting, text, ret_problem);
	if (!fits_into_file(text))
		return refuse(setting, text, "has a control character, or a ';' after a space",
			"text without them", ret_problem);
	if (setting->type == TYPE_PREFIX && !*text)
		return refuse(
			setting, text, "fits every client", "one character or more", ret_problem);
	if (setting->type == TYPE_LISTEN)
		return check_listen_list(setting, text, check_listen, ret_problem);
	if (setting->type == TYPE_PATH && *text != '/')
		return refuse(setting, text, "is not an absolute path", "a path that begins with /",
			ret_problem);
	return 0;
}

int value_parse(const struct setting *setting, const char *text,
	int (*check_listen)(const char *address), struct value *ret, char **ret_problem)
{
	_cleanup_(free_secretp) char *copy = NULL;
	int r;

	*ret = (struct value){};
	if (!setting_is_text(setting))
		return parse_scalar(setting, text, &ret->number, ret_problem);

	if (setting->type == TYPE_URLS)
		copy = tidy_list(text, BLANKS "/");
	else if (setting->type == TYPE_LISTEN)
		copy = tidy_list(text, BLANKS);
	else
		copy = strdup(text);
	if (!copy)
		return -ENOMEM;
	r = check_text(setting, copy, check_listen, ret_problem);
	if (r < 0)
		return r;
	ret->text = TAKE_PTR(copy);
	return 0;
}
