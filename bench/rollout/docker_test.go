// SPDX-License-Identifier: MIT

//go:build docker && long

package main

import (
	"strings"
	"testing"

	"github.com/entrypoint-go/entrypoint/bench/internal/tool"
)

// One update of each: this library fails no request where the proxy goes to
// another task, nor with a Delay, and nothing is left behind.
func TestSwarm(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), &out, options{engine: "swarm", short: true}); err != nil {
		t.Fatal(err)
	}
	t.Log(out.String())
	for _, subject := range []string{ours, delayed} {
		cells := strings.Split(row(out.String(), titles[subject]), " | ")
		if len(cells) < 4 || cells[1] == "0" || cells[2] != "0" || subject == delayed && cells[3] != "0" {
			t.Errorf("%s: got %q, want requests and none failed", titles[subject], cells)
		}
	}
	for _, list := range [][]string{
		{"ps", "--all", "--quiet", "--filter", "name=rollout-"},
		{"network", "ls", "--quiet", "--filter", "name=rollout-"},
		{"images", "--quiet", "rollout-*"},
	} {
		if left, err := tool.Docker(list...); err != nil || left != "" {
			t.Errorf("docker %s: %v\n%s", strings.Join(list, " "), err, left)
		}
	}
}

// row is the line of a table that begins with a title.
func row(table, title string) string {
	for line := range strings.Lines(table) {
		if strings.HasPrefix(line, "| "+title+" | ") {
			return strings.TrimSpace(line)
		}
	}
	return ""
}
