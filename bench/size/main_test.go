// SPDX-License-Identifier: MIT

package main

import (
	"strings"
	"testing"
)

func TestSize(t *testing.T) {
	if testing.Short() {
		t.Skip("builds eight programs")
	}
	var out strings.Builder
	if err := run(&out, "size", ""); err != nil {
		t.Fatal(err)
	}
	for _, s := range subjects {
		if !strings.Contains(out.String(), "\n| "+s.title+" | ") {
			t.Errorf("no row %q in:\n%s", s.title, out.String())
		}
	}
}
