/* SPDX-License-Identifier: BSD-3-Clause */
/* An inbox for the events of the local bus or the outbox, and directories for their files. */
#include "store-fixture.h"

#include <check.h>
#include <dirent.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

struct mailbox inbox;
static struct mail_list arrived; /* taken from the inbox, and not looked at yet */

void inbox_set_up(void)
{
	ck_assert_int_eq(mailbox_init(&inbox), 0);
	STAILQ_INIT(&arrived);
}

void inbox_tear_down(void)
{
	struct bus_event *event;

	while ((event = try_next(0)))
		free(event);
	mailbox_deinit(&inbox);
}

struct bus_event *try_next(int timeout_ms)
{
	struct pollfd pollfd = {.fd = mailbox_fd(&inbox), .events = POLLIN};
	struct mail *mail;

	if (STAILQ_EMPTY(&arrived)) {
		poll(&pollfd, 1, timeout_ms);
		mailbox_take(&inbox, &arrived);
	}
	if (STAILQ_EMPTY(&arrived))
		return NULL;
	mail = STAILQ_FIRST(&arrived);
	STAILQ_REMOVE_HEAD(&arrived, link);
	return container_of(mail, struct bus_event, mail);
}

struct bus_event next(enum bus_event_type type)
{
	struct bus_event *event = try_next(TIMEOUT_MS);
	struct bus_event copy;

	ck_assert_ptr_nonnull(event);
	copy = *event;
	free(event);
	ck_assert_msg(copy.type == type, "event %d, not %d: %s", copy.type, type, copy.text);
	return copy;
}

void remove_directory(const char *path)
{
	DIR *stream = opendir(path);
	struct dirent *entry;

	while (stream && (entry = readdir(stream)))
		unlinkat(dirfd(stream), entry->d_name, 0);
	if (stream)
		closedir(stream);
	rmdir(path);
}
