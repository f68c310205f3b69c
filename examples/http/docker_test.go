// SPDX-License-Identifier: MIT

//go:build docker && linux

package main

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/dockertest"
)

// The strictest of the usual settings for a container.
var strict = []string{
	"--user", "65534:65534", "--read-only", "--cap-drop", "ALL",
	"--security-opt", "no-new-privileges",
}

// The image from the Dockerfile serves, and docker stop ends it as TestGracefulStop
// says. All in one test, because the image takes a while to build.
func TestDocker(t *testing.T) {
	image := dockertest.Build(t, "examples/http/Dockerfile")

	t.Run("image", func(t *testing.T) {
		got := dockertest.Docker(t, "image", "inspect", "--format", "{{.Config.User}} {{json .Config.Entrypoint}} {{len .RootFS.Layers}}", image)
		if want := `65534:65534 ["/http"] 1`; got != want {
			t.Errorf("got %s, want %s: user, entrypoint, layers", got, want)
		}
	})

	t.Run("serves", func(t *testing.T) {
		c := runServer(t, image)
		if got, want := get(t, "http://"+c.Addr("8080")+"/"), "hello from process 1\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if got, want := get(t, "http://"+c.Addr("8080")+"/readyz"), "ready\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})

	t.Run("stop with a request in flight", func(t *testing.T) {
		c := runServer(t, image)
		request := openRequest(t, c.Addr("8080"))

		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			c.Stop(10 * time.Second)
		}()
		defer func() { <-stopped }()
		awaitRefused(t, c.Addr("8080"))
		body := request.finish(t)
		responded := time.Now()

		if want := "done after 10ms\n"; body != want {
			t.Errorf("response: got %q, want %q", body, want)
		}
		if got, want := c.Wait(), 0; got != want {
			t.Errorf("exit code: got %d, want %d", got, want)
		}
		// By Docker's clock, which ticks on when the process has ended and its
		// shim has told.
		took := c.Finished().Sub(responded)
		t.Logf("gone %v after the response", took.Round(time.Millisecond))
		if took > 2*time.Second {
			t.Errorf("gone %v after the response, want less than 2s", took)
		}
	})

	t.Run("stop when idle", func(t *testing.T) {
		c := runServer(t, image)
		begin := time.Now()
		c.Stop(10 * time.Second)
		if got, want := c.Wait(), 0; got != want {
			t.Errorf("exit code: got %d, want %d", got, want)
		}
		t.Logf("gone after %v", c.Finished().Sub(begin).Round(time.Millisecond))
	})

	// The request would take an hour, the second signal does not wait for it.
	t.Run("kill twice", func(t *testing.T) {
		c := runServer(t, image)
		openRequest(t, c.Addr("8080"))
		c.Signal("SIGTERM")
		awaitRefused(t, c.Addr("8080"))
		time.Sleep(800 * time.Millisecond) // earlier it is the same signal told again
		begin := time.Now()
		c.Signal("SIGTERM")
		if got, want := c.Wait(), 143; got != want {
			t.Errorf("exit code: got %d, want %d", got, want)
		}
		t.Logf("gone after %v", c.Finished().Sub(begin).Round(time.Millisecond))
	})

	t.Run("bad port", func(t *testing.T) {
		c := dockertest.Run(t, image, append([]string{"--env", "PORT=http"}, strict...))
		if got, want := c.Wait(), 1; got != want {
			t.Errorf("exit code: got %d, want %d", got, want)
		}
		if log := c.Log(); !strings.Contains(log, "$PORT is") {
			t.Errorf("log: got %s, want an error that names $PORT", log)
		}
	})
}

func runServer(t *testing.T, image string) *dockertest.Container {
	t.Helper()
	c := dockertest.Run(t, image, strict)
	c.AwaitLog("INFO serving")
	return c
}

func get(t *testing.T, url string) string {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
	response, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Errorf("%s: %s, %v", url, response.Status, err)
	}
	return string(body)
}
