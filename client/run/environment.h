/*
 * environment.h - what the program finds in its environment.
 */
#pragma once

#include "client/run/options.h"

/*
 * The caller's environment (or, with --clearenv, PATH, TERM and LANG), then what --env says. PWD is where the program starts;
 * HOME and TMPDIR become /tmp where the program would not see them, unless --env sets them. NULL-terminated, all malloc'ed.
 */
int environment_make(const struct run_options *options, const struct run_plan *plan,
		     char ***ret_env);
