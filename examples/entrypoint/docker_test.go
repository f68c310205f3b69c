// SPDX-License-Identifier: MIT

//go:build docker

package main

import (
	"net/http"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/dockertest"
)

// TestImage: CMD runs as PID 1 of a read-only scratch container, gets its
// signals, and docker run can name another program.
func TestImage(t *testing.T) {
	image := dockertest.Build(t, "examples/entrypoint/Dockerfile")
	flags := []string{
		"--read-only", "--cap-drop", "ALL", "--tmpfs", "/run/app:uid=65534",
		"--env", "APP_DIR=/run/app", "--env", "DATABASE_URL=postgres://db", "--env", "LISTEN=:8080",
	}
	c := dockertest.Run(t, image, flags)
	c.AwaitLog("serving")
	res, err := http.Get("http://" + c.Addr("8080"))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	c.Stop(10 * time.Second)
	if got := c.Wait(); got != 0 {
		t.Errorf("exit code %d after docker stop, want 0; log:\n%s", got, c.Log())
	}

	other := dockertest.Run(t, image, flags, "/missing")
	if got := other.Wait(); got != 127 {
		t.Errorf("exit code %d for a program that is not there, want 127; log:\n%s", got, other.Log())
	}
}
