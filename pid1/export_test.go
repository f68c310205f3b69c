// SPDX-License-Identifier: MIT

package pid1

// Logged returns err as Run returns it, after Run has logged it.
func Logged(err error) error { return &logged{err, ExitCode(err)} }
