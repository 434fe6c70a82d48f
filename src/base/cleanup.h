/* SPDX-License-Identifier: BSD-3-Clause */
/* Scope-bound clean-up: _cleanup_(fn) calls fn(&variable) when the variable goes out of scope;
 * TAKE_PTR() and TAKE_FD() hand the value on and disarm it. */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(function)   __attribute__((cleanup(function)))
#define _printf_(text, first) __attribute__((format(printf, text, first)))

#define TAKE_PTR(pointer)                                                                          \
	({                                                                                         \
		__typeof__(pointer) *_slot = &(pointer);                                           \
		__typeof__(pointer) _taken = *_slot;                                               \
		*_slot = NULL;                                                                     \
		_taken;                                                                            \
	})

#define TAKE_FD(fd)                                                                                \
	({                                                                                         \
		int *_slot = &(fd);                                                                \
		int _taken = *_slot;                                                               \
		*_slot = -1;                                                                       \
		_taken;                                                                            \
	})

/* Defines the function that _cleanup_() needs for a type whose `free_function` takes NULL. */
#define DEFINE_CLEANUP(type, free_function)                                                        \
	static inline void free_function##p(type *slot)                                            \
	{                                                                                          \
		if (*slot)                                                                         \
			free_function(*slot);                                                      \
	}

/* The structure whose `member` is what `pointer` points to. */
#define container_of(pointer, type, member)                                                        \
	((type *)(void *)((char *)(pointer) - __builtin_offsetof(type, member)))

static inline void freep(void *slot)
{
	free(*(void **)slot);
}

static inline void closep(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void fclosep(FILE **file)
{
	if (*file)
		fclose(*file);
}
