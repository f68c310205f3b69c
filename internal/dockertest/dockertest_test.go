// SPDX-License-Identifier: MIT

//go:build docker

package dockertest_test

import (
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/dockertest"
)

func TestContainer(t *testing.T) {
	// Started with the given flags and arguments.
	c := dockertest.Run(t, dockertest.GoImage(t), []string{"--env", "WORD=hello"}, "sh", "-c", `trap "exit 7" TERM; echo $WORD; while :; do sleep 0.1; done`)
	c.AwaitLog("hello")
	if !c.Running() {
		t.Error("not running")
	}

	// Ended by docker stop, with the code of its PID 1.
	before := time.Now()
	c.Stop(10 * time.Second)
	if got, want := c.Wait(), 7; got != want {
		t.Errorf("exit code: got %d, want %d", got, want)
	}
	if c.Running() {
		t.Error("still running")
	}
	if at := c.Finished(); at.Before(before) || at.After(time.Now()) {
		t.Errorf("finished at %v, which is not between %v and now", at, before)
	}
}

func TestSignal(t *testing.T) {
	c := dockertest.Run(t, dockertest.GoImage(t), nil, "sh", "-c", `trap "exit 8" USR1; echo ready; while :; do sleep 0.1; done`)
	c.AwaitLog("ready")
	c.Signal("SIGUSR1")
	if got, want := c.Wait(), 8; got != want {
		t.Errorf("exit code: got %d, want %d", got, want)
	}
}
