// SPDX-License-Identifier: MIT

// Package linux holds the few Linux system calls and parsers of /proc that
// more than one package of this library needs: processes and TCP sockets,
// waitid(2), rt_sigaction(2), the interruption of a blocked system call, the
// subreaper attribute, the monotonic clock, and a terminal's foreground.
//
// On other systems only the functions exist that portable code calls. They
// return [errors.ErrUnsupported], or do nothing.
package linux
