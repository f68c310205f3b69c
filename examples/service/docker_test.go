// SPDX-License-Identifier: MIT

//go:build docker

package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/dockertest"
)

func TestImage(t *testing.T) {
	image := dockertest.Build(t, "examples/service/Dockerfile")
	volume := strings.ReplaceAll(image, ":", "-")
	dockertest.Docker(t, "volume", "create", volume)
	t.Cleanup(func() { dockertest.Docker(t, "volume", "rm", "--force", volume) })
	flags := []string{"--read-only", "--cap-drop", "ALL", "--volume", volume + ":/data"}

	// Arguments of docker run replace CMD, and ENTRYPOINT stays.
	job := dockertest.Run(t, image, flags, "migrate")
	if got := job.Wait(); got != 0 {
		t.Fatalf("migrate: exit code %d:\n%s", got, job.Log())
	}

	// Without arguments it is CMD: serve. HEALTHCHECK needs no shell.
	c := dockertest.Run(t, image, flags)
	c.AwaitLog("serving")
	res, err := http.Post("http://"+c.Addr("8080")+"/notes", "text/plain", strings.NewReader("a note"))
	if err != nil || res.StatusCode != http.StatusCreated {
		t.Fatalf("POST /notes: %v, %v; log:\n%s", res, err, c.Log())
	}
	res.Body.Close()
	for deadline := time.Now().Add(30 * time.Second); c.Inspect("{{.State.Health.Status}}") != "healthy"; {
		if time.Now().After(deadline) {
			t.Fatalf("not healthy: %s", c.Inspect("{{json .State.Health}}"))
		}
	}

	// A look inside a running container that has no shell.
	if out := dockertest.Docker(t, "exec", c.ID, "/service", "inspect"); !strings.Contains(out, "service") {
		t.Errorf("inspect says nothing of PID 1:\n%s", out)
	}
	c.Stop(10 * time.Second)
	if got := c.Wait(); got != 0 {
		t.Errorf("exit code %d after docker stop, want 0; log:\n%s", got, c.Log())
	}

	// --entrypoint replaces ENTRYPOINT, and drops CMD.
	other := dockertest.Run(t, image, append(flags, "--entrypoint", "/service"), "healthcheck")
	if got := other.Wait(); got != 1 {
		t.Errorf("healthcheck of nothing: exit code %d, want 1; log:\n%s", got, other.Log())
	}
}
