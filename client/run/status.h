/*
 * status.h - --json-status-fd: what happens, for programs that start `gofer run`. One JSON object a line:
 *
 *     {"started": {"init": PID, "layers": {"user": true, ...}}}
 *     {"ended": {"status": N}}         the exit status of `gofer run` itself
 */
#pragma once

#include "client/run/cage.h"
#include "client/run/options.h"
#include "client/run/plan.h"

void status_started(const struct run_options *options, const struct run_plan *plan,
		    const struct cage *cage);
void status_ended(const struct run_options *options, int status);
