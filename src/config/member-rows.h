/* SPDX-License-Identifier: BSD-3-Clause */
/* Included before a table of settings (*.def): makes each row a member of the struct around it,
 * MEMBER(section, key), or MEMBER_MS(section, key) for a duration.  No #pragma once: each table
 * needs it. */
#define SETTING_TEXT(section, key, ...)        char *MEMBER(section, key);
#define SETTING_PREFIX(section, key, ...)      char *MEMBER(section, key);
#define SETTING_PATH(section, key, ...)        char *MEMBER(section, key);
#define SETTING_LISTEN(section, key, ...)      char *MEMBER(section, key);
#define SETTING_SECRET(section, key, ...)      char *MEMBER(section, key);
#define SETTING_URLS(section, key, ...)        char *MEMBER(section, key);
#define SETTING_NUMBER(section, key, ...)      int64_t MEMBER(section, key);
#define SETTING_SIZE(section, key, ...)        int64_t MEMBER(section, key);
#define SETTING_DURATION(section, key, ...)    int64_t MEMBER_MS(section, key);
#define SETTING_DURATION_AS(section, key, ...) int64_t MEMBER_MS(section, key);
#define SETTING_CHOICE(section, key, ...)      int MEMBER(section, key);
#define SETTING_BOOLEAN(section, key, ...)     bool MEMBER(section, key);
