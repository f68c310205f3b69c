// SPDX-License-Identifier: MIT

package pid1_test

import (
	"strings"
	"testing"

	"github.com/entrypoint-go/entrypoint/pid1"
)

func TestRequireEnv(t *testing.T) {
	t.Setenv("T_SET", "s3cret")
	t.Setenv("T_SPACE", " ")
	t.Setenv("T_EMPTY", "")
	t.Setenv("T_EMPTY2", "")
	tests := []struct {
		names []string
		want  string
	}{
		{nil, ""},
		{[]string{"T_SET", "T_SPACE"}, ""},
		{[]string{"T_NONE"}, "pid1: environment variables required but not set: T_NONE"},
		{[]string{"T_EMPTY"}, "pid1: environment variables required but empty: T_EMPTY"},
		{
			[]string{"T_EMPTY", "T_NONE", "T_SET", "T_NONE2", "T_EMPTY2"},
			"pid1: environment variables required but not set: T_NONE, T_NONE2; empty: T_EMPTY, T_EMPTY2",
		},
	}
	for _, tt := range tests {
		got := ""
		if err := pid1.RequireEnv(tt.names...); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("RequireEnv(%q): got %q, want %q", tt.names, got, tt.want)
		}
		if strings.Contains(got, "s3cret") {
			t.Errorf("RequireEnv(%q): %q shows a value", tt.names, got)
		}
	}
}
