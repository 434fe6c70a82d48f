/* SPDX-License-Identifier: BSD-3-Clause */
/* Listening sockets. */
#include "net/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>

#include "base/cleanup.h"
#include "net/listen-internal.h"

/* As large as Linux lets it be by default (net.core.somaxconn): a storm of clients waits there. */
#define BACKLOG 4096

#define HOST_SIZE 256

/* An address, taken apart. */
struct address {
	const char *path;     /* of a unix socket; NULL: TCP */
	char host[HOST_SIZE]; /* "": all of IPv4 and IPv6 */
	char port[6];
};

/* What has been opened so far. */
struct opened {
	int *fds;
	size_t n;
	const char *own; /* only to be tried, and these are free; NULL: to be opened */
};

/* ---- Reading an address ---- */

static int parse_port(const char *text, char ret_port[static 6])
{
	size_t length = strlen(text);
	long port;

	if (length == 0 || length > 5 || text[strspn(text, "0123456789")] != '\0')
		return -EINVAL;
	port = strtol(text, NULL, 10);
	if (port < 1 || port > UINT16_MAX)
		return -EINVAL;
	memcpy(ret_port, text, length + 1);
	return 0;
}

static int parse_unix(const char *path, struct address *ret)
{
	struct sockaddr_un address;

	if (path[0] != '/' || strlen(path) >= sizeof(address.sun_path))
		return -EINVAL;
	ret->path = path;
	return 0;
}

/* "[IPv6]" without its brackets, or a name or number of IPv4, which have no colon. */
static int parse_host(const char *host, size_t length, struct address *ret)
{
	struct in6_addr ipv6;
	bool bracketed = length >= 2 && host[0] == '[' && host[length - 1] == ']';

	if (bracketed) {
		host++;
		length -= 2;
	}
	if (length >= sizeof(ret->host))
		return -EINVAL;
	memcpy(ret->host, host, length);
	ret->host[length] = '\0';
	if (bracketed)
		return inet_pton(AF_INET6, ret->host, &ipv6) == 1 ? 0 : -EINVAL;
	return strpbrk(ret->host, ":[]/ \t") ? -EINVAL : 0;
}

static int parse(const char *text, struct address *ret)
{
	const char *colon;

	*ret = (struct address){0};
	if (strncmp(text, "unix:", 5) == 0)
		return parse_unix(text + 5, ret);
	colon = strrchr(text, ':');
	if (!colon || parse_port(colon + 1, ret->port) < 0)
		return -EINVAL;
	return parse_host(text, (size_t)(colon - text), ret);
}

int listen_check(const char *address)
{
	struct address parsed;

	return parse(address, &parsed);
}

/* ---- Opening ---- */

static int add(struct opened *opened, int fd)
{
	int *grown = reallocarray(opened->fds, opened->n + 1, sizeof(opened->fds[0]));

	if (!grown)
		return -ENOMEM;
	opened->fds = grown;
	opened->fds[opened->n++] = fd;
	return 0;
}

static void close_all(struct opened *opened)
{
	for (size_t i = 0; i < opened->n; i++)
		close(opened->fds[i]);
	free(opened->fds);
}

static int bind_and_listen(int fd, const struct sockaddr *address, socklen_t length)
{
	if (bind(fd, address, length) < 0 || listen(fd, BACKLOG) < 0)
		return -errno;
	return 0;
}

/* Adds the socket if all goes well. */
static int open_socket(struct opened *opened, const struct sockaddr *address, socklen_t length)
{
	_cleanup_(closep) int fd =
		socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	const struct sockaddr_in6 *ipv6 = (const void *)address;
	int one = 1, only, r;

	if (fd < 0)
		return -errno;
	if (address->sa_family != AF_UNIX &&
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0)
		return -errno;
	if (address->sa_family == AF_INET6) {
		only = !IN6_IS_ADDR_UNSPECIFIED(&ipv6->sin6_addr);
		if (setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only)) < 0)
			return -errno;
	}
	if (opened->own)
		return listen_try_bind(fd, address, length, opened->own);
	r = bind_and_listen(fd, address, length);
	if (r < 0)
		return r;
	r = add(opened, fd);
	if (r >= 0)
		TAKE_FD(fd);
	return r;
}

/* Removes a socket that nobody listens on any more: what a crash has left behind. */
static void remove_stale(const struct sockaddr_un *address)
{
	/* Not to wait where somebody listens and is busy: EAGAIN. */
	_cleanup_(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct stat status;

	if (fd < 0 || lstat(address->sun_path, &status) < 0 || !S_ISSOCK(status.st_mode))
		return;
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 &&
		errno == ECONNREFUSED)
		(void)unlink(address->sun_path);
}

static int open_unix(struct opened *opened, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int r;

	memcpy(address.sun_path, path, strlen(path) + 1);
	if (opened->own)
		return listen_try_unix(&address, opened->own);
	remove_stale(&address);
	r = open_socket(opened, (struct sockaddr *)&address, sizeof(address));
	/* As systemd's SocketMode= has it: the token is what guards publishing. */
	if (r >= 0 && chmod(path, 0666) < 0)
		return -errno;
	return r;
}

/* What this machine has not, as a name may stand for more: no IPv6, say.  An address that somebody
 * else listens on is there, and half of the clients would get to him. */
static bool is_absent(int error)
{
	return error == -EAFNOSUPPORT || error == -EADDRNOTAVAIL;
}

/* All of IPv4 and IPv6 by one socket; of IPv4 only where the machine has no other. */
static int open_everywhere(struct opened *opened, const char *port)
{
	in_port_t number = htons((uint16_t)strtol(port, NULL, 10));
	struct sockaddr_in6 ipv6 = {.sin6_family = AF_INET6, .sin6_port = number};
	struct sockaddr_in ipv4 = {.sin_family = AF_INET, .sin_port = number};
	int r;

	r = open_socket(opened, (struct sockaddr *)&ipv6, sizeof(ipv6));
	if (is_absent(r))
		r = open_socket(opened, (struct sockaddr *)&ipv4, sizeof(ipv4));
	return r;
}

/* This very address has been opened before: names are often in /etc/hosts twice. */
static bool is_open(const struct opened *opened, const struct sockaddr *address, socklen_t length)
{
	for (size_t i = 0; i < opened->n; i++) {
		struct sockaddr_storage other = {0};
		socklen_t size = sizeof(other);

		if (getsockname(opened->fds[i], (struct sockaddr *)&other, &size) == 0 &&
			size == length && memcmp(&other, address, length) == 0)
			return true;
	}
	return false;
}

/* Each address of the list that can be had; the first one's reason if none can. */
static int open_each(struct opened *opened, const struct addrinfo *list)
{
	bool any = false;
	int r, reason = 0;

	for (const struct addrinfo *item = list; item; item = item->ai_next) {
		r = is_open(opened, item->ai_addr, item->ai_addrlen)
			    ? 0
			    : open_socket(opened, item->ai_addr, item->ai_addrlen);
		if (r < 0 && !is_absent(r))
			return r;
		any |= r >= 0;
		if (r < 0 && reason == 0)
			reason = r;
	}
	return any ? 0 : reason;
}

/* All that the host's name stands for. */
static int open_host(struct opened *opened, const struct address *address, const char **ret_reason)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *list;
	int r = getaddrinfo(address->host, address->port, &hints, &list);

	if (r != 0) {
		*ret_reason = gai_strerror(r);
		return -EADDRNOTAVAIL;
	}
	r = open_each(opened, list);
	freeaddrinfo(list);
	return r;
}

static int open_one(struct opened *opened, const char *text, char **ret_problem)
{
	struct address address;
	const char *reason = NULL;
	int r;

	r = parse(text, &address);
	if (r < 0)
		reason = "not of the form HOST:PORT, [IPv6]:PORT, :PORT or unix:/PATH";
	else if (address.path)
		r = open_unix(opened, address.path);
	else if (address.host[0] == '\0')
		r = open_everywhere(opened, address.port);
	else
		r = open_host(opened, &address, &reason);
	if (r == -EADDRINUSE && listen_is_among(opened->fds, opened->n, text))
		reason = "http.listen has it, or all addresses of its port, twice";
	if (r < 0 && !reason)
		reason = listen_words(address.path, address.port, r);
	if (r < 0 && asprintf(ret_problem, "Cannot listen on %s: %s.", text, reason) < 0)
		*ret_problem = NULL;
	return r;
}

static int open_list(struct opened *opened, const char *addresses, char **ret_problem)
{
	_cleanup_(freep) char *list = strdup(addresses);
	char *rest = NULL;
	int r = 0;

	*ret_problem = NULL;
	if (!list)
		return -ENOMEM;
	for (char *text = strtok_r(list, ", \t", &rest); text && r >= 0;
		text = strtok_r(NULL, ", \t", &rest))
		r = open_one(opened, text, ret_problem);
	return r;
}

int listen_try(const char *addresses, const char *own, char **ret_problem)
{
	struct opened opened = {.own = own};

	return open_list(&opened, addresses, ret_problem);
}

int listen_open(const char *addresses, int **ret_fds, size_t *ret_n_fds, char **ret_problem)
{
	struct opened opened = {0};
	int r = open_list(&opened, addresses, ret_problem);

	if (r < 0) {
		close_all(&opened);
		return r;
	}
	*ret_fds = opened.fds;
	*ret_n_fds = opened.n;
	return 0;
}

/* ---- From systemd ---- */

static int check_from_systemd(int fd, char **ret_problem)
{
	int flags;

	if (sd_is_socket(fd, AF_UNSPEC, SOCK_STREAM, 1) <= 0) {
		if (asprintf(ret_problem,
			    "Descriptor %d from systemd is no listening stream socket. Use "
			    "ListenStream= in the socket unit.",
			    fd) < 0)
			*ret_problem = NULL;
		return -EINVAL;
	}
	/* accept4() must not wait where another process was faster. */
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	return 0;
}

int listen_check_all(const int fds[], size_t n_fds, char **ret_problem)
{
	int r = 0;

	*ret_problem = NULL;
	for (size_t i = 0; i < n_fds && r >= 0; i++)
		r = check_from_systemd(fds[i], ret_problem);
	return r;
}

/* ---- For people ---- */

/* A client of IPv4 that came by a socket of both kinds, under its own address. */
static const char *without_mapping(const char *host)
{
	static const char mapped[] = "::ffff:";

	if (strncmp(host, mapped, strlen(mapped)) == 0 && strchr(host, '.'))
		return host + strlen(mapped);
	return host;
}

void listen_format(const struct sockaddr_storage *address, socklen_t length,
	char ret_name[static LISTEN_NAME_SIZE])
{
	const struct sockaddr_un *local = (const void *)address;
	char host[NI_MAXHOST], port[NI_MAXSERV];

	if (address->ss_family == AF_UNIX)
		snprintf(ret_name, LISTEN_NAME_SIZE, "unix:%.*s", (int)sizeof(local->sun_path),
			local->sun_path);
	else if (getnameinfo((const struct sockaddr *)address, length, host, sizeof(host), port,
			 sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) == 0) {
		const char *name = without_mapping(host);

		snprintf(ret_name, LISTEN_NAME_SIZE, strchr(name, ':') ? "[%.90s]:%s" : "%.90s:%s",
			name, port);
	}
}

void listen_name(int fd, char ret_name[static LISTEN_NAME_SIZE])
{
	struct sockaddr_storage address = {0};
	socklen_t length = sizeof(address);

	snprintf(ret_name, LISTEN_NAME_SIZE, "an unknown address");
	if (getsockname(fd, (struct sockaddr *)&address, &length) == 0)
		listen_format(&address, length, ret_name);
}
