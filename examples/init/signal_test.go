// SPDX-License-Identifier: MIT

//go:build linux

package main

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// All names of signal(7), with and without SIG, and in small letters; numbers;
// real-time signals as the C library counts them.
func TestSignalNames(t *testing.T) {
	want := map[string]syscall.Signal{
		"IOT": 6, "CLD": 17, "POLL": 29, "UNUSED": 31, "PWR": unix.SIGPWR, "STKFLT": 16,
		"RTMIN+1": 35, "RTMIN+30": 64, "RTMAX": 64, "RTMAX-0": 64, "RTMAX-29": 35, "rtmin+6": 40,
	}
	for n := syscall.Signal(1); n <= 64; n++ {
		if n >= 32 && n <= 34 {
			continue
		}
		want[fmt.Sprint(int(n))] = n
		if name := unix.SignalName(n); name != "" {
			want[strings.TrimPrefix(name, "SIG")] = n
		}
	}
	for name, n := range want {
		for _, s := range []string{name, "SIG" + name, "sig" + strings.ToLower(name)} {
			if name[0] >= '0' && name[0] <= '9' && s != name {
				continue
			}
			if got, err := parseSignal(s); got != n || err != nil {
				t.Errorf("%s: got %d, %v; want %d", s, got, err, n)
			}
		}
	}
	for _, s := range []string{"", "SIG", "0", "-1", "65", "TERMS", "32", "33", "34", "RTMIN", "RTMIN+0", "RTMAX-30",
		"RTMIN+31", "RTMAX+1", "RTMIN-1", "RTMIN++1", "RTMAX-31", "RTMIN+x"} {
		if got, err := parseSignal(s); err == nil {
			t.Errorf("%q: got %d, want an error", s, got)
		}
	}
}
