// SPDX-License-Identifier: MIT

// Package term tells whether a file is a terminal.
package term

import "os"

// IsTerminal reports whether f is a terminal. A nil or closed file is none.
func IsTerminal(f *os.File) bool { return f != nil && isTerminal(f) }
