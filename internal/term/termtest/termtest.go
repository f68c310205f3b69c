// SPDX-License-Identifier: MIT

// Package termtest gives tests a terminal.
package termtest

import (
	"os"
	"testing"
)

// Open returns both ends of a new pseudo-terminal: what is written to terminal
// can be read from screen, and what is written to screen is typed. Both are
// closed when the test ends. Where there are none, the test is skipped.
func Open(t testing.TB) (screen, terminal *os.File) {
	t.Helper()
	screen, terminal = open(t)
	t.Cleanup(func() {
		terminal.Close()
		screen.Close()
	})
	return screen, terminal
}
