// Package linux holds the few Linux system calls and parsers of /proc that
// more than one package of this library needs: processes and TCP sockets,
// waitid(2), rt_sigaction(2), the subreaper attribute, the monotonic clock, and a
// terminal's foreground. It also interrupts a thread's system call, which needs
// most of them.
//
// On other systems only the functions exist that portable code calls. They
// return [errors.ErrUnsupported], or do nothing.
package linux
