// Package linux holds the few Linux system calls and parsers of /proc that
// more than one package of this library needs: the list of processes,
// waitid(2), the subreaper attribute, and a terminal's foreground.
//
// On other systems only the functions exist that portable code calls. They
// return [errors.ErrUnsupported], or do nothing.
package linux
