// SPDX-License-Identifier: MIT

//go:build docker && linux

package main

import (
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/dockertest"
)

func TestDocker(t *testing.T) {
	image := dockertest.Build(t, "examples/children/Dockerfile")
	c := dockertest.Run(t, image, []string{
		"--user", "65534:65534", "--read-only", "--cap-drop", "ALL",
		"--security-opt", "no-new-privileges",
	})
	c.AwaitLog("INFO serving")
	base := "http://" + c.Addr("8080")

	hammer(t, base)
	awaitNoZombies(t, base)
	c.Stop(10 * time.Second)
	if got, want := c.Wait(), 0; got != want {
		t.Errorf("docker stop: exit code %d, want %d", got, want)
	}
}
