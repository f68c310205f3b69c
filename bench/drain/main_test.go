// SPDX-License-Identifier: MIT

package main

import (
	"os"
	"strings"
	"testing"

	"github.com/entrypoint-go/entrypoint/bench/internal/tool"
)

func TestMain(m *testing.M) {
	serverRole()
	os.Exit(m.Run())
}

// Every measurement runs, and this library loses nothing that it must not.
func TestShort(t *testing.T) {
	for _, m := range new(bench).measurements() {
		t.Run(m.Name, func(t *testing.T) {
			if m.Name == "docker" {
				if _, err := tool.Docker("version"); err != nil {
					t.Skip(err)
				}
			}
			var out strings.Builder
			if err := run(&out, options{short: true, only: m.Name}); err != nil {
				t.Fatal(err)
			}
			for _, row := range map[string][]string{
				"requests": {ours + " | 0"},     // POST lost
				"http2":    {ours + " | 0 | 0"}, // responses, requests lost
				"return":   {ours},
				"pauses":   {"2ms | 0", "50ms | 0", "2ms, starved | 0", "50ms, starved | 0"},
				"slow":     {"HTTP/1.1 | 0", "HTTP/1.1, TLS | 0", "HTTP/2, TLS | 0"},
				"docker":   {"HTTP/1.1 | 0", "HTTP/1.1, TLS | 0", "HTTP/2, TLS | 0"},
			}[m.Name] {
				if row = "\n| " + row + " | "; !strings.Contains(out.String(), row) {
					t.Errorf("no %q in:\n%s", row, out.String())
				}
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
