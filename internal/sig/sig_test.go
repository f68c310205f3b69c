// SPDX-License-Identifier: MIT

package sig

import (
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSet(t *testing.T) {
	for s := syscall.Signal(1); s <= 64; s++ {
		set := SetOf(s)
		want := []os.Signal{s}
		if isCLibrary(s) {
			want = nil
		}
		if got := set.Signals(); !slices.Equal(got, want) || !set.Has(s) || (^set).Has(s) {
			t.Errorf("%d: got %v, %v", s, got, set.Has(s))
		}
	}
	set := SetOf(1, 15, 64)
	for s := syscall.Signal(1); s <= 64; s++ {
		if got, want := set.Has(s), s == 1 || s == 15 || s == 64; got != want {
			t.Errorf("SetOf(1, 15, 64).Has(%d): got %v, want %v", s, got, want)
		}
	}
}

func TestName(t *testing.T) {
	for s, want := range map[os.Signal]string{
		syscall.SIGTERM: "SIGTERM", syscall.SIGINT: "SIGINT", syscall.SIGHUP: "SIGHUP",
		syscall.Signal(99): syscall.Signal(99).String(), custom{}: "custom",
	} {
		if got := Name(s); got != want {
			t.Errorf("%v: got %q, want %q", s, got, want)
		}
	}
}

type custom struct{}

func (custom) Signal()        {}
func (custom) String() string { return "custom" }

func TestWhyNoStop(t *testing.T) {
	for _, s := range []os.Signal{syscall.SIGTERM, os.Interrupt, custom{}} {
		if reason := WhyNoStop(s); reason != "" {
			t.Errorf("%v: %q", s, reason)
		}
	}
	if reason := WhyNoStop(os.Kill); !strings.Contains(reason, "which") { // the sentence is "%s, %s: remove it"
		t.Errorf("%v: %q", os.Kill, reason)
	}
}
