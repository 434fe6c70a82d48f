/* SPDX-License-Identifier: BSD-3-Clause */
/* nats.c's errors: why no connection to NATS could be made, in words for the operator; and all
 * others as errno. */
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "bus/nats/library-internal.h"
#include "bus/nats/url.h"

#define DEFAULT_PORT "4222"

/* For one address to be tried once more: where it was refused, that comes at once. */
#define TRY_MS 300

/* By nats.c's status or, where that says too little, by what it says in words, its own and those of
 * OpenSSL and nats-server. */
static const struct failure {
	natsStatus status; /* NATS_OK: any */
	const char *said;  /* in its words; NULL: any */
	const char *words;
} failures[] = {
	{NATS_CONNECTION_AUTH_FAILED, NULL,
		"it refuses the user, the password or the token in nats.url (Authorization "
		"Violation)"},
	{NATS_OK, "maximum connections exceeded",
		"it takes no more connections (maximum connections exceeded); raise "
		"max_connections of nats-server"},
	{NATS_OK, "maximum account",
		"the account takes no more connections; raise its limit in nats-server"},
	{NATS_SECURE_CONNECTION_REQUIRED, NULL, "it wants TLS; write tls:// in nats.url"},
	{NATS_SECURE_CONNECTION_WANTED, NULL,
		"it does not offer TLS; write nats:// in nats.url, or set up tls in nats-server"},
	{NATS_OK, "certificate has expired", "its certificate has expired; renew it"},
	{NATS_OK, "not yet valid", "its certificate is not valid yet; are both clocks right?"},
	{NATS_OK, "mismatch",
		"its certificate is for another name; write one of its names in nats.url"},
	{NATS_OK, "local issuer",
		"this machine does not know the CA of its certificate; add the CA "
		"(update-ca-certificates)"},
	{NATS_OK, "self", /* "self-signed certificate", with and without the hyphen */
		"this machine does not know the CA of its certificate; add the CA "
		"(update-ca-certificates)"},
	{NATS_OK, "certificate required",
		"it wants a certificate of its clients, and flagsse has none; set verify to false "
		"in nats-server's tls"},
	/* It had said why, but what it says is lost where it does not read what we have sent. */
	{NATS_PROTOCOL_ERROR, "got ''",
		"it ended the connection before it said why; its log knows (maximum connections "
		"exceeded, perhaps)"},
};

/* "(conn.c:733): text" without its beginning. */
static const char *without_place(const char *said)
{
	const char *end = said[0] == '(' ? strstr(said, "): ") : NULL;

	return end ? end + strlen("): ") : said;
}

/* With TLS 1.3 the server refuses a client without a certificate only after the handshake: all that
 * comes is the end of the connection. */
static bool ended_after_handshake(const char *url, natsStatus status, const char *said)
{
	return strncmp(url, "tls://", 6) == 0 && status == NATS_PROTOCOL_ERROR &&
	       strstr(said, "got ''");
}

static const char *find_words(const char *url, natsStatus status, const char *said)
{
	if (ended_after_handshake(url, status, said))
		said = "certificate required";
	for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++)
		if ((failures[i].status == NATS_OK || failures[i].status == status) &&
			(!failures[i].said || strstr(said, failures[i].said)))
			return failures[i].words;
	return NULL;
}

/* 0, or the error that connect(2) has for this address. */
static int try_address(const struct addrinfo *item)
{
	_cleanup_(closep) int fd =
		socket(item->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct pollfd pollfd = {.fd = fd, .events = POLLOUT};
	socklen_t length = sizeof(int);
	int error = 0;

	if (fd < 0)
		return errno;
	if (connect(fd, item->ai_addr, item->ai_addrlen) == 0)
		return 0;
	if (errno != EINPROGRESS)
		return errno;
	if (poll(&pollfd, 1, TRY_MS) <= 0)
		return ETIMEDOUT;
	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0 ? errno : error;
}

/* nats.c has the same error for a name that nobody knows and a port where nobody listens: so it is
 * looked at once more.  NULL: all is well now. */
static const char *look(const char *host, const char *port)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
	int r = getaddrinfo(host, port, &hints, &list), error = 0;

	if (r != 0)
		return gai_strerror(r);
	for (const struct addrinfo *item = list; item; item = item->ai_next) {
		error = try_address(item);
		if (error == 0)
			break;
	}
	freeaddrinfo(list);
	return error != 0 ? strerrordesc_np(error) : NULL;
}

/* `address` is "HOST:PORT", "[IPv6]:PORT", or one of them without the port. */
static const char *look_at_server(const char *address)
{
	_cleanup_(freep) char *copy = strdup(address);
	char *host = copy, *end;

	if (!copy)
		return NULL;
	if (*host == '[') {
		end = strchr(++host, ']');
		if (!end)
			return NULL;
		*end++ = '\0';
	} else {
		end = host + strcspn(host, ":");
	}
	if (*end == ':')
		*end++ = '\0';
	return look(host, *end ? end : DEFAULT_PORT);
}

void nats_failure_describe(
	const char *url, natsStatus status, const char *said, struct nats_problem *ret)
{
	const char *name = natsStatus_GetText(status), *words;

	said = said ? without_place(said) : "";
	words = find_words(url, status, said);
	if (!words && status == NATS_NO_SERVER)
		words = look_at_server(nats_server_name(url));
	ret->open_text = words ? words : name;
	if (!words && *said && strcmp(said, name) != 0)
		snprintf(ret->text, sizeof(ret->text), "%s: %s", name, said);
	else
		snprintf(ret->text, sizeof(ret->text), "%s", ret->open_text);
}

/* By JetStream's code or, where it has none, by nats.c's status; see wire.h. */
static const struct meaning {
	jsErrCode code;    /* 0: any */
	natsStatus status; /* NATS_OK: any */
	int error;
} meanings[] = {
	{JSNotEnabledForAccountErr, NATS_OK, -EOPNOTSUPP},
	{JSNotEnabledErr, NATS_OK, -EHOSTUNREACH},
	{JSStreamNotFoundErr, NATS_OK, -ENOENT},
	{JSStreamNameExistErr, NATS_OK, -EEXIST},
	{0, NATS_NO_RESPONDERS, -EHOSTUNREACH},
	{0, NATS_TIMEOUT, -ETIMEDOUT},
	{0, NATS_NOT_FOUND, -ENOENT},
	{0, NATS_NO_MEMORY, -ENOMEM},
};

static int meaning_of(natsStatus status, jsErrCode code)
{
	for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++)
		if ((meanings[i].code == 0 || meanings[i].code == code) &&
			(meanings[i].status == NATS_OK || meanings[i].status == status))
			return meanings[i].error;
	return -EIO;
}

int nats_failure_read(natsStatus status, jsErrCode code, struct nats_error *ret)
{
	const char *said = nats_GetLastError(NULL);

	ret->error = meaning_of(status, code);
	ret->code = (int)code;
	ret->name = natsStatus_GetText(status);
	ret->text = said && *said ? said : ret->name;
	return ret->error;
}
