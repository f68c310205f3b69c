// SPDX-License-Identifier: MIT

package dockertest

import (
	"testing"
	"time"
)

// Swarm makes the engine a swarm of one node until the end of the test, unless it
// is one already. What the test deploys it removes before.
func Swarm(t testing.TB) {
	t.Helper()
	if Docker(t, "info", "--format", "{{.Swarm.LocalNodeState}}") == "active" {
		return
	}
	const bridge = "docker_gwbridge" // comes with the first swarm, and stays
	_, absent := docker("network", "inspect", bridge)
	Docker(t, "swarm", "init", "--advertise-addr", "127.0.0.1")
	t.Cleanup(func() {
		Docker(t, "swarm", "leave", "--force")
		if absent == nil {
			return
		}
		var err error
		for range 50 { // in use until the swarm's own networks have gone
			if _, err = docker("network", "rm", bridge); err == nil {
				return
			}
			time.Sleep(200 * time.Millisecond)
		}
		t.Errorf("a network is left behind: %v", err)
	})
}
