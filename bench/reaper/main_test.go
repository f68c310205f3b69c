// SPDX-License-Identifier: MIT

package main

import (
	"os"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	otherRoles()
	os.Exit(m.Run())
}

// Every measurement runs, and this library is in every table.
func TestShort(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("PID namespaces of their own are for root")
	}
	for _, m := range new(bench).measurements() {
		t.Run(m.Name, func(t *testing.T) {
			var out strings.Builder
			if err := run(&out, options{short: true, only: m.Name}); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(out.String(), "\n| "+ours+" | ") {
				t.Errorf("no row of %q in:\n%s", ours, out.String())
			}
			t.Log(out.String())
		})
	}
}

func TestUnknownMeasurement(t *testing.T) {
	if err := run(nil, options{short: true, only: "speed"}); err == nil {
		t.Error("got no error for a measurement that there is not")
	}
}
