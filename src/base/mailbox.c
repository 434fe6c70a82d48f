/* SPDX-License-Identifier: BSD-3-Clause */
/* A list under a lock, and an eventfd that is readable exactly while the list has something. */
#include <errno.h>
#include <stdbool.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/mailbox.h"

int mailbox_init(struct mailbox *mailbox)
{
	int fd, r;

	fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0)
		return -errno;

	r = pthread_mutex_init(&mailbox->lock, NULL);
	if (r != 0) {
		close(fd);
		return -r;
	}

	STAILQ_INIT(&mailbox->list);
	mailbox->fd = fd;
	return 0;
}

void mailbox_deinit(struct mailbox *mailbox)
{
	pthread_mutex_destroy(&mailbox->lock);
	close(mailbox->fd);
	mailbox->fd = -1;
}

/* The eventfd is written and read under the lock, so that it always agrees with the list.  Neither
 * call can fail or wait: the counter is 0 before the write, and 1 before the read. */

void mailbox_post(struct mailbox *mailbox, struct mail *mail)
{
	bool was_empty;

	pthread_mutex_lock(&mailbox->lock);
	was_empty = STAILQ_EMPTY(&mailbox->list);
	STAILQ_INSERT_TAIL(&mailbox->list, mail, link);
	if (was_empty)
		eventfd_write(mailbox->fd, 1);
	pthread_mutex_unlock(&mailbox->lock);
}

void mailbox_take(struct mailbox *mailbox, struct mail_list *ret)
{
	eventfd_t count;

	STAILQ_INIT(ret);

	pthread_mutex_lock(&mailbox->lock);
	if (!STAILQ_EMPTY(&mailbox->list)) {
		STAILQ_CONCAT(ret, &mailbox->list);
		eventfd_read(mailbox->fd, &count);
	}
	pthread_mutex_unlock(&mailbox->lock);
}

int mailbox_fd(const struct mailbox *mailbox)
{
	return mailbox->fd;
}
