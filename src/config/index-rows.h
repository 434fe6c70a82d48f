/* SPDX-License-Identifier: BSD-3-Clause */
/* Included before a table of settings (*.def), in an enum: makes each row the constant
 * INDEX(section, key), its index in the table.  No #pragma once: each table needs it. */
#define SETTING_TEXT(section, key, ...)        INDEX(section, key),
#define SETTING_PREFIX(section, key, ...)      INDEX(section, key),
#define SETTING_PATH(section, key, ...)        INDEX(section, key),
#define SETTING_LISTEN(section, key, ...)      INDEX(section, key),
#define SETTING_SECRET(section, key, ...)      INDEX(section, key),
#define SETTING_URLS(section, key, ...)        INDEX(section, key),
#define SETTING_NUMBER(section, key, ...)      INDEX(section, key),
#define SETTING_SIZE(section, key, ...)        INDEX(section, key),
#define SETTING_DURATION(section, key, ...)    INDEX(section, key),
#define SETTING_DURATION_AS(section, key, ...) INDEX(section, key),
#define SETTING_CHOICE(section, key, ...)      INDEX(section, key),
#define SETTING_BOOLEAN(section, key, ...)     INDEX(section, key),
