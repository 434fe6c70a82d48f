/* SPDX-License-Identifier: BSD-3-Clause */
/* A mailbox: how threads talk.  Any thread posts; one thread, its owner, takes.
 * Mail is delivered in the order in which it was posted. */
#pragma once

#include <pthread.h>
#include <sys/queue.h>

#include "base/cleanup.h"

/* Embedded as a member in whatever is posted; container_of() leads back. */
struct mail {
	STAILQ_ENTRY(mail) link;
};

STAILQ_HEAD(mail_list, mail);

struct mailbox {
	pthread_mutex_t lock;
	struct mail_list list; /* guarded by lock */
	int fd;                /* eventfd: readable while there is mail */
};

/* Makes an empty mailbox.  0, or -errno. */
int mailbox_init(struct mailbox *mailbox);

/* The mailbox has to be empty, and no thread may post any more. */
void mailbox_deinit(struct mailbox *mailbox);

/* Any thread.  Hands `mail` over to the owner.  Cannot fail, never waits for the owner. */
void mailbox_post(struct mailbox *mailbox, struct mail *mail);

/* Owner only.  Initialises *ret and moves all mail there, in order; there may be none. */
void mailbox_take(struct mailbox *mailbox, struct mail_list *ret);

/* Owner only.  The descriptor to wait on for reading; reset by mailbox_take(). */
int mailbox_fd(const struct mailbox *mailbox);
