// SPDX-License-Identifier: MIT

package sig

import (
	"os"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The names are those of golang.org/x/sys, and each has one number.
func TestNamesLikeUnix(t *testing.T) {
	for s := syscall.Signal(1); s <= 64; s++ {
		want := unix.SignalName(s)
		if want == "" {
			want = s.String()
		}
		if got := Name(s); got != want {
			t.Errorf("%d: got %q, want %q", s, got, want)
		}
	}
}

func TestCatchable(t *testing.T) {
	got := Catchable()
	for s := syscall.Signal(1); s <= 64; s++ {
		want := !slices.Contains([]syscall.Signal{9, 32, 33, 34, unix.SIGSTOP, unix.SIGPROF, unix.SIGURG, unix.SIGCHLD, unix.SIGPIPE}, s) &&
			!IgnoredAtStart().Has(s)
		if slices.Contains(got, os.Signal(s)) != want {
			t.Errorf("%s: catchable is %v, want %v", Name(s), !want, want)
		}
	}
}

// No App waits for a signal that Go never delivers.
func TestWhyNoStopByCLibrary(t *testing.T) {
	for s := syscall.Signal(30); s <= 37; s++ {
		if got, want := WhyNoStop(s) != "", s >= 32 && s <= 34; got != want {
			t.Errorf("%d: refused is %v, want %v", s, got, want)
		}
	}
}
