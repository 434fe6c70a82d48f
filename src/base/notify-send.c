/* SPDX-License-Identifier: BSD-3-Clause */
/* One datagram to the service manager. */
#include "base/notify-send.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>

#define TEXT_SIZE 1024

/* A path, or with '@' before it a name in the abstract namespace. */
static int make_address(const char *name, struct sockaddr_un *ret, socklen_t *ret_size)
{
	size_t length = strlen(name);

	if (length < 2 || length >= sizeof(ret->sun_path))
		return -EINVAL;
	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(ret->sun_path, name, length);
	if (name[0] == '@')
		ret->sun_path[0] = '\0';
	*ret_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
	return 0;
}

static int send_datagram(const char *name, const char *text)
{
	_cleanup_(closep) int fd = -1;
	struct sockaddr_un address;
	socklen_t size;
	ssize_t sent;
	int r;

	r = make_address(name, &address, &size);
	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	do
		sent = sendto(fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL,
			(struct sockaddr *)&address, size);
	while (sent < 0 && errno == EINTR);
	return sent < 0 ? -errno : 0;
}

int notify_send(const char *format, ...)
{
	const char *name = getenv("NOTIFY_SOCKET");
	char text[TEXT_SIZE];
	va_list arguments;
	int length, r;

	if (!name)
		return 0;
	va_start(arguments, format);
	length = vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	if (length < 0 || (size_t)length >= sizeof(text))
		return -EMSGSIZE;
	if (name[0] == '/' || name[0] == '@')
		return send_datagram(name, text);
	r = sd_notify(0, text); /* of a virtual machine: vsock */
	return r < 0 ? r : 0;
}
