/* SPDX-License-Identifier: BSD-3-Clause */
/* MESSAGE_ID= of the events that an administrator may want to find, to count, or to be told of:
 * `journalctl MESSAGE_ID=...`.  systemd/flagsse.catalog explains each; `make check` compares the
 * two.  An id stays what it is for ever; `systemd-id128 new` makes one. */
#pragma once

#define MESSAGE_CONFIG_REFUSED  "38e86ee3de0941c594e798f00a01156d" /* at the start */
#define MESSAGE_RELOADED        "b0195c43ea3f44db9d561f72f3d44bb9"
#define MESSAGE_RELOAD_REFUSED  "30a30d4606af4611ae055197310e8442"
#define MESSAGE_BUS_AWAY        "3a172351795c40d9ba877f2f324c0b59"
#define MESSAGE_BUS_BACK        "4fdc69af47204c7f82443dcbc43d04ec"
#define MESSAGE_BUS_REFUSES     "d592203535cc43b682b02a8c9762dbfc"
#define MESSAGE_BUS_TAKES       "d7461697a81b413795d9d306972ae965"
#define MESSAGE_STREAMS_FULL    "03b2b79e1bfa44328a864cb5b84e5f2a"
#define MESSAGE_OUT_OF_FILES    "d5de7a6d478341f096d43e08f0f60901"
#define MESSAGE_UNAUTHORIZED    "59018d452f2e42e2819ea8469ae64238"
#define MESSAGE_HANGS           "8eca86fc1e564afead9a77d2dbc35c38"
#define MESSAGE_STORE_SET_ASIDE "58f3f2500c414cb9a7467be859e91629"
#define MESSAGE_STORE_ASTRAY    "b4c24300957545ab86e5cd262e83e3d4"
#define MESSAGE_HANDED_OVER     "18830199b26a43c68d5a37b014270e40"
#define MESSAGE_TAKEN_UP        "caa13c9408a040e08b17b3a5efbd02ec"
#define MESSAGE_HANDOVER_FAILED "7766618896f34ccabb378525e123c0fa"
#define MESSAGE_STATE_REFUSED   "ab0c9e4317eb4506aad965300097232b"
#define MESSAGE_OUTBOX_DOWN     "9034b81f03f8431eb9d67621f09a7cfd"
#define MESSAGE_PLACES_TAKEN    "841e878a8b1748cfb604640bc5cf68bd"
#define MESSAGE_LOG_LOST        "ba1ba05c1e2940358e295e4ab13f7056"
#define MESSAGE_STREAMS_WAIT    "475eebcc7b0e4964871348227275db23"
#define MESSAGE_STREAMS_ENDED   "6b0a0b25b22f4360bd4a56469b15af82"
